package deeplink

import (
	"errors"
	"slices"
	"strings"

	"github.com/lti-operator/lti-operator/internal/lti"
)

// Presentation document targets (DL section 4.4.1).
const (
	TargetEmbed  = "embed"
	TargetIFrame = "iframe"
	TargetWindow = "window"
)

// Settings are what a platform asks for: the claim deep_linking_settings (DL
// section 4.4.1). Absent strings are empty.
type Settings struct {
	// ReturnURL is where the response goes; required: https, or http on a loopback
	// host.
	ReturnURL string
	// AcceptTypes are the types of items that the platform takes; required.
	AcceptTypes []string
	// AcceptTargets are the presentation document targets it supports; required by
	// the specification, and left out by some.
	AcceptTargets []string
	// AcceptMediaTypes are for items of type file.
	AcceptMediaTypes []string
	// AcceptMultiple allows more than one item; not if the platform does not say so.
	AcceptMultiple bool
	// AcceptLineItem says whether line items of resource links are looked at; nil if
	// the platform does not say.
	AcceptLineItem *bool
	// AutoCreate says that items are saved without asking the teacher again.
	AutoCreate bool
	// Title and Text are what the platform proposes for the item.
	Title, Text string
	// Data is to be returned as it is; nil if there was none, which is not the same as an
	// empty one.
	Data *string
}

// ParseSettings reads the claim. Arrays may be strings, booleans may be text, and
// unknown members are ignored. It refuses with ClaimMissing or ClaimInvalid.
func ParseSettings(claim any) (*Settings, error) {
	values, ok := claim.(map[string]any)
	if !ok {
		if claim == nil {
			return nil, lti.Refuse(lti.ClaimMissing, "claim %s is missing", ClaimSettings)
		}
		return nil, lti.Refuse(lti.ClaimInvalid, "claim %s must be an object", ClaimSettings)
	}
	m := newMembers(values, ClaimSettings+".")
	s := &Settings{
		ReturnURL:        m.str("deep_link_return_url", MaxURL),
		AcceptTypes:      m.strings("accept_types"),
		AcceptTargets:    m.strings("accept_presentation_document_targets"),
		AcceptMediaTypes: m.strings("accept_media_types"),
		AcceptMultiple:   m.isTrue("accept_multiple"),
		AcceptLineItem:   m.boolean("accept_lineitem"),
		AutoCreate:       m.isTrue("auto_create"),
		Title:            m.line("title"),
		Text:             m.text("text", maxText),
	}
	if v := values["data"]; v != nil {
		data, ok := v.(string)
		switch {
		case !ok:
			// Of another type it could not be returned as it is to a reader of text.
			m.refuse(lti.ClaimInvalid, "data", "must be a string")
		case len(data) > MaxData:
			m.refuse(lti.ClaimInvalid, "data", "is too long")
		}
		s.Data = &data
	}
	switch {
	case *m.err != nil:
	case s.ReturnURL == "":
		m.refuse(lti.ClaimMissing, "deep_link_return_url", "is missing")
	case !lti.SafeURL(s.ReturnURL):
		m.refuse(lti.ClaimInvalid, "deep_link_return_url", "must be an absolute https URL (http is allowed on loopback hosts only)")
	case len(s.AcceptTypes) == 0:
		m.refuse(lti.ClaimMissing, "accept_types", "is missing")
	}
	if *m.err != nil {
		return nil, *m.err
	}
	return s, nil
}

// Accepts reports whether the platform takes items of a type.
func (s *Settings) Accepts(itemType string) bool { return slices.Contains(s.AcceptTypes, itemType) }

// AcceptsTarget reports whether the platform can show items in a presentation
// document target. One that names no targets has said nothing against any.
func (s *Settings) AcceptsTarget(target string) bool {
	return len(s.AcceptTargets) == 0 || slices.Contains(s.AcceptTargets, target)
}

// Claim returns the value of the claim, to be put under [ClaimSettings] into an
// ID token. What the specification requires must be there; the optional
// booleans are always said, because platforms and tools differ in what they take
// their absence for.
func (s *Settings) Claim() (map[string]any, error) {
	switch {
	case !lti.SafeURL(s.ReturnURL) || len(s.ReturnURL) > MaxURL:
		return nil, errors.New("deep linking: return URL is not an https URL")
	case len(s.AcceptTypes) == 0:
		return nil, errors.New("deep linking: no type is accepted")
	case len(s.AcceptTargets) == 0:
		return nil, errors.New("deep linking: no presentation document target is accepted")
	}
	claim := put(map[string]any{
		"deep_link_return_url":                 s.ReturnURL,
		"accept_types":                         slices.Clone(s.AcceptTypes),
		"accept_presentation_document_targets": slices.Clone(s.AcceptTargets),
		"accept_multiple":                      s.AcceptMultiple,
		"auto_create":                          s.AutoCreate,
	}, "accept_media_types", strings.Join(s.AcceptMediaTypes, ","), "title", s.Title, "text", s.Text)
	if s.AcceptLineItem != nil {
		claim["accept_lineitem"] = *s.AcceptLineItem
	}
	if s.Data != nil {
		claim["data"] = *s.Data
	}
	return claim, nil
}
