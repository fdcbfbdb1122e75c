// Package pages renders the pages that people see: refusals, the step into a new
// window, the frame around an activity of others, and forms that send a browser
// on. Pages load nothing from elsewhere but that activity, work without JavaScript
// and carry a Content-Security-Policy of their own.
package pages

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// View is what a page needs to know about the request it answers.
type View struct {
	// Lang is one of Languages, as ChooseLanguage returns it; anything else
	// means English.
	Lang string
	// FrameAncestors is the CSP source list of origins that may frame the page,
	// such as "https: http://*.localhost:*" or "'none'". Empty means the
	// page's default: "https:" for pages that appear inside another learning
	// system, "'none'" for Info and ToolFrame.
	FrameAncestors string
}

// Error is the page for a refused request. Nothing on it may be secret: callers
// pass names of fields and parameters, never their values.
type Error struct {
	// Code is the refusal code, the key of the texts.
	Code string
	// Status is the HTTP status, 400 to 599; 500 when it is not.
	Status int
	// Reference leads an administrator to the log lines of this request.
	Reference string
	// Activity, Integration and Tool are the titles of what the request was about,
	// as far as it is known: an activity, and the other system that opens one of the
	// academy's or that supplies one to it.
	Activity    string
	Integration string
	Tool        string
	// Missing names user data that the other system did not send: email,
	// given_name, family_name or user_id. The page says which setting makes the
	// other system send it.
	Missing []string
	// Details are further facts, such as the name of a missing parameter.
	Details []string
	// ChooseAgain is where an author can begin anew what was refused here, an
	// absolute http or https URL or a path; empty for people who launch activities.
	ChooseAgain string
	// Retry offers to ask for the same address again, which is right only where the request was a GET that changes
	// nothing.
	Retry bool
	// Connect offers to sign in once, so that a launched person is connected to the
	// account that has their address; nil when that is no way out.
	Connect *Connect
	// Back is the form that leads back to Integration; nil for none.
	Back *AutoSubmit
	// Unlinked says for whom the page is, where the link in the course leads to no
	// activity yet.
	Unlinked Unlinked
}

// Unlinked is somebody who opens a link that leads to no activity yet.
type Unlinked string

// Those who may open such a link: whoever can mend it, and whoever can tell them.
const (
	UnlinkedTeacher Unlinked = "Teacher"
	UnlinkedLearner Unlinked = "Learner"
)

// Connect is the form behind the button that begins a sign-in, in a window of its
// own.
type Connect struct {
	// Action, TokenField and Token are as in OpenInNewWindow.
	Action, TokenField, Token string
}

// OpenInNewWindow is the page with the button that opens a verified launch in a
// new, top-level window.
type OpenInNewWindow struct {
	Title       string
	Description string
	// DurationMinutes is left out when it is 0.
	DurationMinutes int
	// Action is where the form is posted: an absolute http or https URL, or a
	// path.
	Action string
	// TokenField and Token are the name and value of the one-time token.
	TokenField string
	Token      string
}

// StartInWindow is the page with the link that opens an address of ours once more,
// in a new, top-level window. The address holds no one-time value, so the link can
// be used again.
type StartInWindow struct {
	Title       string
	Description string
	// DurationMinutes is left out when it is 0.
	DurationMinutes int
	// Address is an absolute http or https URL, or a path.
	Address string
}

// Field is a form field.
type Field struct{ Name, Value string }

// AutoSubmit is the page that makes the browser post Fields to Action. Without
// JavaScript its button does it.
type AutoSubmit struct {
	// Action is an absolute http or https URL, or a path.
	Action string
	Fields []Field
}

// Info is the page for people who open a launch URL by hand.
type Info struct {
	// Activity is the title of the activity, where the URL is one's.
	Activity string
}

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed templates/style.css
var style string

// script submits the form. It goes through the prototype and the element ID,
// because a field of the form named "submit" hides the form's own method.
const script = `HTMLFormElement.prototype.submit.call(document.getElementById("forward"))`

var (
	templates  = parseTemplates()
	styleHash  = cspHash(style)
	scriptHash = cspHash(script)
)

// parseTemplates returns the templates of each language. The texts of the catalog
// become text of the templates: they are escaped here, and not for every page.
func parseTemplates() map[string]*template.Template {
	names, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		panic(err)
	}
	all := make(map[string]*template.Template, len(catalogs))
	for lang, c := range catalogs {
		pairs := []string{"{{.Lang}}", lang}
		for key, text := range c.UI {
			text = template.HTMLEscapeString(text)
			pairs = append(pairs, "{{.UI."+key+"}}", text, "{{$.UI."+key+"}}", text)
		}
		texts := strings.NewReplacer(pairs...)
		t := template.New("").Option("missingkey=error").Funcs(template.FuncMap{"rows": rows})
		for _, name := range names {
			file, err := templateFiles.ReadFile(name)
			if err != nil {
				panic(err)
			}
			template.Must(t.Parse(texts.Replace(string(file))))
		}
		all[lang] = t
	}
	return all
}

func cspHash(s string) string {
	h := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(h[:]) + "'"
}

// CSP source lists.
const (
	framedByDefault = "https:"
	nobody          = "'none'"
)

// Write answers with the page.
func (e Error) Write(w http.ResponseWriter, v View) error {
	status := e.Status
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	lang, c := v.catalog()
	r := c.reasonFor(e.Code, status)
	advice := c.Advice[r.Learner]
	if e.Unlinked != "" {
		r = reason{Title: c.UI["unlinkedTitle"], Happened: c.UI["unlinked"]}
		advice = c.UI["unlinked"+string(e.Unlinked)]
	}
	if e.ChooseAgain != "" {
		if err := checkAddress("address to choose again", e.ChooseAgain); err != nil {
			return err
		}
		r = c.forAuthors(r)
		advice = c.Advice[r.Learner]
	}
	if e.Retry {
		advice = c.UI["retry"]
	}
	heading := c.UI["forOtherParty"]
	switch r.Audience {
	case "academy":
		heading = c.UI["forAcademy"]
	case "tool":
		heading = c.UI["forTool"]
	}
	missing := make([]field, 0, len(e.Missing))
	for _, name := range e.Missing {
		f, ok := c.Fields[name]
		if !ok {
			f = field{Label: name}
		}
		missing = append(missing, f)
	}
	forms := policy{frame: v.frame(framedByDefault), formAction: nobody}
	if e.Connect != nil {
		if err := checkAddress("form action", e.Connect.Action); err != nil {
			return err
		}
		forms.formAction = "" // the sign-in is elsewhere
	}
	if e.Back != nil {
		if err := checkAddress("form action", e.Back.Action); err != nil {
			return err
		}
		forms.formAction = ""
	}
	return render(w, "error", status, forms, map[string]any{
		"Lang": lang, "UI": c.UI, "Title": r.Title, "Text": r, "Learner": advice,
		"AudienceHeading": heading, "Missing": missing, "Page": e,
	})
}

// Write answers with the page.
func (o OpenInNewWindow) Write(w http.ResponseWriter, v View) error {
	if err := checkAddress("form action", o.Action); err != nil {
		return err
	}
	if o.TokenField == "" || o.Token == "" {
		return errors.New("page without a one-time token")
	}
	lang, c := v.catalog()
	return render(w, "open", http.StatusOK, policy{frame: v.frame(framedByDefault)}, map[string]any{
		"Lang": lang, "UI": c.UI, "Title": c.heading(o.Title), "Duration": c.duration(o.DurationMinutes), "Page": o,
	})
}

// Write answers with the page.
func (s StartInWindow) Write(w http.ResponseWriter, v View) error {
	if err := checkAddress("address", s.Address); err != nil {
		return err
	}
	lang, c := v.catalog()
	return render(w, "start", http.StatusOK, policy{frame: v.frame(framedByDefault), formAction: nobody}, map[string]any{
		"Lang": lang, "UI": c.UI, "Title": c.heading(s.Title), "Duration": c.duration(s.DurationMinutes), "Page": s,
	})
}

// Write answers with the page.
func (a AutoSubmit) Write(w http.ResponseWriter, v View) error {
	if err := checkAddress("form action", a.Action); err != nil {
		return err
	}
	lang, c := v.catalog()
	return render(w, "submit", http.StatusOK, policy{frame: v.frame(framedByDefault), script: scriptHash}, map[string]any{
		"Lang": lang, "UI": c.UI, "Title": c.UI["submitTitle"], "Script": template.JS(script), "Page": a, //nolint:gosec // a constant
	})
}

// Write answers with the page.
func (i Info) Write(w http.ResponseWriter, v View) error {
	lang, c := v.catalog()
	return render(w, "info", http.StatusOK, policy{frame: v.frame(nobody), formAction: nobody}, map[string]any{
		"Lang": lang, "UI": c.UI, "Title": c.UI["infoTitle"], "Page": i,
	})
}

func (v View) catalog() (string, catalog) {
	if c, ok := catalogs[v.Lang]; ok {
		return v.Lang, c
	}
	return languages[0], catalogs[languages[0]]
}

// frame returns the frame-ancestors source list.
func (v View) frame(byDefault string) string { return sourceList(v.FrameAncestors, byDefault) }

// sourceList returns a CSP source list. One that would end the directive or the
// header allows nobody: what is left of it after repair could allow more than was
// meant.
func sourceList(given, byDefault string) string {
	if given == "" {
		return byDefault
	}
	if strings.ContainsFunc(given, func(r rune) bool { return r == ';' || r == ',' || r < ' ' || r > '~' }) {
		return nobody
	}
	sources := strings.Fields(given)
	if len(sources) == 0 {
		return nobody
	}
	return strings.Join(sources, " ")
}

// checkAddress refuses addresses that run something instead of going somewhere.
func checkAddress(what, address string) error {
	u, err := url.Parse(address)
	if err != nil {
		// Not %w: the error of url.Parse repeats the address.
		return fmt.Errorf("%s is not a URL", what)
	}
	if !isAbsolute(u) && !isPath(u, address) {
		return fmt.Errorf("%s has scheme %q; want an absolute http or https URL, or a path", what, u.Scheme)
	}
	return nil
}

func isAbsolute(u *url.URL) bool {
	return (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

// isPath reports whether the address, of which u is the parsed form, stays on the
// page's own origin. Browsers read a backslash as a slash.
func isPath(u *url.URL, address string) bool {
	return u.Scheme == "" && u.Host == "" && strings.HasPrefix(u.Path, "/") &&
		!strings.HasPrefix(address, "//") && !strings.HasPrefix(address, `/\`)
}

// rows is what the template of choices takes: rows of a Picker, and the name of
// their field.
func rows(rows []pickerRow, name string) map[string]any {
	return map[string]any{"Rows": rows, "Name": name}
}

// policy is what differs between the Content-Security-Policies of pages.
// formAction is empty on pages with a form: browsers apply the directive to the
// redirects that follow a submission too, and those lead to other hosts. content
// is what may be in a frame of the page; empty for nothing. style is the hash of a
// style sheet other than that of all pages. referrer is the Referrer-Policy; empty
// for no-referrer.
type policy struct{ frame, script, content, formAction, style, referrer string }

func (p policy) String() string {
	if p.style == "" {
		p.style = styleHash
	}
	d := []string{"default-src 'none'", "style-src " + p.style}
	if p.script != "" {
		d = append(d, "script-src "+p.script)
	}
	if p.content != "" {
		d = append(d, "frame-src "+p.content)
	}
	d = append(d, "img-src 'none'", "base-uri 'none'")
	if p.formAction != "" {
		d = append(d, "form-action "+p.formAction)
	}
	return strings.Join(append(d, "frame-ancestors "+p.frame), "; ")
}

// buffers are those that pages are rendered in.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// render writes a page, or nothing when it cannot be rendered, so that the
// caller can still answer with something else.
func render(w http.ResponseWriter, name string, status int, p policy, data map[string]any) error {
	if data["Style"] == nil {
		data["Style"] = template.CSS(style) //nolint:gosec // embedded at build time
	}
	lang := data["Lang"].(string)
	buf := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(buf)
	buf.Reset()
	if err := templates[lang].ExecuteTemplate(buf, name, data); err != nil {
		return fmt.Errorf("render page %s: %w", name, err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", lang)
	h.Set("Content-Length", strconv.Itoa(buf.Len()))
	h.Set("Content-Security-Policy", p.String())
	h.Set("Referrer-Policy", cmp.Or(p.referrer, "no-referrer"))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if _, err := w.Write(buf.Bytes()); err != nil {
		return fmt.Errorf("write page %s: %w", name, err)
	}
	return nil
}
