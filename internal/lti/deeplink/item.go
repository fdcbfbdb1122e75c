package deeplink

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
)

// Types of content items (DL section 3).
const (
	TypeResourceLink = "ltiResourceLink"
	TypeLink         = "link"
	TypeFile         = "file"
	TypeHTML         = "html"
	TypeImage        = "image"
)

// maxPixels is the largest width or height that is believed.
const maxPixels = 100000

// Item is one content item (DL section 3). Absent strings are empty. Of types
// other than TypeResourceLink, known or not, only Type, URL, Title, Text and the
// pictures are kept: enough to say what was not taken.
type Item struct {
	Type string
	// URL of a resource link is its target link; empty for the tool's default one.
	URL string
	// Title is one line of plain text, Text several.
	Title, Text string
	// Icon and Thumbnail are pictures, nil for none.
	Icon, Thumbnail *Image
	// IFrame and Window say how to show the item; nil where the tool does not say.
	IFrame *IFrame
	Window *Window
	// Custom are custom parameters of a resource link; never nil in one that was read.
	Custom map[string]string
	// LineItem asks for a column in the grade book; nil for none.
	LineItem *LineItem
	// Available and Submission are when learners may open a resource link, and hand
	// something in.
	Available, Submission Period
}

// Image is a picture. Width and Height are in pixels, 0 if not said.
type Image struct {
	URL           string
	Width, Height int
}

// IFrame is the presentation in a frame. Width and Height are in pixels, 0 if
// not said; Src is for links only.
type IFrame struct {
	Width, Height int
	Src           string
}

// Window is the presentation in a window. Width and Height are in pixels, 0 if
// not said.
type Window struct {
	TargetName    string
	Width, Height int
}

// LineItem is a column of a grade book to be made with a resource link.
type LineItem struct {
	// Label is its title; that of the item if empty.
	Label string
	// ScoreMaximum is more than 0; 0 where a tool does not say it.
	ScoreMaximum decimal.Decimal
	// ResourceID and Tag are the tool's own.
	ResourceID, Tag string
	// GradesReleased says whether learners may see their grade; nil if not said.
	GradesReleased *bool
}

// Period is a time from Start to End; zero is open.
type Period struct{ Start, End time.Time }

// parseItems reads the claim content_items. Absent or null are no items, and one
// object is an array of one. It refuses with ClaimMissing or ClaimInvalid.
func parseItems(claim any) ([]Item, error) {
	var list []any
	switch v := claim.(type) {
	case nil:
	case []any:
		list = v
	case map[string]any:
		list = []any{v}
	default:
		return nil, lti.Refuse(lti.ClaimInvalid, "claim %s must be an array", claimContentItems)
	}
	if len(list) > MaxItems {
		return nil, lti.Refuse(lti.ClaimInvalid, "claim %s must have at most %d elements", claimContentItems, MaxItems)
	}
	items := make([]Item, 0, len(list))
	for n, e := range list {
		values, ok := e.(map[string]any)
		if !ok {
			return nil, lti.Refuse(lti.ClaimInvalid, "claim %s must hold objects only", claimContentItems)
		}
		item, err := parseItem(newMembers(values, fmt.Sprintf("%s[%d].", claimContentItems, n)))
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func parseItem(m members) (Item, error) {
	i := Item{
		Type: m.str("type", maxIdentifier), Title: m.line("title"), Text: m.text("text", maxText),
		URL: m.link("url"), Icon: m.image("icon"), Thumbnail: m.image("thumbnail"),
	}
	if i.Type == "" {
		m.refuse(lti.ClaimMissing, "type", "is missing")
	}
	if i.Type != TypeResourceLink {
		return i, *m.err
	}
	// No address is the default one, so a bad one must not become none.
	if sent := m.values["url"]; i.URL == "" && sent != nil && sent != "" {
		m.refuse(lti.ClaimInvalid, "url", "must be an absolute http or https URL")
	}
	if o, ok := m.object("iframe"); ok {
		i.IFrame = &IFrame{Width: o.pixels("width"), Height: o.pixels("height"), Src: o.link("src")}
	}
	if o, ok := m.object("window"); ok {
		i.Window = &Window{TargetName: o.text("targetName", maxIdentifier), Width: o.pixels("width"), Height: o.pixels("height")}
	}
	i.Custom = m.custom("custom")
	if o, ok := m.object("lineItem"); ok {
		i.LineItem = &LineItem{
			Label: o.line("label"), ResourceID: o.str("resourceId", maxIdentifier), Tag: o.str("tag", maxIdentifier),
			GradesReleased: o.boolean("gradesReleased"),
		}
		if most, ok := o.number("scoreMaximum"); ok && most.Sign() > 0 {
			i.LineItem.ScoreMaximum = most
		}
	}
	i.Available, i.Submission = m.period("available"), m.period("submission")
	return i, *m.err
}

// image returns a picture, nil for none. Its address alone may stand for it.
func (m members) image(name string) *Image {
	if u := m.link(name); u != "" {
		return &Image{URL: u}
	}
	o, _ := m.object(name)
	u := o.link("url")
	if u == "" {
		return nil
	}
	return &Image{URL: u, Width: o.pixels("width"), Height: o.pixels("height")}
}

func (m members) period(name string) Period {
	o, _ := m.object(name)
	return Period{Start: o.time("startDateTime"), End: o.time("endDateTime")}
}

// claim returns the item as it is sent.
func (i Item) claim() (map[string]any, error) {
	if err := i.check(); err != nil {
		return nil, fmt.Errorf("deep linking: content item %w", err)
	}
	c := put(map[string]any{}, "type", i.Type, "url", i.URL, "title", i.Title, "text", i.Text)
	for name, image := range map[string]*Image{"icon": i.Icon, "thumbnail": i.Thumbnail} {
		if image != nil {
			c[name] = size(put(map[string]any{}, "url", image.URL), image.Width, image.Height)
		}
	}
	if f := i.IFrame; f != nil {
		c["iframe"] = size(put(map[string]any{}, "src", f.Src), f.Width, f.Height)
	}
	if w := i.Window; w != nil {
		c["window"] = size(put(map[string]any{}, "targetName", w.TargetName), w.Width, w.Height)
	}
	if len(i.Custom) > 0 {
		c["custom"] = maps.Clone(i.Custom)
	}
	if l := i.LineItem; l != nil {
		o := put(map[string]any{}, "label", l.Label, "resourceId", l.ResourceID, "tag", l.Tag)
		o["scoreMaximum"] = l.ScoreMaximum
		if l.GradesReleased != nil {
			o["gradesReleased"] = *l.GradesReleased
		}
		c["lineItem"] = o
	}
	for name, p := range map[string]Period{"available": i.Available, "submission": i.Submission} {
		o := map[string]any{}
		for name, t := range map[string]time.Time{"startDateTime": p.Start, "endDateTime": p.End} {
			if !t.IsZero() {
				o[name] = t.UTC().Format(time.RFC3339)
			}
		}
		if len(o) > 0 {
			c[name] = o
		}
	}
	return c, nil
}

// check says what is wrong with an item that is to be sent.
func (i Item) check() error {
	switch {
	case i.Type == "":
		return errors.New("has no type")
	case i.Type == TypeHTML:
		return errors.New("of type html is not supported")
	case i.URL == "" && i.Type != TypeResourceLink:
		return errors.New("has no url")
	case i.URL != "" && !lti.WebURL(i.URL):
		return errors.New("has a url that is not an absolute http or https URL")
	case i.Type != TypeResourceLink && (i.LineItem != nil || len(i.Custom) > 0 || i.Available != (Period{}) || i.Submission != (Period{})):
		return errors.New("has what only a resource link may have")
	case i.LineItem != nil && i.LineItem.ScoreMaximum.Sign() <= 0:
		return errors.New("has a line item whose maximum is not more than 0")
	}
	for _, image := range []*Image{i.Icon, i.Thumbnail} {
		if image != nil && !lti.WebURL(image.URL) {
			return errors.New("has a picture without an absolute http or https URL")
		}
	}
	if i.IFrame != nil && i.IFrame.Src != "" && !lti.WebURL(i.IFrame.Src) {
		return errors.New("has a frame whose src is not an absolute http or https URL")
	}
	for _, p := range []Period{i.Available, i.Submission} {
		if !p.Start.IsZero() && !p.End.IsZero() && p.End.Before(p.Start) {
			return errors.New("ends before it starts")
		}
	}
	return nil
}

// size adds width and height where they are known.
func size(to map[string]any, width, height int) map[string]any {
	for name, n := range map[string]int{"width": width, "height": height} {
		if n > 0 {
			to[name] = n
		}
	}
	return to
}
