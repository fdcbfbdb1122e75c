package pages

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// languages that pages exist in, as BCP 47 tags. The first is
// used when nothing fits.
var languages = [...]string{"en", "nl"}

// Languages returns the languages that pages exist in, as BCP 47 tags, the
// default first.
func Languages() []string { return append([]string(nil), languages[:]...) }

//go:embed texts/*.json
var textFiles embed.FS

// reason is what there is to say about one refusal code.
type reason struct {
	// Title is optional; the catalog has a default.
	Title    string `json:"title"`
	Happened string `json:"happened"`
	// Learner is a key of catalog.Advice.
	Learner string `json:"learner"`
	// Audience says which administrator can help: otherParty, the learning system
	// that a person came from; tool, the system that one of our learners goes to;
	// or academy. Administrator is the text for them. Both or neither are set.
	Audience      string `json:"audience"`
	Administrator string `json:"administrator"`
}

type field struct {
	Label   string `json:"label"`
	Setting string `json:"setting"`
}

// catalog holds all texts of one language.
type catalog struct {
	UI       map[string]string `json:"ui"`
	Advice   map[string]string `json:"advice"`
	Fields   map[string]field  `json:"fields"`
	Fallback map[string]reason `json:"fallback"`
	Reasons  map[string]reason `json:"reasons"`
}

var catalogs = loadCatalogs()

// loadCatalogs panics on a broken catalog: it is compiled in, so that the first
// test finds out.
func loadCatalogs() map[string]catalog {
	all := make(map[string]catalog, len(languages))
	for _, lang := range languages {
		data, err := textFiles.ReadFile("texts/" + lang + ".json")
		if err != nil {
			panic(err)
		}
		var c catalog
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&c); err != nil {
			panic(fmt.Sprintf("texts/%s.json: %v", lang, err))
		}
		all[lang] = c
	}
	return all
}

// Covers reports whether the language has a text of its own for the refusal
// code. Codes without one get a general text.
func Covers(lang, code string) bool {
	_, ok := catalogs[lang].Reasons[code]
	return ok
}

// Explanation is what the page about a refusal code says, in plain text.
type Explanation struct {
	// Title and Happened are for the learner.
	Title, Happened string
	// Administrator is for whoever can do something about it; empty where the learner can.
	Administrator string
}

// Explain returns what the page about a code says in a language that has a text of its own for it; ok is false for
// others.
func Explain(lang, code string) (e Explanation, ok bool) {
	if !Covers(lang, code) {
		return Explanation{}, false
	}
	r := catalogs[lang].reasonFor(code, 0)
	return Explanation{Title: r.Title, Happened: r.Happened, Administrator: r.Administrator}, true
}

// reasonFor returns the text for a code, or the general one for the class of the
// HTTP status.
func (c catalog) reasonFor(code string, status int) reason {
	r, ok := c.Reasons[code]
	if !ok {
		class := "server"
		if status >= 400 && status < http.StatusInternalServerError {
			class = "client"
		}
		r = c.Fallback[class]
	}
	if r.Title == "" {
		r.Title = c.UI["defaultTitle"]
	}
	return r
}

// forAuthors returns the text about a refusal for somebody who chooses activities.
// The other party is the supplier then, and the message not a launch.
func (c catalog) forAuthors(r reason) reason {
	if r.Audience == "otherParty" {
		r.Title, r.Happened = c.UI["chooseRefusedTitle"], c.UI["chooseRefused"]
		r.Audience, r.Administrator = "tool", c.UI["chooseAdministrator"]
	}
	if r.Learner = "chooseAgain"; r.Audience == "academy" {
		r.Learner = "author"
	}
	return r
}

// heading is a title that is not empty: a page without a heading says nothing to a
// screen reader.
func (c catalog) heading(title string) string {
	if title == "" {
		return c.UI["activity"]
	}
	return title
}

// duration words a number of minutes, such as "1 hour 30 minutes"; empty for
// none.
func (c catalog) duration(minutes int) string {
	if minutes <= 0 {
		return ""
	}
	count := func(n int, one, many string) string {
		if n == 1 {
			return "1 " + c.UI[one]
		}
		return strconv.Itoa(n) + " " + c.UI[many]
	}
	var parts []string
	if h := minutes / 60; h > 0 {
		parts = append(parts, count(h, "hour", "hours"))
	}
	if m := minutes % 60; m > 0 {
		parts = append(parts, count(m, "minute", "minutes"))
	}
	return strings.Join(parts, " ")
}

// ChooseLanguage returns the language of a page: the first hint that pages exist
// in (a launch's locale, such as "nl-NL" or "nl_NL"), else the best match for
// the Accept-Language header, else English.
func ChooseLanguage(acceptLanguage string, hints ...string) string {
	for _, h := range hints {
		if lang := known(h); lang != "" {
			return lang
		}
	}
	best, bestQ := languages[0], 0.0
	for _, part := range strings.Split(acceptLanguage, ",") {
		tag, params, _ := strings.Cut(part, ";")
		q := 1.0
		if name, value, ok := strings.Cut(params, "="); ok && strings.EqualFold(strings.TrimSpace(name), "q") {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				continue
			}
			q = v
		}
		lang := known(tag)
		if strings.TrimSpace(tag) == "*" {
			lang = languages[0]
		}
		// Of equal weights the first one counts.
		if lang != "" && q > bestQ {
			best, bestQ = lang, q
		}
	}
	return best
}

// known returns the language of a tag by its primary subtag, or nothing.
func known(tag string) string {
	primary, _, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(tag), "_", "-"), "-")
	for _, lang := range languages {
		if strings.EqualFold(primary, lang) {
			return lang
		}
	}
	return ""
}
