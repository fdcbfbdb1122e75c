//go:build browser

package pages

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestPagesInABrowser lets hack/peers/pages-check.mjs judge each page that has a golden file, in every language.
func TestPagesInABrowser(t *testing.T) {
	args := []string{"../../bin/screenshots"}
	for name := range samples() {
		for _, lang := range Languages() {
			args = append(args, name+"."+lang)
		}
	}
	slices.Sort(args[1:])
	judge(t, "pages-check.mjs", func(w http.ResponseWriter, r *http.Request, _, _ string) error {
		name, lang, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), ".")
		p := samples()[name]
		if p == nil {
			http.NotFound(w, r)
			return nil
		}
		return p.Write(w, View{Lang: lang})
	}, args...)
}
