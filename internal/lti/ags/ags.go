// Package ags implements Assignment and Grade Services 2.0
// (https://www.imsglobal.org/spec/lti-ags/v2p0/, "AGS" below): line items, which
// are the columns of a grade book, scores, which a tool sends, and results,
// which the platform makes of them.
//
// [Client] is the tool's side. A platform reads scores with [ParseScore], line items
// with [ParseLineItem] and queries with [ParseItemsQuery] and
// [ParseResultsQuery], and answers with [AnswerLineItem], [AnswerLineItems] and
// [AnswerResults].
package ags

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

// Scopes of access tokens (AGS section 3.1).
const (
	ScopeLineItem         = "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem"
	ScopeLineItemReadOnly = "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem.readonly"
	ScopeResultReadOnly   = "https://purl.imsglobal.org/spec/lti-ags/scope/result.readonly"
	ScopeScore            = "https://purl.imsglobal.org/spec/lti-ags/scope/score"
)

// Media types (AGS section 3.6).
const (
	MediaLineItem          = "application/vnd.ims.lis.v2.lineitem+json"
	MediaLineItemContainer = "application/vnd.ims.lis.v2.lineitemcontainer+json"
	MediaScore             = "application/vnd.ims.lis.v1.score+json"
	MediaResultContainer   = "application/vnd.ims.lis.v2.resultcontainer+json"
)

// Endpoint is the claim https://purl.imsglobal.org/spec/lti-ags/claim/endpoint
// of a launch (AGS section 3.1): what a tool may do with the grades of the
// course, and where.
type Endpoint struct {
	// Scopes are granted to the tool.
	Scopes []string `json:"scope"`
	// LineItemsURL is the address of all line items of the course that the tool
	// may see; absent if it may see none.
	LineItemsURL string `json:"lineitems,omitempty"`
	// LineItemURL is the line item of the resource link; absent unless there is
	// exactly one.
	LineItemURL string `json:"lineitem,omitempty"`
}

// May reports whether the endpoint grants a scope. Whoever may change line items
// may read them.
func (e Endpoint) May(scope string) bool {
	return slices.Contains(e.Scopes, scope) || scope == ScopeLineItemReadOnly && slices.Contains(e.Scopes, ScopeLineItem)
}

// TokenScopes returns the scopes to ask an access token for: those of this
// specification that are granted, and no others, because a platform may refuse a
// request altogether for one scope too many. Moodle wants lineitem.readonly
// besides lineitem, and so does grant both.
func (e Endpoint) TokenScopes() []string {
	var scopes []string
	for _, s := range []string{ScopeLineItem, ScopeLineItemReadOnly, ScopeResultReadOnly, ScopeScore} {
		if slices.Contains(e.Scopes, s) {
			scopes = append(scopes, s)
		}
	}
	return scopes
}

// ScoresURL returns where the scores of a line item are posted (AGS section
// 3.4): "scores" added to the path, before the query.
func ScoresURL(lineItemURL string) string { return service.AddPath(lineItemURL, "scores") }

// ResultsURL returns where the results of a line item are read (AGS section
// 3.3); of one learner, unless userID is empty.
func ResultsURL(lineItemURL, userID string) string {
	u := service.AddPath(lineItemURL, "results")
	if userID != "" {
		u = service.AddQuery(u, "user_id", userID)
	}
	return u
}

// Tokens gives access tokens of one registration with the scopes that are
// needed. *token.Source is one.
type Tokens interface {
	// Token returns the value of a token.
	Token(ctx context.Context) (string, error)
	// Invalidate is told a token that was refused.
	Invalidate(value string)
}

// Limits of lists.
const (
	// MaxPages is how many pages of a list are read.
	MaxPages = 50
	// MaxItems is how many line items or results are read.
	MaxItems = 10_000
)

// Client calls the service of one platform for one registration.
//
// Errors are of type [service.Error], or come from Tokens. A token that is
// refused (401) is replaced once, and the request sent again; if the new one is
// refused too, the reason is TokenRefused. Nothing else is repeated.
//
// A token is sent to the address that the caller gives, which is to come out of
// a launch, and to addresses in the answers from there only while they have the
// same origin, see [service.Within].
type Client struct {
	Doer   service.Doer
	Tokens Tokens
	Now    lti.Clock
}

const noURL = "the address of the service is not an absolute http or https URL"

// checkURL checks an address as it was given, before anything is added to it:
// "https://" and a path are another address.
func checkURL(rawURL string) error {
	if _, ok := service.ParseURL(rawURL); !ok {
		return service.Refuse(noURL)
	}
	return nil
}

// send sends a request with a token. Besides the answer it returns the tokens that
// were sent, which must not get into an error.
func (c *Client) send(ctx context.Context, method, rawURL, accept, contentType string, body []byte) (a *service.Answer, sent []string, err error) {
	if err := checkURL(rawURL); err != nil {
		return nil, nil, err
	}
	for {
		token, err := c.Tokens.Token(ctx)
		if err != nil {
			return nil, nil, err
		}
		if slices.Contains(sent, token) {
			return nil, nil, tokenRefused(a, sent) // there is no other one
		}
		sent = append(sent, token)
		req, err := http.NewRequestWithContext(ctx, method, rawURL, bytes.NewReader(body))
		if err != nil {
			return nil, nil, service.Refuse(noURL)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		if accept != "" {
			req.Header.Set("Accept", accept)
		}
		if contentType != "" {
			req.Header.Set("Content-Type", contentType)
		}
		if a, err = service.Call(c.Doer, req, service.MaxBody, c.Now()); err != nil {
			return nil, nil, err
		}
		if a.Status != http.StatusUnauthorized {
			return a, sent, nil
		}
		c.Tokens.Invalidate(token)
		if len(sent) == 2 {
			return nil, nil, tokenRefused(a, sent)
		}
	}
}

func tokenRefused(a *service.Answer, sent []string) *service.Error {
	return &service.Error{Class: service.Permanent, Reason: service.TokenRefused, Status: a.Status, Remote: service.Excerpt(a.Body, sent...)}
}

// refused returns the error for an answer to anything but a score.
func refused(a *service.Answer, sent []string) *service.Error {
	e := a.Refused(service.RequestRefused, sent...)
	if e.Reason != service.RequestRefused {
		return e
	}
	switch a.Status {
	case http.StatusNotFound, http.StatusGone:
		e.Reason = service.LineItemGone
	case http.StatusForbidden:
		e.Reason = service.NotPermitted
	}
	return e
}

// list reads all pages of a list. What visit is given is an element.
func (c *Client) list(ctx context.Context, first, accept string, visit func(base *url.URL, element []byte, status int) error) error {
	base, ok := service.ParseURL(first)
	if !ok {
		return service.Refuse(noURL)
	}
	seen := map[string]bool{}
	items := 0
	for next := first; ; {
		if len(seen) == MaxPages {
			return service.Invalid(0, "the list has more than "+strconv.Itoa(MaxPages)+" pages")
		}
		seen[next] = true
		a, sent, err := c.send(ctx, http.MethodGet, next, accept, "", nil)
		if err != nil {
			return err
		}
		if !a.OK() {
			return refused(a, sent)
		}
		elements, err := array(a.Body)
		if err != nil && a.Status != http.StatusNoContent {
			return service.Invalid(a.Status, "the list is not a JSON array")
		}
		if items += len(elements); items > MaxItems {
			return service.Invalid(a.Status, "the list has more than "+strconv.Itoa(MaxItems)+" elements")
		}
		for _, e := range elements {
			if err := visit(base, e, a.Status); err != nil {
				return err
			}
		}
		link := service.Link(a.Header, "next")
		// Some servers name a next page for ever; an empty one is the end.
		if link == "" || len(elements) == 0 {
			return nil
		}
		page, err := url.Parse(next)
		if err != nil {
			return service.Invalid(a.Status, "the address of the page cannot be read")
		}
		// A list of which a part is missing is worse than none: it would make
		// us create a column that exists. So none of these ends the list.
		if next, ok = service.Within(page, link); !ok {
			return service.Invalid(a.Status, "the next page is at another place than the first one")
		}
		if seen[next] {
			return service.Invalid(a.Status, "the next page is one that was read before")
		}
	}
}
