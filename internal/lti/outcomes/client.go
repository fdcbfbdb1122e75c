package outcomes

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

// Client calls the outcome service of one platform with one consumer key. It
// repeats nothing.
type Client struct {
	Doer service.Doer
	// Credentials are those of the launch that the sourced ID is from.
	Credentials oauth1.Credentials
	// SignatureMethod is oauth1.HMACSHA1, also if empty, or oauth1.HMACSHA256.
	SignatureMethod string
	Now             lti.Clock
	// Random is where nonces and message IDs come from.
	Random io.Reader
}

// Replace sets a grade: to a score from 0 to 1, with or without what the learner
// handed in. For errors see [Client.Send].
func (c *Client) Replace(ctx context.Context, serviceURL, sourcedID string, score decimal.Decimal, data Data) error {
	_, err := c.Send(ctx, serviceURL, Request{Operation: ReplaceResult, SourcedID: sourcedID, Score: &score, Data: data})
	return err
}

// Delete removes a grade. For errors see [Client.Send].
func (c *Client) Delete(ctx context.Context, serviceURL, sourcedID string) error {
	_, err := c.Send(ctx, serviceURL, Request{Operation: DeleteResult, SourcedID: sourcedID})
	return err
}

// Read returns a grade, nil if there is none. For errors see [Client.Send].
func (c *Client) Read(ctx context.Context, serviceURL, sourcedID string) (*decimal.Decimal, error) {
	r, err := c.Send(ctx, serviceURL, Request{Operation: ReadResult, SourcedID: sourcedID})
	if err != nil {
		return nil, err
	}
	if r.CodeMajor == Processing {
		return nil, &service.Error{Class: service.Temporary, Reason: service.Unavailable, Detail: "the grade is still being processed"}
	}
	return r.Score, nil
}

// Send signs and sends a request, whose MessageID it makes if it has none, and
// returns the answer if it is success or processing: the platform has taken it.
//
// Errors are of type [service.Error], unless there are no random numbers. Those
// of class Permanent have the reasons SignatureRefused, UserUnknown,
// LineItemGone, NotPermitted, OperationUnsupported, ScoreRefused (of
// ReplaceResult) or RequestRefused, RequestInvalid and Redirected. There is no
// timestamp in Basic Outcomes, so none is Superseded: the last one to arrive
// wins, and two requests for one grade must not be under way at once.
func (c *Client) Send(ctx context.Context, serviceURL string, r Request) (*Response, error) {
	if _, ok := service.ParseURL(serviceURL); !ok {
		return nil, service.Refuse("the address of the outcome service is not an absolute http or https URL")
	}
	nonce, err := c.random()
	if err != nil {
		return nil, err
	}
	if r.MessageID == "" {
		if r.MessageID, err = c.random(); err != nil {
			return nil, err
		}
	}
	body, err := r.Encode()
	if err != nil {
		return nil, err
	}
	authorization, err := oauth1.SignBody(serviceURL, body, c.Credentials, c.SignatureMethod, c.Now(), nonce)
	if err != nil {
		return nil, service.Refuse("the request to the outcome service cannot be signed")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, serviceURL, bytes.NewReader(body))
	if err != nil {
		return nil, service.Refuse("the address of the outcome service is not an absolute http or https URL")
	}
	req.Header.Set("Authorization", authorization)
	req.Header.Set("Content-Type", MediaType)
	req.Header.Set("Accept", MediaType+", text/xml, */*;q=0.5")
	a, err := service.Call(c.Doer, req, MaxBytes, c.Now())
	if err != nil {
		return nil, err
	}
	response, err := ParseResponse(a.Body)
	switch {
	case !a.OK():
		return nil, c.refused(a, r.Operation, response)
	case err != nil:
		e := service.Invalid(a.Status, "answer of the outcome service: "+err.Error())
		e.Remote = service.Excerpt(a.Body, c.Credentials.SharedSecret)
		return nil, e
	case response.CodeMajor == Failure || response.CodeMajor == Unsupported:
		return nil, c.refused(a, r.Operation, response)
	}
	return response, nil
}

func (c *Client) random() (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(c.Random, b[:]); err != nil {
		return "", fmt.Errorf("outcomes: random numbers: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// refused returns the error for an answer that is none of success. response is
// nil if the body is no message.
func (c *Client) refused(a *service.Answer, operation Operation, response *Response) *service.Error {
	otherwise := service.RequestRefused
	if operation == ReplaceResult {
		otherwise = service.ScoreRefused
	}
	e := a.Refused(otherwise, c.Credentials.SharedSecret)
	description := ""
	if response != nil {
		description = response.Description
		e.Remote = service.Excerpt([]byte(description), c.Credentials.SharedSecret)
	}
	if e.Reason != otherwise {
		return e
	}
	// Canvas answers 401 to a wrong signature and 415 to an invalid message, but
	// most systems answer 200 to everything, and only the text tells.
	switch reason := described(description); {
	case response != nil && response.CodeMajor == Unsupported:
		e.Reason = service.OperationUnsupported
	case a.Status == http.StatusUnauthorized:
		e.Reason = service.SignatureRefused
	case reason != "":
		e.Reason = reason
	case a.Status == http.StatusNotFound, a.Status == http.StatusGone:
		e.Reason = service.LineItemGone
	case a.Status == http.StatusForbidden:
		e.Reason = service.NotPermitted
	}
	return e
}

// described returns the reason that a description of a failure means, or "".
func described(description string) service.Reason {
	description = strings.ToLower(description)
	for _, d := range []struct {
		text   string
		reason service.Reason
	}{
		{"signature", service.SignatureRefused},         // Moodle: "Message signature not valid"
		{"consumer key", service.SignatureRefused},      // Moodle: "Consumer key is missing."
		{"oauth", service.SignatureRefused},             // Open edX: "OAuth verification error: …"
		{"expired timestamp", service.SignatureRefused}, // Moodle, when the clocks differ
		{"user is no longer in course", service.UserUnknown},
		{"not available for student", service.UserUnknown}, // Canvas: "Course not available for student"
		{"user not found", service.UserUnknown},
		{"not enrolled", service.UserUnknown},
		{"assignment is invalid", service.LineItemGone},
		{"assignment is no longer", service.LineItemGone}, // Canvas: "… associated with this tool"
		{"course is invalid", service.LineItemGone},
		{"tool is invalid", service.NotPermitted},
		{"does not accept grades", service.NotPermitted}, // Moodle: "Tool does not accept grades"
	} {
		if strings.Contains(description, d.text) {
			return d.reason
		}
	}
	return ""
}
