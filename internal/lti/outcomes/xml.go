package outcomes

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/lti-operator/lti-operator/internal/lti/service"
)

// Limits of a message.
const (
	// MaxBytes is the longest message that is read.
	MaxBytes = 64 << 10
	// maxDepth is how deep elements may be nested; the messages have seven.
	maxDepth = 32
)

var (
	errTooLarge = errors.New("message is too large")
	errNotXML   = errors.New("message is not well-formed XML")
	errDocType  = errors.New("message has a document type declaration")
	errTooDeep  = errors.New("elements are nested too deeply")
)

// element is an XML element. Namespaces and attributes are left out: senders
// disagree about the former, and the messages have none of the latter. Comments
// do not divide text.
type element struct {
	name     string
	text     strings.Builder
	children []*element
}

// readXML reads a document. There is nothing in it that could fetch, expand or
// grow: a document type declaration is an error, and with it every entity but
// the five of XML.
func readXML(body []byte) (*element, error) {
	if len(body) > MaxBytes {
		return nil, errTooLarge
	}
	// Some systems write a blank line before the declaration.
	d := xml.NewDecoder(bytes.NewReader(service.Trim(body)))
	var root *element
	var open []*element
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, errNotXML
		}
		switch t := token.(type) {
		case xml.Directive:
			return nil, errDocType
		case xml.StartElement:
			e := &element{name: t.Name.Local}
			switch {
			case len(open) == maxDepth:
				return nil, errTooDeep
			case len(open) > 0:
				parent := open[len(open)-1]
				parent.children = append(parent.children, e)
			case root != nil:
				return nil, errNotXML
			default:
				root = e
			}
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text.Write(t)
			} else if len(bytes.TrimSpace(t)) > 0 {
				return nil, errNotXML
			}
		}
	}
	if root == nil || len(open) > 0 {
		return nil, errNotXML
	}
	return root, nil
}

// find returns the first element at a path below e, and whether an element on
// the way there occurs more than once.
func (e *element) find(path ...string) (found *element, repeated bool) {
	for _, name := range path {
		var next *element
		for _, c := range e.children {
			switch {
			case c.name != name:
			case next == nil:
				next = c
			default:
				repeated = true
			}
		}
		if next == nil {
			return nil, repeated
		}
		e = next
	}
	return e, repeated
}

// trimmed returns the text of the first element at a path, without blanks around
// it, or "".
func (e *element) trimmed(path ...string) string {
	found, _ := e.find(path...)
	if found == nil {
		return ""
	}
	return strings.TrimSpace(found.text.String())
}

// writer writes a message.
type writer struct {
	bytes.Buffer
	err error
}

// errText means that a text cannot be in an XML document.
var errText = errors.New("text has characters that XML does not allow")

// element writes an element that has text only.
func (w *writer) element(name, text string) {
	// xml.EscapeText would write U+FFFD for what XML does not allow, and so
	// change an identifier without anybody noticing.
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !allowed(r) }) {
		w.err = errText
		return
	}
	w.WriteString("<" + name + ">")
	if err := xml.EscapeText(w, []byte(text)); err != nil {
		w.err = err
	}
	w.WriteString("</" + name + ">")
}

// optional writes an element unless its text is empty.
func (w *writer) optional(name, text string) {
	if text != "" {
		w.element(name, text)
	}
}

// allowed reports whether XML 1.0 section 2.2 allows a character.
func allowed(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= 0x20 && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd || r >= 0x10000 && r <= 0x10ffff
}
