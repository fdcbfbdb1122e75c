package ags

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

// Limits of what a tool sends and asks for.
const (
	// MaxLineItemBytes is the longest line item that is read.
	MaxLineItemBytes = 16 << 10
	// MaxLimit is how many line items or results a page has at most.
	MaxLimit = 500
	// maxLabel bounds a label, and maxIdentifier what identifies something, in
	// bytes.
	maxLabel      = 1024
	maxIdentifier = 512
)

// ParseLineItem reads a line item that a tool sent, to make one or to change one
// (AGS section 3.2).
//
// label, which must not be blank, and scoreMaximum, which must be more than 0, are
// required. The ID is not read: a tool does not choose it. Members that the
// specification does not have are ignored; what is null is absent. Leniently,
// scoreMaximum may be the text of a number, identifiers may be numbers, and a date
// that cannot be read is left out. Dates are kept as they are written, so that the
// tool finds again what it sent.
//
// Refusals: RequestTooLarge, RequestMalformed, ParameterRepeated,
// ParameterMissing, ParameterInvalid. Whether the tool may name this resource link
// is for the caller to check.
func ParseLineItem(body []byte, how Reading) (LineItem, error) {
	p, err := read(body, MaxLineItemBytes, "line item", how)
	if err != nil {
		return LineItem{}, err
	}
	l := LineItem{
		Label:          p.label(),
		ScoreMaximum:   p.maximum(),
		ResourceLinkID: p.identifier("resourceLinkId"),
		ResourceID:     p.identifier("resourceId"),
		Tag:            p.identifier("tag"),
		StartDateTime:  p.date("startDateTime"),
		EndDateTime:    p.date("endDateTime"),
	}
	if p.err != nil {
		return LineItem{}, p.err
	}
	return l, nil
}

func (p *reader) label() string {
	s := strings.TrimSpace(p.text("label", true))
	switch {
	case s == "":
		p.missing("label")
	case len(s) > maxLabel, strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\r\n", r) }):
		p.invalid("label")
	}
	return s
}

// identifier reads an identifier that may be absent.
func (p *reader) identifier(name string) string {
	if p.absent(p.object, name, false) {
		return ""
	}
	s, ok := p.str(name)
	if !ok && !p.strict {
		s = p.object.text(name)
		ok = s != ""
	}
	if !ok || len(s) > maxIdentifier || strings.ContainsFunc(s, unicode.IsControl) {
		p.invalid(name)
	}
	return s
}

// date returns the text of a time that may be absent.
func (p *reader) date(name string) string {
	if p.time(p.object, name, false).IsZero() {
		return ""
	}
	s, _ := p.str(name)
	return s
}

// AnswerLineItem returns a line item of ours as JSON, with its ID. The error is one
// of ours, and quotes nothing.
func AnswerLineItem(l LineItem) ([]byte, error) {
	if err := l.complete(); err != nil {
		return nil, err
	}
	return json.Marshal(l)
}

// AnswerLineItems returns line items of ours as JSON: an array, also of none (AGS
// section 3.2).
func AnswerLineItems(items []LineItem) ([]byte, error) {
	for _, l := range items {
		if err := l.complete(); err != nil {
			return nil, err
		}
	}
	if items == nil {
		items = []LineItem{}
	}
	return json.Marshal(items)
}

func (l LineItem) complete() error {
	if l.ID == "" || l.Label == "" || l.ScoreMaximum.Sign() <= 0 {
		return errors.New("ags: a line item has no ID, no label or no maximum")
	}
	return nil
}

type wireResult struct {
	ID      string           `json:"id"`
	ScoreOf string           `json:"scoreOf"`
	UserID  string           `json:"userId"`
	Score   *decimal.Decimal `json:"resultScore,omitempty"`
	Maximum decimal.Decimal  `json:"resultMaximum"`
	Comment string           `json:"comment,omitempty"`
}

// AnswerResults returns results as JSON: an array, also of none (AGS section 3.3).
// resultMaximum is always there, because what its absence means is easily missed,
// and resultScore only if there is one. The timestamp is not told. The error is one
// of ours, and quotes nothing.
func AnswerResults(results []Result) ([]byte, error) {
	out := make([]wireResult, 0, len(results))
	for _, r := range results {
		if r.ID == "" || r.ScoreOf == "" || r.UserID == "" || r.Maximum.Sign() <= 0 {
			return nil, errors.New("ags: a result has no ID, line item, user or maximum")
		}
		out = append(out, wireResult{r.ID, r.ScoreOf, r.UserID, r.Score, r.Maximum, r.Comment})
	}
	return json.Marshal(out)
}

// ItemsQuery says which line items a tool asks for.
type ItemsQuery struct {
	Filter
	service.Page
}

// ParseItemsQuery reads the query of a request for line items (AGS section 3.2.9).
// What it does not know is ignored. Refusals are ParameterRepeated and
// ParameterInvalid.
func ParseItemsQuery(query lti.Params) (ItemsQuery, error) {
	var q ItemsQuery
	var err error
	if q.Page, err = service.ParsePage(query, MaxLimit); err != nil {
		return ItemsQuery{}, err
	}
	for _, f := range []struct {
		name string
		to   *string
	}{
		{"resource_link_id", &q.ResourceLinkID},
		{"resource_id", &q.ResourceID},
		{"tag", &q.Tag},
	} {
		if *f.to, err = service.Parameter(query, f.name); err != nil {
			return ItemsQuery{}, err
		}
	}
	return q, nil
}

// Next returns the Link header that names the page after this one, with the same
// filters. lineItems is the address of the whole list, and last the ID of the line
// item at the end of this page.
func (q ItemsQuery) Next(lineItems, last string) string {
	return q.Page.Next(lineItems, last, "resource_link_id", q.ResourceLinkID, "resource_id", q.ResourceID, "tag", q.Tag)
}

// ResultsQuery says which results of a line item a tool asks for.
type ResultsQuery struct {
	// UserID is the learner; "" for all.
	UserID string
	service.Page
}

// ParseResultsQuery reads the query of a request for results (AGS section 3.3).
// What it does not know is ignored. Refusals are ParameterRepeated and
// ParameterInvalid.
func ParseResultsQuery(query lti.Params) (ResultsQuery, error) {
	page, err := service.ParsePage(query, MaxLimit)
	if err != nil {
		return ResultsQuery{}, err
	}
	user, err := service.Parameter(query, "user_id")
	if err != nil {
		return ResultsQuery{}, err
	}
	return ResultsQuery{UserID: user, Page: page}, nil
}

// Next returns the Link header that names the page after this one, of the same
// learner. lineItem is the URL of the line item, and last the result at the end of
// this page.
func (q ResultsQuery) Next(lineItem, last string) string {
	return q.Page.Next(ResultsURL(lineItem, q.UserID), last)
}
