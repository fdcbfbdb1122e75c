// SPDX-License-Identifier: Apache-2.0

package results

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/egress"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/store"
)

const (
	secretOne = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	secretTwo = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
)

func secret(t testing.TB, text string) Secret {
	t.Helper()
	s, err := ParseSecret(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The example of the specification.
func TestSignature(t *testing.T) {
	got := secret(t, secretOne).sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Error(got)
	}
}

func TestParseSecret(t *testing.T) {
	encode := func(n int) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("s"), n)) }
	for name, tt := range map[string]struct {
		text string
		ok   bool
	}{
		"as the specification shows it":  {secretOne, true},
		"with a line end, as from files": {secretOne + "\n", true},
		"the shortest":                   {"whsec_" + encode(24), true},
		"the longest":                    {"whsec_" + encode(64), true},
		"too short":                      {"whsec_" + encode(23), false},
		"too long":                       {"whsec_" + encode(65), false},
		"no prefix":                      {encode(32), false},
		"another prefix":                 {"whpk_" + encode(32), false},
		"no base64":                      {"whsec_" + strings.Repeat("-", 44), false},
		"nothing":                        {"", false},
		"nothing but the prefix":         {"whsec_", false},
	} {
		s, err := ParseSecret(tt.text)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && len(tt.text) > 10 && strings.Contains(err.Error(), tt.text[6:]) {
			t.Errorf("%s: the error quotes the secret", name)
		}
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			if text := fmt.Sprintf(format, struct{ S Secret }{s}) + fmt.Sprintf(format, s); tt.ok && !strings.Contains(text, redacted) || strings.Contains(text, "115") {
				t.Errorf("%s: %s prints %s", name, format, text)
			}
		}
	}
}

// received is an event as an academy reads it.
type received struct {
	id, result, activity, learner string
	version                       int64
	data                          map[string]any
	body                          string
}

// receive is an academy's side, written from the texts of Standard Webhooks and CloudEvents 1.0 and nothing of ours.
func receive(headers http.Header, body []byte, now time.Time, whsec string) (*received, error) {
	id, timestamp := headers.Get("webhook-id"), headers.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return nil, fmt.Errorf("timestamp %q at %v", timestamp, now)
	}
	key, err := base64.StdEncoding.DecodeString(whsec[len("whsec_"):])
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, timestamp, body)
	expected := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	valid := false
	for _, versioned := range strings.Split(headers.Get("webhook-signature"), " ") {
		version, signature, _ := strings.Cut(versioned, ",")
		valid = valid || version == "v1" && subtle.ConstantTimeCompare([]byte(signature), []byte(expected)) == 1
	}
	if !valid {
		return nil, errors.New("no signature is valid")
	}
	if got := headers.Get("content-type"); got != "application/cloudevents+json" {
		return nil, fmt.Errorf("content type %q", got)
	}
	var e map[string]any
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, err
	}
	if e["specversion"] != "1.0" || e["id"] != id || e["type"] != "io.lti-operator.result.changed.v1" || e["source"] != "https://academy.example" || e["datacontenttype"] != "application/json" {
		return nil, fmt.Errorf("not an event: %s", body)
	}
	if _, err := time.Parse(time.RFC3339, fmt.Sprint(e["time"])); err != nil {
		return nil, err
	}
	data, ok := e["data"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("no data: %s", body)
	}
	version, ok := data["version"].(float64)
	r := &received{
		id: id, result: fmt.Sprint(data["id"]), activity: fmt.Sprint(data["activity"]), learner: fmt.Sprint(data["subject"]),
		version: int64(version), data: data, body: string(body),
	}
	if !ok || id != fmt.Sprintf("%s.%d", r.result, r.version) {
		return nil, fmt.Errorf("the ID is not that of the version: %s", body)
	}
	return r, nil
}

func someEvent(t testing.TB) Event {
	t.Helper()
	r := store.Result{Key: store.ResultKey{Realm: "tool/t", Activity: "course", LearnerID: "u1"}, Subject: "a/b é%", StartedAt: start()}
	s, err := read(&r)
	if err != nil {
		t.Fatal(err)
	}
	m, rule := scoreAt(t, 0, ags.Completed, ags.FullyGraded, "80.50/100"), exam(60)
	if _, err := s.score(&rule, &m, start().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	return eventOf("https://academy.example", &r, &s)
}

func TestEvent(t *testing.T) {
	e := someEvent(t)
	body, err := json.Marshal(e)
	id := store.ResultKey{Realm: "tool/t", Activity: "course", LearnerID: "u1"}.ID()
	want := `{"specversion":"1.0","id":"` + id + `.1","source":"https://academy.example","type":"io.lti-operator.result.changed.v1",` +
		`"subject":"course/a%2Fb%20%C3%A9%25","time":"2026-11-23T21:53:23.511Z","datacontenttype":"application/json",` +
		`"data":{"id":"` + id + `","activity":"course","subject":"a/b é%","ltiUserID":"u1","status":"Passed",` +
		`"score":{"given":80.5,"maximum":100},"minimumScore":60,"activityProgress":"Completed","gradingProgress":"FullyGraded",` +
		`"timestamp":"2026-11-23T21:53:22.511Z","version":1,"startedAt":"2026-11-23T21:53:22.511Z","updatedAt":"2026-11-23T21:53:23.511Z"}}`
	if err != nil || string(body) != want {
		t.Errorf("%s\n%s\n%v", body, want, err)
	}
}

type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

func reply(status int, body io.Reader, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(body)}
}

func target(t testing.TB) *Target {
	t.Helper()
	return &Target{URL: "https://academy.example/hooks", Source: "https://academy.example", Secrets: []Secret{secret(t, secretOne), secret(t, secretTwo)}}
}

func TestPost(t *testing.T) {
	for name, whsec := range map[string]string{"the first secret": secretOne, "the second secret": secretTwo} {
		e, n := someEvent(t), 0
		d := doer(func(r *http.Request) (*http.Response, error) {
			n++
			body, _ := io.ReadAll(r.Body)
			if r.Method != http.MethodPost || r.URL.String() != "https://academy.example/hooks" {
				t.Errorf("%s: %s %s", name, r.Method, r.URL)
			}
			got, err := receive(r.Header, body, start(), whsec)
			if err != nil || got.id != e.ID {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
			if _, err := receive(r.Header, append(body, ' '), start(), whsec); err == nil {
				t.Errorf("%s: whoever changes the body is believed", name)
			}
			return reply(204, strings.NewReader("")), nil
		})
		if a := target(t).post(t.Context(), d, start, &e); a != (answer{}) || n != 1 {
			t.Errorf("%s: %+v after %d requests", name, a, n)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestAnswers(t *testing.T) {
	long := strings.Repeat("x", maxAnswer+1)
	for name, tt := range map[string]struct {
		answer *http.Response
		want   answer
	}{
		"200":                        {reply(200, strings.NewReader("ok")), answer{}},
		"202":                        {reply(202, strings.NewReader("")), answer{}},
		"204":                        {reply(204, strings.NewReader("")), answer{}},
		"200 with a page":            {reply(200, strings.NewReader(long)), answer{}},
		"200 and then no more":       {reply(200, broken{}), answer{}},
		"no answer":                  {nil, answer{reason: "Unreachable"}},
		"500":                        {reply(500, strings.NewReader(long)), answer{reason: "Unavailable"}},
		"500 and then no more":       {reply(500, broken{}), answer{reason: "Unreachable"}},
		"503, in a minute":           {reply(503, strings.NewReader(""), "Retry-After", "60"), answer{"Unavailable", time.Minute}},
		"503, at a time":             {reply(503, strings.NewReader(""), "Retry-After", start().Truncate(time.Second).Add(time.Minute).Format(http.TimeFormat)), answer{"Unavailable", time.Minute - 511*time.Millisecond}},
		"503, in a year":             {reply(503, strings.NewReader(""), "Retry-After", "31536000"), answer{"Unavailable", time.Hour}},
		"429":                        {reply(429, strings.NewReader(""), "Retry-After", "5"), answer{"Throttled", 5 * time.Second}},
		"400":                        {reply(400, strings.NewReader("")), answer{reason: "Refused"}},
		"401":                        {reply(401, strings.NewReader("")), answer{reason: "Refused"}},
		"404, in a minute":           {reply(404, strings.NewReader(""), "Retry-After", "60"), answer{"Refused", time.Minute}},
		"409":                        {reply(409, strings.NewReader("")), answer{reason: "Refused"}},
		"410":                        {reply(410, strings.NewReader("")), answer{reason: "Gone"}},
		"301":                        {reply(301, strings.NewReader(""), "Location", "https://other.example"), answer{reason: "Redirected"}},
		"302":                        {reply(302, strings.NewReader(""), "Location", "https://other.example"), answer{reason: "Redirected"}},
		"304, which nobody asks for": {reply(304, strings.NewReader("")), answer{reason: "Redirected"}},
	} {
		e := someEvent(t)
		d := doer(func(*http.Request) (*http.Response, error) {
			if tt.answer == nil {
				return nil, errors.New("no route to host")
			}
			return tt.answer, nil
		})
		if got := target(t).post(t.Context(), d, start, &e); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}

func TestNothingIsSentUnsignedOrToWhatIsNoAddress(t *testing.T) {
	d := doer(func(*http.Request) (*http.Response, error) { t.Error("sent"); return nil, errors.New("sent") })
	e := someEvent(t)
	for name, target := range map[string]*Target{
		"no secret":  {URL: "https://academy.example/hooks"},
		"no address": {Secrets: target(t).Secrets},
		"a path":     {URL: "/hooks", Secrets: target(t).Secrets},
		"a user":     {URL: "https://u:p@academy.example/hooks", Secrets: target(t).Secrets},
	} {
		if a := target.post(t.Context(), d, start, &e); a.reason != "RequestInvalid" {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// The guarded client hands a redirect back, and with it the event stays here.
func TestARedirectIsNotFollowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		here := httptest.NewServer(http.RedirectHandler(other.URL, status))
		to := target(t)
		to.URL = here.URL
		e := someEvent(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if a := to.post(ctx, egress.New(egress.Options{AllowedCIDRs: egress.LoopbackCIDRs()}), time.Now, &e); a.reason != "Redirected" {
			t.Errorf("%d: %+v", status, a)
		}
		cancel()
		here.Close()
	}
}
