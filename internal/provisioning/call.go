// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/lti-operator/lti-operator/internal/egress"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

// Limits.
const (
	// MaxRetryAfter is the longest wait that a server can ask for. A longer one
	// is a mistake more often than a wish.
	MaxRetryAfter = service.MaxRetryAfter

	// maxRefusal is how much is read of an answer that is an error.
	maxRefusal = 64 << 10
	pageSize   = 100
	// maxScanned is how many resources a list may have. One person or group is
	// asked for; a server with more to say ignores filters.
	maxScanned = 1000
)

// mediaType of what is sent (RFC 7644 section 8.1).
const mediaType = "application/scim+json"

// request is one request to the server.
type request struct {
	method   string
	endpoint string // users or groups
	id       string // of one resource; empty for all
	query    url.Values
	ifMatch  string
	body     any
}

// op is the request for an error: without the id.
func (r *request) op() string {
	if r.id == "" {
		return r.method + " " + r.endpoint
	}
	return r.method + " " + r.endpoint + "/{id}"
}

// answer is one of success.
type answer struct {
	header http.Header
	body   []byte
}

// call sends a request and returns an answer of success. Errors are a
// [CallError]; for statuses that mean something for a request, such as 404, see
// statusOf.
func (c *Client) call(ctx context.Context, r request) (*answer, error) {
	fail := func(kind error, detail string) *CallError { return &CallError{Kind: kind, Op: r.op(), Detail: detail} }
	req, err := c.newRequest(ctx, r)
	if err != nil {
		// The cause may contain what is in the URL.
		return nil, fail(ErrProtocol, "the request cannot be put together")
	}
	token := strings.TrimSpace(c.token())
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fail(ErrNotAuthorised, "there is no token, or not one that fits into a header")
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := c.doer.Do(req)
	if err != nil {
		return nil, noAnswer(ctx, r.op(), 0, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return nil, c.refusal(r.op(), res)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, c.maxBody+1))
	switch {
	case err != nil:
		return nil, noAnswer(ctx, r.op(), res.StatusCode, err)
	case int64(len(body)) > c.maxBody:
		return nil, tooLong(r.op(), res.StatusCode, nil)
	}
	return &answer{header: res.Header, body: body}, nil
}

func (c *Client) newRequest(ctx context.Context, r request) (*http.Request, error) {
	target := c.base + "/" + r.endpoint
	switch r.id {
	case "":
	case ".", "..":
		return nil, errors.New("no identifier")
	default:
		target += "/" + url.PathEscape(r.id)
	}
	if len(r.query) > 0 {
		// A plus is a blank in forms only, which not every server knows.
		target += "?" + strings.ReplaceAll(r.query.Encode(), "+", "%20")
	}
	var body io.Reader
	if r.body != nil {
		data, err := json.Marshal(r.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", mediaType+", application/json;q=0.9")
	if body != nil {
		req.Header.Set("Content-Type", mediaType)
	}
	if r.ifMatch != "" {
		req.Header.Set("If-Match", r.ifMatch)
	}
	return req, nil
}

// noAnswer is the error for an exchange that did not come to its end.
func noAnswer(ctx context.Context, op string, status int, err error) *CallError {
	e := &CallError{Kind: ErrUnavailable, Op: op, Status: status, Detail: "no answer"}
	guarded, ok := errors.AsType[*egress.Error](err)
	switch {
	case ctx.Err() != nil:
		e.Detail, e.Err = "the time is up", ctx.Err()
	case !ok:
		// Errors of net/http hold the URL with the filter, and the filter the
		// person's address.
	case guarded.Kind == egress.TooLarge:
		return tooLong(op, status, guarded)
	case guarded.Kind == egress.Blocked:
		e.Kind, e.Detail, e.Err = ErrProtocol, "the address may not be reached", guarded
	case guarded.Kind == egress.Timeout:
		e.Detail, e.Err = "no answer in time", guarded
	default:
		e.Err = guarded
	}
	return e
}

func tooLong(op string, status int, err error) *CallError {
	return &CallError{Kind: ErrProtocol, Op: op, Status: status, Detail: "the answer is too long", Err: err, tooLarge: true}
}

// refusal is the error for an answer that is not one of success.
func (c *Client) refusal(op string, res *http.Response) *CallError {
	e := &CallError{Kind: ErrProtocol, Op: op, Status: res.StatusCode}
	// Whatever cannot be read has no keyword.
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxRefusal))
	var scim struct{ ScimType string }
	if json.Unmarshal(body, &scim) == nil {
		e.ScimType = knownScimType(scim.ScimType)
	}
	switch status := res.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		e.Kind = ErrNotAuthorised
	case status == http.StatusNotImplemented:
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout, status == http.StatusTooEarly, status >= 500:
		e.Kind, e.RetryAfter = ErrUnavailable, service.RetryAfter(res.Header, c.now())
	case status >= 300 && status <= 399:
		e.Detail = "redirects are not followed, because requests carry the token"
	}
	return e
}

// decode reads a JSON answer.
func (a *answer) decode(op string, into any) error {
	// A page of a proxy or of a login is no answer of the server. Some servers
	// name no type.
	if v := a.header.Get("Content-Type"); v != "" {
		t, _, err := mime.ParseMediaType(v)
		if err != nil || t != "application/json" && t != mediaType {
			return &CallError{Kind: ErrProtocol, Op: op, Detail: "the answer is not JSON"}
		}
	}
	if err := json.Unmarshal(bytes.TrimPrefix(a.body, []byte("\xef\xbb\xbf")), into); err != nil {
		// The cause may quote the answer.
		return &CallError{Kind: ErrProtocol, Op: op, Detail: "the answer cannot be read"}
	}
	return nil
}

// get reads one resource.
func (c *Client) get(ctx context.Context, endpoint, id string) (*resource, error) {
	r := request{method: http.MethodGet, endpoint: endpoint, id: id}
	a, err := c.call(ctx, r)
	if err != nil {
		return nil, err
	}
	var found resource
	if err := a.decode(r.op(), &found); err != nil {
		return nil, err
	}
	if found.ID != id {
		return nil, &CallError{Kind: ErrProtocol, Op: r.op(), Detail: "the answer is about something else"}
	}
	if found.Meta.Version == "" {
		found.Meta.Version = a.header.Get("ETag")
	}
	return &found, nil
}

// search returns all resources that match a filter, on the server and here.
func (c *Client) search(ctx context.Context, endpoint, filter string, match func(*resource) bool) ([]*resource, error) {
	var found []*resource
	seen := make(map[string]bool)
	for {
		r := request{method: http.MethodGet, endpoint: endpoint, query: url.Values{"filter": {filter}, "count": {strconv.Itoa(pageSize)}}}
		if endpoint == groups {
			// There may be many (RFC 7644 section 3.9).
			r.query.Set("excludedAttributes", "members")
		}
		if len(seen) > 0 {
			r.query.Set("startIndex", strconv.Itoa(len(seen)+1))
		}
		unusable := func(detail string) error { return &CallError{Kind: ErrProtocol, Op: r.op(), Detail: detail} }
		a, err := c.call(ctx, r)
		if err != nil {
			return nil, err
		}
		var page list
		if err := a.decode(r.op(), &page); err != nil {
			return nil, err
		}
		if page.TotalResults == nil && page.Resources == nil {
			return nil, unusable("the answer is not a list")
		}
		before := len(seen)
		for i := range page.Resources {
			one := &page.Resources[i]
			if one.ID == "" || seen[one.ID] {
				continue
			}
			seen[one.ID] = true
			if match(one) {
				found = append(found, one)
			}
		}
		total := len(seen)
		if page.TotalResults != nil {
			total = max(total, int(*page.TotalResults))
		}
		switch {
		case total > maxScanned:
			return nil, unusable("the answer is about everybody: the filter was ignored")
		case len(seen) >= total:
			return found, nil
		case len(seen) == before:
			// What is missing may be what is looked for.
			return nil, unusable("the answer is shorter than it says")
		}
	}
}

// filterRefused tells whether the server said that it cannot evaluate a filter.
func filterRefused(err error) bool {
	e, ok := errors.AsType[*CallError](err)
	return ok && (e.Status == http.StatusBadRequest && e.ScimType != "tooMany" || e.Status == http.StatusNotImplemented)
}
