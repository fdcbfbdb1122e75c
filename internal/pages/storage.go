package pages

import (
	"cmp"
	_ "embed"
	"errors"
	"html/template"
	"net/http"
)

// LeaveAtPlatform is the page, in a frame of another learning system, that leaves a
// secret in its storage and goes on to its authentication URL (1EdTech LTI OIDC Login
// with LTI Client Side postMessages 0.1). When the storage does not answer within a
// second, or without JavaScript by its button, Otherwise is posted.
type LeaveAtPlatform struct {
	PlatformStorage
	Value string
	// Next is an absolute http or https URL.
	Next      string
	Otherwise AutoSubmit
}

// AskPlatform is the page that asks the storage of the learning system around it for
// what LeaveAtPlatform left there, and posts it: in Field of Form, which is empty when
// there is no answer within a second, or no JavaScript.
type AskPlatform struct {
	PlatformStorage
	Field string
	Form  AutoSubmit
}

// PlatformStorage is one value in the storage of another learning system.
type PlatformStorage struct {
	// Origin is that of the system, as OriginOf returns it. Nobody else hears anything
	// or is heard.
	Origin string
	// Target is lti_storage_target: the name of a frame beside the page's own, or
	// StorageTarget for the window around it.
	Target string
	Key    string
}

//go:embed templates/storage.js
var storageScript string

var storageScriptHash = cspHash(storageScript)

// storageSettings are what the script reads.
type storageSettings struct {
	Origin string `json:"origin"`
	Target string `json:"target"`
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`
	Next   string `json:"next,omitempty"`
	Field  string `json:"field,omitempty"`
}

// OriginOf returns the origin of an absolute http or https URL as browsers write it
// (HTML, "ASCII serialization of an origin").
func OriginOf(address string) (string, error) {
	origins, err := originsOf([]string{address})
	if err != nil {
		return "", err
	}
	return origins[0], nil
}

// Write answers with the page.
func (l LeaveAtPlatform) Write(w http.ResponseWriter, v View) error {
	if l.Value == "" {
		return errors.New("nothing to leave at the platform")
	}
	if _, err := OriginOf(l.Next); err != nil {
		return err
	}
	return l.write(w, v, policy{}, l.Otherwise, storageSettings{Value: l.Value, Next: l.Next})
}

// Write answers with the page. A form that it posts names its origin, by which the
// server knows our own page (Fetch, "append a request Origin header"): Referrer-Policy
// no-referrer would hide it.
func (a AskPlatform) Write(w http.ResponseWriter, v View) error {
	if a.Field == "" {
		return errors.New("no field for what the platform answers")
	}
	form := a.Form
	form.Fields = append(append([]Field(nil), form.Fields...), Field{Name: a.Field})
	return a.write(w, v, policy{referrer: "same-origin"}, form, storageSettings{Field: a.Field})
}

func (s PlatformStorage) write(w http.ResponseWriter, v View, p policy, form AutoSubmit, settings storageSettings) error {
	if origin, err := OriginOf(s.Origin); err != nil || origin != s.Origin {
		return errors.New("the platform's origin is none")
	}
	if err := checkAddress("form action", form.Action); err != nil {
		return err
	}
	settings.Origin, settings.Target, settings.Key = s.Origin, s.Target, s.Key
	p.frame, p.script = v.frame(framedByDefault), storageScriptHash
	lang, c := v.catalog()
	return render(w, "storage", http.StatusOK, p, map[string]any{
		"Lang": lang, "UI": c.UI, "Title": c.UI["submitTitle"], "Page": form, "Settings": settings,
		"Script": template.JS(storageScript), //nolint:gosec // embedded at build time
	})
}

// LoginInNewWindow is the page with the button that begins a login once more, in a new,
// top-level window, where cookies are kept. Whether an activity is opened or one is
// chosen, a login does not tell.
type LoginInNewWindow struct {
	// Title is that of the activity, "" for one that is not known yet, or none.
	Title string
	// Action is where Fields are posted: an absolute http or https URL, or a path.
	Action string
	Fields []Field
}

// Write answers with the page.
func (l LoginInNewWindow) Write(w http.ResponseWriter, v View) error {
	if err := checkAddress("form action", l.Action); err != nil {
		return err
	}
	lang, c := v.catalog()
	return render(w, "login", http.StatusOK, policy{frame: v.frame(framedByDefault)}, map[string]any{
		"Lang": lang, "UI": c.UI, "Title": cmp.Or(l.Title, c.UI["loginButton"]), "Page": l,
	})
}
