// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lti-operator/lti-operator/internal/handler/tool"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// secrets are values by what they are, for messages that do not repeat them.
type secrets map[string]string

// secretsOf are all secrets that a handler with this table has, and the client secret, of which it has the hash.
func secretsOf(t *routing.Table, k *keys.Academy) secrets {
	s := secrets{
		"client secret":      clientSecret,
		"control port token": k.ControlToken,
		"directory token":    scimToken,
		"learners' secret":   learnersSecret,
		"control port key":   privateScalar(k.ControlPrivateKeyPEM),
		"control port PEM":   strings.Split(string(k.ControlPrivateKeyPEM), "\n")[2],
	}
	for i, key := range t.AcademyKeys.StateKeys {
		s[fmt.Sprintf("state key %d", i)] = string(key)
	}
	for _, c := range t.Credentials {
		for i, secret := range c.Secrets {
			s[fmt.Sprintf("shared secret %d of %s", i, c.ConsumerKey)] = secret
		}
	}
	for _, c := range t.ExternalCredentials {
		for i, secret := range c.Secrets {
			s[fmt.Sprintf("shared secret %d for %s", i, c.Activity)] = secret
		}
	}
	for i, secret := range t.AcademyKeys.WebhookSecrets {
		s[fmt.Sprintf("webhook secret %d", i)] = secret
	}
	return s
}

func privateScalar(text []byte) string {
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		panic(err)
	}
	scalar, err := key.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		panic(err)
	}
	return string(scalar)
}

// in returns the names of the secrets that the text contains, as they are or encoded as logs, pages, headers and URLs
// do.
func (s secrets) in(text string) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if slices.ContainsFunc(spellings(s[name]), func(x string) bool { return strings.Contains(text, x) }) {
			found = append(found, name)
		}
	}
	return found
}

func spellings(secret string) []string {
	quoted, err := json.Marshal(secret)
	if err != nil {
		panic(err)
	}
	bytes := fmt.Sprint([]byte(secret))
	bytes = bytes[1 : len(bytes)-1]
	out := []string{
		secret, string(quoted[1 : len(quoted)-1]), html.EscapeString(secret), url.QueryEscape(secret), url.PathEscape(secret),
		hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))),
		bytes, strings.ReplaceAll(bytes, " ", ","),
	}
	// In base64 a secret looks different after one or two other bytes, as in a Basic header. What the neighbours change
	// is left out.
	for shift := range 3 {
		shifted := append(make([]byte, shift), secret...)
		from, to := (shift*8+5)/6, len(shifted)*8/6
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			out = append(out, encoding.EncodeToString(shifted)[from:to])
		}
	}
	return out
}

// exchange is one request with its answer.
type exchange struct {
	request string
	answer  string
}

var (
	ticketField       = regexp.MustCompile(`name="ticket" value="([^"]+)"`)
	accessTokenMember = regexp.MustCompile(`"access_token":"([^"]+)"`)
	storedValue       = regexp.MustCompile(`"key":"lti_state_[^"]*","value":"([^"]+)"`)
)

// record keeps an answer and the one-time handles in it and in the request.
func (a *academy) record(r *http.Request, w *httptest.ResponseRecorder) {
	var text strings.Builder
	fmt.Fprintln(&text, w.Code)
	_ = w.Header().Write(&text)
	text.Write(w.Body.Bytes())
	a.mu.Lock()
	defer a.mu.Unlock()
	a.exchanges[exchange{request: r.Method + " " + r.URL.Path, answer: text.String()}] = true
	handle := func(values ...string) {
		for _, v := range values {
			// Shorter ones are none of ours, and stand in other words.
			if len(v) >= 16 {
				a.handles[v] = true
			}
		}
	}
	for _, name := range []string{"state", "id_token", "oauth_signature", "ticket", "code", "lti_message_hint", "client_assertion", "token", "registration_token", "picker", "stored_secret"} {
		handle(r.PostForm[name]...)
	}
	if strings.HasSuffix(r.URL.Path, "/register") {
		bearer, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		handle(append(r.URL.Query()["token"], r.URL.Query().Get("registration_token"), bearer)...)
	}
	for _, c := range w.Result().Cookies() {
		handle(c.Value)
	}
	if u, err := url.Parse(w.Header().Get("Location")); err == nil {
		handle(u.Query().Get("state"), u.Query().Get("nonce"), u.Query().Get(tool.ParamLaunchCode), u.Query().Get("lti_message_hint"))
	}
	for _, f := range hiddenField.FindAllStringSubmatch(w.Body.String(), -1) {
		if name := f[1]; name == "id_token" || name == "oauth_signature" || name == "oauth_nonce" || name == "JWT" || name == "picker" {
			handle(html.UnescapeString(f[2]))
		}
	}
	for _, pattern := range []*regexp.Regexp{ticketField, accessTokenMember, storedValue} {
		if m := pattern.FindStringSubmatch(w.Body.String()); m != nil {
			handle(m[1])
		}
	}
}

// leaks describes every place where a secret came out, and every one-time handle in a place that is kept.
func (a *academy) leaks() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found []string
	look := func(where, text string) {
		for _, name := range a.secrets.in(text) {
			found = append(found, fmt.Sprintf("the %s is in %s", name, where))
		}
	}
	for x := range a.exchanges {
		look("the answer to "+x.request, x.answer)
	}
	for where, text := range map[string]string{"the log": a.log.String(), "the metrics": a.metrics()} {
		look(where, text)
		for handle := range a.handles {
			if strings.Contains(text, handle) {
				found = append(found, "a one-time handle is in "+where)
			}
		}
	}
	return found
}

func TestALeakIsFound(t *testing.T) {
	a := newAcademy(t)
	all := secretsOf(a.table, a.keys)
	if len(all) != 11 {
		t.Fatalf("%d secrets in the table: %v", len(all), slices.Sorted(maps.Keys(all)))
	}
	for name, secret := range all {
		for where, text := range map[string]string{
			"plain":      "x" + secret + "y",
			"JSON":       func() string { b, _ := json.Marshal(map[string]string{"k": secret}); return string(b) }(),
			"page":       "<p>" + html.EscapeString(secret) + "</p>",
			"query":      "?secret=" + url.QueryEscape(secret),
			"hex":        fmt.Sprintf("%x", secret),
			"bytes":      fmt.Sprintf("%v", []byte("ab"+secret+"c")),
			"base64":     base64.StdEncoding.EncodeToString([]byte(secret)),
			"Basic":      "Basic " + base64.StdEncoding.EncodeToString([]byte("academy-app:"+secret)),
			"base64 URL": base64.URLEncoding.EncodeToString([]byte("x" + secret)),
		} {
			if found := all.in(text); !slices.Equal(found, []string{name}) {
				t.Errorf("%s as %s: found %v", name, where, found)
			}
		}
	}
	if found := all.in(a.log.String() + a.metrics()); found != nil {
		t.Errorf("found %v where nothing is", found)
	}

	// The harness looks everywhere.
	leak := func(plant func(b *academy)) []string {
		b := &academy{
			t: t, log: &lockedBuffer{}, secrets: all,
			exchanges: map[exchange]bool{}, handles: map[string]bool{"handle-of-one-launch": true},
		}
		plant(b)
		return b.leaks()
	}
	answer := func(header, body string) func(*academy) {
		return func(b *academy) {
			w := httptest.NewRecorder()
			w.Header().Set("Location", header)
			_, _ = w.WriteString(body)
			b.record(httptest.NewRequest(http.MethodPost, academyURL+"/x", nil), w)
		}
	}
	for name, c := range map[string]struct {
		plant func(*academy)
		want  int
	}{
		"nothing":       {answer("https://academy.acme.example/?lti_launch_code=handle-of-one-launch", "page"), 0},
		"header":        {answer("https://academy.acme.example/?x="+clientSecret, "page"), 1},
		"page":          {answer("", "<p>"+html.EscapeString(clientSecret)+"</p>"), 1},
		"log":           {func(b *academy) { _, _ = fmt.Fprintf(b.log, `{"x":%q}`, clientSecret) }, 1},
		"handle in log": {func(b *academy) { _, _ = b.log.Write([]byte("?lti_launch_code=handle-of-one-launch")) }, 1},
	} {
		if found := leak(c.plant); len(found) != c.want {
			t.Errorf("%s: %v", name, found)
		}
	}
}
