package ags

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

// LineItem is a column of a grade book (AGS section 3.2).
type LineItem struct {
	// ID is its URL. It is opaque, and may have a query.
	ID string `json:"id,omitempty"`
	// Label is its title.
	Label string `json:"label"`
	// ScoreMaximum is more than 0; 0 where an answer does not say it.
	ScoreMaximum decimal.Decimal `json:"scoreMaximum"`
	// ResourceLinkID is the link that the column belongs to, if any.
	ResourceLinkID string `json:"resourceLinkId,omitempty"`
	// ResourceID and Tag are the tool's own.
	ResourceID string `json:"resourceId,omitempty"`
	Tag        string `json:"tag,omitempty"`
	// StartDateTime and EndDateTime say when learners can hand something in, as the
	// tool wrote it. A client neither sends nor reads them.
	StartDateTime string `json:"startDateTime,omitempty"`
	EndDateTime   string `json:"endDateTime,omitempty"`
}

// Filter selects line items; empty members select all (AGS section 3.2.9).
type Filter struct {
	ResourceLinkID, ResourceID, Tag string
}

// Selects reports whether a line item is among those.
func (f Filter) Selects(l LineItem) bool {
	return (f.ResourceLinkID == "" || f.ResourceLinkID == l.ResourceLinkID) &&
		(f.ResourceID == "" || f.ResourceID == l.ResourceID) &&
		(f.Tag == "" || f.Tag == l.Tag)
}

// Encode returns the line item as JSON, as it is sent to create one, without ID.
// The error is of reason RequestInvalid.
func (l LineItem) Encode() ([]byte, error) {
	switch {
	case l.Label == "":
		return nil, service.Refuse("the line item has no label")
	case l.ScoreMaximum.Sign() <= 0:
		return nil, service.Refuse("the maximum of the line item is not more than 0")
	}
	l.ID, l.StartDateTime, l.EndDateTime = "", "", ""
	return json.Marshal(l)
}

// readLineItem reads a line item out of an answer, tolerating whatever else is
// there. Numbers and identifiers may be strings or numbers.
func readLineItem(text []byte) (LineItem, bool) {
	o, err := readObject(text)
	if err != nil {
		return LineItem{}, false
	}
	l := LineItem{
		ID: o.text("id"), Label: o.text("label"), ResourceLinkID: o.text("resourceLinkId"),
		ResourceID: o.text("resourceId"), Tag: o.text("tag"),
	}
	l.ScoreMaximum, _ = o.number("scoreMaximum", true)
	return l, true
}

// LineItems returns the line items of a course that the filter selects, of all
// pages. It selects again what comes: some platforms ignore filters. One that
// has no usable ID, or one at another place than the list, makes the list
// invalid.
func (c *Client) LineItems(ctx context.Context, lineItemsURL string, f Filter) ([]LineItem, error) {
	if err := checkURL(lineItemsURL); err != nil {
		return nil, err
	}
	var query []string
	for _, q := range [][2]string{{"resource_link_id", f.ResourceLinkID}, {"resource_id", f.ResourceID}, {"tag", f.Tag}} {
		if q[1] != "" {
			query = append(query, q[0], q[1])
		}
	}
	var found []LineItem
	err := c.list(ctx, service.AddQuery(lineItemsURL, query...), MediaLineItemContainer, func(base *url.URL, element []byte, status int) error {
		l, ok := readLineItem(element)
		if !ok {
			return service.Invalid(status, "an element of the list is not a line item")
		}
		// Before the filter: what is no line item must not become an empty list.
		if l.ID, ok = service.Within(base, l.ID); !ok {
			return service.Invalid(status, "a line item has no address, or one at another place than the list")
		}
		if f.Selects(l) {
			found = append(found, l)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// LineItem reads one line item.
func (c *Client) LineItem(ctx context.Context, lineItemURL string) (LineItem, error) {
	a, sent, err := c.send(ctx, http.MethodGet, lineItemURL, MediaLineItem, "", nil)
	if err != nil {
		return LineItem{}, err
	}
	return answered(a, sent, lineItemURL, "")
}

// CreateLineItem creates a line item in a course and returns it as the platform
// made it, with its ID. Creating is not idempotent: after an error of class
// Temporary look with LineItems whether it exists.
func (c *Client) CreateLineItem(ctx context.Context, lineItemsURL string, l LineItem) (LineItem, error) {
	body, err := l.Encode()
	if err != nil {
		return LineItem{}, err
	}
	a, sent, err := c.send(ctx, http.MethodPost, lineItemsURL, MediaLineItem, MediaLineItem, body)
	if err != nil {
		return LineItem{}, err
	}
	return answered(a, sent, lineItemsURL, a.Header.Get("Location"))
}

// answered reads the line item that an answer consists of. Its ID is location if
// the body has none.
func answered(a *service.Answer, sent []string, rawURL, location string) (LineItem, error) {
	if !a.OK() {
		return LineItem{}, refused(a, sent)
	}
	l, ok := readLineItem(service.Trim(a.Body))
	if !ok {
		return LineItem{}, service.Invalid(a.Status, "the answer is not a line item")
	}
	if l.ID == "" {
		l.ID = location
	}
	base, ok := service.ParseURL(rawURL)
	if ok {
		l.ID, ok = service.Within(base, l.ID)
	}
	if !ok {
		return LineItem{}, service.Invalid(a.Status, "the line item has no address, or one at another place than the list")
	}
	return l, nil
}
