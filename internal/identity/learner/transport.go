// SPDX-License-Identifier: Apache-2.0

package learner

import (
	"bytes"
	"fmt"
	"io"
	"net/http"

	"github.com/lti-operator/lti-operator/internal/egress"
)

// maxAnswer is the longest answer that is read, in bytes. Key sets with certificates in them have some ten thousand.
const maxAnswer = 256 << 10

// transport is what go-oidc and oauth2 see of the network. They read answers without end, or to a limit and then on as if
// that were all, and make text of whatever fails, with the answer in it. So the answer is read here, and what fails is an
// [Error], which they pass on.
type transport struct{ next http.RoundTripper }

// RoundTrip refuses documents with any status but 200; of the token endpoint, errors are answers too.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, &Error{Kind: Unavailable, Reason: why(err), Err: err}
	}
	defer func() { _ = res.Body.Close() }()
	if r.Method == http.MethodGet && res.StatusCode != http.StatusOK {
		return nil, &Error{Kind: Unavailable, Reason: fmt.Sprintf("status %d", res.StatusCode)}
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case len(body) > maxAnswer, egress.KindOf(err) == egress.TooLarge:
		return nil, invalid("the answer is too long")
	case err != nil:
		return nil, &Error{Kind: Unavailable, Reason: "the answer broke off: " + why(err), Err: err}
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

// bounded returns a client that reaches what the given one reaches, with bounded answers, and that goes nowhere else: a
// redirect would hand the secret or the code to another server.
func bounded(client *http.Client) *http.Client {
	c := *client
	c.Transport = transport{client.Transport}
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.Jar = nil
	return &c
}
