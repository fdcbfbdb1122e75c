package ags

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/egress"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

func start() time.Time { return time.Date(2026, 11, 23, 21, 53, 22, 511_000_000, time.UTC) }

func dec(t testing.TB, s string) decimal.Decimal {
	t.Helper()
	d, err := decimal.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// tokens gives out token-1 until it is refused, then token-2 and so on.
type tokens struct {
	n       int
	asked   int
	refused []string
	err     error
	fixed   bool
}

func (k *tokens) Token(context.Context) (string, error) {
	k.asked++
	return fmt.Sprintf("token-%d", k.n+1), k.err
}

func (k *tokens) Invalidate(value string) {
	k.refused = append(k.refused, value)
	if !k.fixed {
		k.n++
	}
}

// platform answers requests.
type platform func(*http.Request) (*http.Response, error)

func (p platform) Do(r *http.Request) (*http.Response, error) { return p(r) }

func answer(status int, body string, headers ...string) *http.Response {
	h := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		h.Add(headers[i], headers[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}
}

func newClient(p platform) (*Client, *tokens) {
	k := &tokens{}
	return &Client{Doer: p, Tokens: k, Now: start}, k
}

// always answers every request the same.
func always(status int, body string, headers ...string) platform {
	return func(*http.Request) (*http.Response, error) { return answer(status, body, headers...), nil }
}

const (
	itemsURL = "https://lms.example/courses/2/lineitems?type_id=2"
	itemURL  = "https://lms.example/courses/2/lineitems/4/lineitem?type_id=2"
)

func goodScore(t testing.TB) Score {
	return Score{
		UserID: "4", Timestamp: start(), Points: &Points{dec(t, "7.5"), dec(t, "10")},
		Comment: "well done", ActivityProgress: Completed, GradingProgress: FullyGraded,
	}
}

func TestEndpoint(t *testing.T) {
	var e Endpoint
	text := `{"scope":["` + ScopeScore + `","https://example/other","` + ScopeLineItem + `"],"lineitems":"https://a/l","lineitem":"https://a/l/1","x":1}`
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	if !e.May(ScopeScore) || !e.May(ScopeLineItem) || !e.May(ScopeLineItemReadOnly) || e.May(ScopeResultReadOnly) || e.LineItemsURL != "https://a/l" || e.LineItemURL != "https://a/l/1" {
		t.Errorf("%+v", e)
	}
	if diff := cmp.Diff([]string{ScopeLineItem, ScopeScore}, e.TokenScopes()); diff != "" {
		t.Error(diff)
	}
	if (Endpoint{Scopes: []string{ScopeLineItemReadOnly}}).May(ScopeLineItem) {
		t.Error("reading is writing")
	}
	out, err := json.Marshal(Endpoint{Scopes: []string{ScopeScore}, LineItemsURL: "https://a/l"})
	if want := `{"scope":["` + ScopeScore + `"],"lineitems":"https://a/l"}`; err != nil || string(out) != want {
		t.Errorf("%s, %v", out, err)
	}
}

func TestURLs(t *testing.T) {
	if got := ScoresURL(itemURL); got != "https://lms.example/courses/2/lineitems/4/lineitem/scores?type_id=2" {
		t.Error(got)
	}
	if got := ResultsURL(itemURL, "a b&c"); got != "https://lms.example/courses/2/lineitems/4/lineitem/results?type_id=2&user_id=a+b%26c" {
		t.Error(got)
	}
	if got := ResultsURL("https://a/l", ""); got != "https://a/l/results" {
		t.Error(got)
	}
}

func TestARefusedTokenIsReplacedOnce(t *testing.T) {
	var sent []string
	c, k := newClient(func(r *http.Request) (*http.Response, error) {
		body, _ := io.ReadAll(r.Body)
		sent = append(sent, r.Header.Get("Authorization")+" "+fmt.Sprint(len(body) > 100))
		if len(sent) == 1 {
			return answer(401, "expired"), nil
		}
		return answer(200, ""), nil
	})
	if err := c.PostScore(t.Context(), itemURL, goodScore(t)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Bearer token-1 true", "Bearer token-2 true"}, sent); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"token-1"}, k.refused); diff != "" {
		t.Error(diff)
	}
}

func TestATokenThatIsRefusedAgain(t *testing.T) {
	for name, fixed := range map[string]bool{"and a new one too": false, "and there is no other": true} {
		n := 0
		c, k := newClient(func(r *http.Request) (*http.Response, error) {
			n++
			return answer(401, "no: "+r.Header.Get("Authorization")), nil
		})
		k.fixed = fixed
		err := c.PostScore(t.Context(), itemURL, goodScore(t))
		var e *service.Error
		if !errors.As(err, &e) || e.Reason != service.TokenRefused || e.Class != service.Permanent || e.Status != 401 || e.Remote != "no: Bearer [redacted]" {
			t.Errorf("%s: %+v", name, err)
		}
		if fixed && n != 1 || !fixed && (n != 2 || len(k.refused) != 2) || k.asked != 2 {
			t.Errorf("%s: %d requests, %d tokens, %v refused", name, n, k.asked, k.refused)
		}
	}
}

func TestNoToken(t *testing.T) {
	c, k := newClient(func(*http.Request) (*http.Response, error) { t.Error("sent"); return nil, nil })
	k.err = &service.Error{Class: service.Permanent, Reason: service.ScopeRefused}
	if err := c.PostScore(t.Context(), itemURL, goodScore(t)); !errors.Is(err, k.err) {
		t.Error(err)
	}
}

func TestNothingIsSentToWhatIsNoAddress(t *testing.T) {
	c, _ := newClient(func(*http.Request) (*http.Response, error) { t.Error("sent"); return nil, nil })
	item := LineItem{Label: "x", ScoreMaximum: dec(t, "1")}
	for _, u := range []string{"", "/l", "ftp://a/l", "https://", "https://u@a/l", "https://a/%zz"} {
		_, err1 := c.LineItems(t.Context(), u, Filter{})
		_, err2 := c.LineItem(t.Context(), u)
		_, err3 := c.CreateLineItem(t.Context(), u, item)
		err4 := c.PostScore(t.Context(), u, goodScore(t))
		_, err5 := c.Results(t.Context(), u, "")
		for i, err := range []error{err1, err2, err3, err4, err5} {
			if service.ReasonOf(err) != service.RequestInvalid {
				t.Errorf("%q, call %d: %v", u, i, err)
			}
		}
	}
}

// The guarded client hands a redirect back, and with it the token stays here.
func TestARedirectIsNotFollowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer other.Close()
	for status, class := range map[int]service.Class{301: service.Permanent, 302: service.Temporary, 303: service.Temporary, 307: service.Temporary, 308: service.Permanent} {
		here := httptest.NewServer(http.RedirectHandler(other.URL, status))
		c := &Client{Doer: egress.New(egress.Options{AllowedCIDRs: egress.LoopbackCIDRs()}), Tokens: &tokens{}, Now: start}
		_, err1 := c.LineItems(t.Context(), here.URL, Filter{})
		err2 := c.PostScore(t.Context(), here.URL, goodScore(t))
		for _, err := range []error{err1, err2} {
			if service.ReasonOf(err) != service.Redirected || service.ClassOf(err) != class {
				t.Errorf("%d: %v", status, err)
			}
		}
		here.Close()
	}
}

func TestLineItems(t *testing.T) {
	const one = `{"id":"https://lms.example/courses/2/lineitems/4","label":"Quiz","scoreMaximum":100,"resourceLinkId":"2"}`
	quiz := LineItem{ID: "https://lms.example/courses/2/lineitems/4", Label: "Quiz", ScoreMaximum: dec(t, "100"), ResourceLinkID: "2"}
	tests := map[string]struct {
		filter Filter
		status int
		body   string
		want   []LineItem
		reason service.Reason
		class  service.Class
	}{
		"one":                                  {Filter{}, 200, `[` + one + `]`, []LineItem{quiz}, "", ""},
		"none":                                 {Filter{}, 200, `[]`, nil, "", ""},
		"none, with 204":                       {Filter{}, 204, ``, nil, "", ""},
		"one without an array":                 {Filter{}, 200, one, []LineItem{quiz}, "", ""},
		"members nobody knows":                 {Filter{}, 200, `[{"id":"/l/1","label":"Q","scoreMaximum":1,"ltiLinkId":"2","submissionReview":{"reviewableStatus":[]},"https://canvas.instructure.com/lti/submission_type":{}}]`, []LineItem{{ID: "https://lms.example/l/1", Label: "Q", ScoreMaximum: dec(t, "1")}}, "", ""},
		"other types":                          {Filter{}, 200, `[{"id":"/l/1","label":null,"scoreMaximum":"60.00","resourceLinkId":7,"tag":[]}]`, []LineItem{{ID: "https://lms.example/l/1", ScoreMaximum: dec(t, "60"), ResourceLinkID: "7"}}, "", ""},
		"no maximum":                           {Filter{}, 200, `[{"id":"/l/1"}]`, []LineItem{{ID: "https://lms.example/l/1"}}, "", ""},
		"names are exact":                      {Filter{}, 200, `[{"id":"/l/1","LABEL":"x"}]`, []LineItem{{ID: "https://lms.example/l/1"}}, "", ""},
		"of the link":                          {Filter{ResourceLinkID: "2"}, 200, `[` + one + `]`, []LineItem{quiz}, "", ""},
		"the filter is ignored, by the link":   {Filter{ResourceLinkID: "3"}, 200, `[` + one + `]`, nil, "", ""},
		"the filter is ignored, by the tag":    {Filter{Tag: "t"}, 200, `[` + one + `]`, nil, "", ""},
		"the filter is ignored, by the ID":     {Filter{ResourceID: "r"}, 200, `[` + one + `]`, nil, "", ""},
		"an ID at another place":               {Filter{}, 200, `[{"id":"https://evil.example/l/1"}]`, nil, service.AnswerInvalid, service.Temporary},
		"another's ID at another place":        {Filter{Tag: "t"}, 200, `[{"id":"https://evil.example/l/1"}]`, nil, service.AnswerInvalid, service.Temporary},
		"no ID":                                {Filter{}, 200, `[{"label":"x"}]`, nil, service.AnswerInvalid, service.Temporary},
		"an error with 200":                    {Filter{Tag: "t"}, 200, `{"error":"x"}`, nil, service.AnswerInvalid, service.Temporary},
		"a number in the list":                 {Filter{}, 200, `[1]`, nil, service.AnswerInvalid, service.Temporary},
		"a page":                               {Filter{}, 200, `<html>`, nil, service.AnswerInvalid, service.Temporary},
		"nothing":                              {Filter{}, 200, ``, nil, service.AnswerInvalid, service.Temporary},
		"null":                                 {Filter{}, 200, `null`, nil, service.AnswerInvalid, service.Temporary},
		"half an array":                        {Filter{}, 200, `[` + one, nil, service.AnswerInvalid, service.Temporary},
		"more elements than anybody has":       {Filter{}, 200, `[` + strings.Repeat(`1,`, MaxItems) + `1]`, nil, service.AnswerInvalid, service.Temporary},
		"more bytes than anybody sends":        {Filter{}, 200, `[` + strings.Repeat(" ", service.MaxBody) + `]`, nil, service.AnswerInvalid, service.Temporary},
		"not permitted":                        {Filter{}, 403, ``, nil, service.NotPermitted, service.Permanent},
		"the course is gone":                   {Filter{}, 404, ``, nil, service.LineItemGone, service.Permanent},
		"the course is gone for good":          {Filter{}, 410, ``, nil, service.LineItemGone, service.Permanent},
		"an unknown link at Canvas":            {Filter{}, 412, ``, nil, service.RequestRefused, service.Permanent},
		"the platform has a problem":           {Filter{}, 502, ``, nil, service.Unavailable, service.Temporary},
		"too often":                            {Filter{}, 429, ``, nil, service.Throttled, service.Temporary},
		"two labels make it no one's business": {Filter{}, 200, `[{"id":"/l/1","label":"a","label":"b"}]`, nil, service.AnswerInvalid, service.Temporary},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, _ := newClient(always(tt.status, tt.body))
			got, err := c.LineItems(t.Context(), itemsURL, tt.filter)
			if service.ReasonOf(err) != tt.reason || service.ClassOf(err) != tt.class {
				t.Fatalf("%v", err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(decimal.Decimal{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFiltersAreSent(t *testing.T) {
	var got string
	c, _ := newClient(func(r *http.Request) (*http.Response, error) {
		got = r.Method + " " + r.URL.String() + " " + r.Header.Get("Accept")
		return answer(200, "[]"), nil
	})
	if _, err := c.LineItems(t.Context(), itemsURL, Filter{ResourceLinkID: "a&b", ResourceID: "é", Tag: "t"}); err != nil {
		t.Fatal(err)
	}
	if want := "GET " + itemsURL + "&resource_link_id=a%26b&resource_id=%C3%A9&tag=t " + MediaLineItemContainer; got != want {
		t.Error(got)
	}
}

func TestPages(t *testing.T) {
	item := func(n int) string { return fmt.Sprintf(`[{"id":"/l/%d"}]`, n) }
	endless := func(r *http.Request) (*http.Response, error) {
		n := len(r.URL.RawQuery)
		return answer(200, item(n), "Link", fmt.Sprintf(`<?%s>; rel=next`, strings.Repeat("x", n+1))), nil
	}
	for name, tt := range map[string]struct {
		answer platform
		want   int
		reason service.Reason
	}{
		"three": {func(r *http.Request) (*http.Response, error) {
			switch r.URL.RawQuery {
			case "type_id=2":
				return answer(200, item(1), "Link", `<?p=2>; rel="next"`), nil
			case "p=2":
				return answer(200, item(2), "Link", `<https://lms.example/other>; rel="next"`), nil
			}
			return answer(200, item(3), "Link", `<?p=1>; rel="prev"`), nil
		}, 3, ""},
		"an empty one is the last": {func(r *http.Request) (*http.Response, error) {
			if r.URL.RawQuery == "type_id=2" {
				return answer(200, item(1), "Link", `<?p=2>; rel="next"`), nil
			}
			return answer(200, `[]`, "Link", `<?p=3>; rel="next"`), nil
		}, 1, ""},
		"to another host":       {always(200, item(1), "Link", `<https://evil.example/>; rel="next"`), 0, service.AnswerInvalid},
		"to another port":       {always(200, item(1), "Link", `<https://lms.example:444/>; rel="next"`), 0, service.AnswerInvalid},
		"to itself":             {always(200, item(1), "Link", `<>; rel="next", <`+itemsURL+`>; rel="next"`), 1, ""},
		"round and round":       {always(200, item(1), "Link", `<`+itemsURL+`>; rel="next"`), 0, service.AnswerInvalid},
		"more than anybody has": {endless, 0, service.AnswerInvalid},
		"the second one is gone": {func(r *http.Request) (*http.Response, error) {
			if r.URL.RawQuery == "type_id=2" {
				return answer(200, item(1), "Link", `<?p=2>; rel="next"`), nil
			}
			return answer(500, ``), nil
		}, 0, service.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			hosts := map[string]bool{}
			c, _ := newClient(func(r *http.Request) (*http.Response, error) {
				hosts[r.URL.Host] = true
				return tt.answer(r)
			})
			got, err := c.LineItems(t.Context(), itemsURL, Filter{})
			if len(got) != tt.want || service.ReasonOf(err) != tt.reason {
				t.Errorf("%d items, %v", len(got), err)
			}
			if len(hosts) != 1 || !hosts["lms.example"] {
				t.Errorf("the token went to %v", hosts)
			}
		})
	}
}

func TestCreateLineItem(t *testing.T) {
	item := LineItem{ID: "ignored", Label: "Quiz — 1", ScoreMaximum: dec(t, "12.50"), ResourceLinkID: "2", Tag: "t"}
	for name, tt := range map[string]struct {
		status   int
		body     string
		location string
		id       string
		reason   service.Reason
	}{
		"201":                    {201, `{"id":"https://lms.example/l/9?type_id=2","label":"Quiz","scoreMaximum":12.5}`, "", "https://lms.example/l/9?type_id=2", ""},
		"200":                    {200, `{"id":"https://lms.example/l/9"}`, "", "https://lms.example/l/9", ""},
		"the ID in the header":   {201, `{"label":"Quiz"}`, "/l/9", "https://lms.example/l/9", ""},
		"no ID":                  {201, `{"label":"Quiz"}`, "", "", service.AnswerInvalid},
		"an ID at another place": {201, `{"id":"https://evil.example/l/9"}`, "", "", service.AnswerInvalid},
		"nothing":                {201, ``, "/l/9", "", service.AnswerInvalid},
		"not permitted":          {403, ``, "", "", service.NotPermitted},
		"no such link":           {404, ``, "", "", service.LineItemGone},
		"refused":                {422, ``, "", "", service.RequestRefused},
		"problem":                {500, ``, "", "", service.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := newClient(func(r *http.Request) (*http.Response, error) {
				body, _ := io.ReadAll(r.Body)
				if want := `{"label":"Quiz — 1","scoreMaximum":12.5,"resourceLinkId":"2","tag":"t"}`; string(body) != want || r.Method != "POST" || r.URL.String() != itemsURL || r.Header.Get("Content-Type") != MediaLineItem || r.Header.Get("Accept") != MediaLineItem {
					t.Errorf("%s %s %s %v", r.Method, r.URL, body, r.Header)
				}
				return answer(tt.status, tt.body, "Location", tt.location), nil
			})
			got, err := c.CreateLineItem(t.Context(), itemsURL, item)
			if got.ID != tt.id || service.ReasonOf(err) != tt.reason {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	c, _ := newClient(func(*http.Request) (*http.Response, error) { t.Error("sent"); return nil, nil })
	for _, l := range []LineItem{{Label: "x"}, {ScoreMaximum: dec(t, "1")}, {Label: "x", ScoreMaximum: dec(t, "-1")}} {
		if _, err := c.CreateLineItem(t.Context(), itemsURL, l); service.ReasonOf(err) != service.RequestInvalid {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

func TestResults(t *testing.T) {
	c, _ := newClient(func(r *http.Request) (*http.Response, error) {
		if got := r.URL.String(); got != "https://lms.example/courses/2/lineitems/4/lineitem/results?type_id=2&user_id=4" || r.Header.Get("Accept") != MediaResultContainer {
			t.Errorf("%s %v", got, r.Header)
		}
		return answer(200, `[
			{"id":"https://lms.example/r/1","scoreOf":"https://lms.example/l","userId":"4","resultScore":0,"resultMaximum":10,"comment":"c","timestamp":"2026-11-23T21:53:22+0000"},
			{"userId":"5","resultScore":1},
			{"userId":4,"resultScore":"0.75","resultMaximum":0,"timestamp":"yesterday"},
			{"userId":"4","resultScore":null,"resultMaximum":null},
			{"userId":"4"}
		]`), nil
	})
	got, err := c.Results(t.Context(), itemURL, "4")
	if err != nil {
		t.Fatal(err)
	}
	zero, part, one := decimal.Decimal{}, dec(t, "0.75"), dec(t, "1")
	want := []Result{
		{ID: "https://lms.example/r/1", ScoreOf: "https://lms.example/l", UserID: "4", Score: &zero, Maximum: dec(t, "10"), Comment: "c", Timestamp: start().Truncate(time.Second)},
		{UserID: "4", Score: &part, Maximum: one},
		{UserID: "4", Maximum: one},
		{UserID: "4", Maximum: one},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(decimal.Decimal{})); diff != "" {
		t.Error(diff)
	}
	c, _ = newClient(always(200, `[{"userId":"1"},{"userId":"2"}]`))
	if got, err := c.Results(t.Context(), itemURL, ""); err != nil || len(got) != 2 {
		t.Errorf("of everybody: %v, %v", got, err)
	}
	for body, status := range map[string]int{`[7]`: 200, `<html>`: 200, ``: 404} {
		c, _ = newClient(always(status, body))
		if got, err := c.Results(t.Context(), itemURL, "4"); err == nil || got != nil {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
}

func TestStored(t *testing.T) {
	at := func(offset time.Duration) time.Time { return start().Add(offset) }
	result := func(score, maximum string, ts time.Time) []Result {
		r := Result{UserID: "4", Maximum: dec(t, maximum), Timestamp: ts}
		if score != "" {
			d := dec(t, score)
			r.Score = &d
		}
		return []Result{{UserID: "5"}, r}
	}
	empty := goodScore(t)
	empty.Points = nil
	third := goodScore(t)
	third.Points = &Points{dec(t, "1"), dec(t, "3")}
	for name, tt := range map[string]struct {
		score   Score
		results []Result
		want    Stored
	}{
		"the timestamp of this one, cut to seconds":     {goodScore(t), result("75", "100", at(-511*time.Millisecond)), StoredThis},
		"a later timestamp":                             {goodScore(t), result("75", "100", at(time.Minute)), StoredOther},
		"an earlier timestamp":                          {goodScore(t), result("75", "100", at(-time.Minute)), StoredOther},
		"the same points without timestamp":             {goodScore(t), result("75", "100", time.Time{}), StoredThis},
		"other points without timestamp":                {goodScore(t), result("74", "100", time.Time{}), StoredOther},
		"the same points with the rounding of Moodle":   {third, result("33.33333", "100", time.Time{}), StoredThis},
		"the same points as a binary fraction":          {third, result("0.3333333333333333", "1", time.Time{}), StoredThis},
		"no points where there are none":                {empty, result("", "100", time.Time{}), StoredThis},
		"points where there are none":                   {goodScore(t), result("", "100", time.Time{}), StoredOther},
		"no points where there are some":                {empty, result("0", "100", time.Time{}), StoredOther},
		"nothing":                                       {goodScore(t), nil, StoredUnknown},
		"of somebody else":                              {goodScore(t), []Result{{UserID: "5", Timestamp: start()}}, StoredUnknown},
		"of several results one is it, as of two tries": {goodScore(t), append(result("1", "100", at(-time.Hour)), result("75", "100", start())...), StoredThis},
	} {
		if got := tt.score.Stored(tt.results); got != tt.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// recording is what a tool said to a Moodle, and what it was answered.
type recording struct {
	Step    string
	Request struct {
		Method, URL, Body string
		Headers           map[string]string
	}
	Response struct {
		Status  int
		Headers map[string]string
		Body    string
	}
}

func moodle(t testing.TB) map[string]recording {
	t.Helper()
	text, err := os.ReadFile("../testdata/moodle-lti13-services.json")
	if err != nil {
		t.Fatal(err)
	}
	var steps []recording
	if err := json.Unmarshal(text, &steps); err != nil {
		t.Fatal(err)
	}
	byName := map[string]recording{}
	for _, s := range steps {
		byName[s.Step] = s
	}
	return byName
}

func (r recording) response() *http.Response {
	var headers []string
	for name, value := range r.Response.Headers {
		headers = append(headers, name, value)
	}
	return answer(r.Response.Status, r.Response.Body, headers...)
}

// The requests are those that a real Moodle answered, and its answers are
// understood.
func TestARealMoodle(t *testing.T) {
	steps := moodle(t)
	const container = "http://localhost:9100/mod/lti/services.php/2/lineitems?type_id=2"
	item := "http://localhost:9100/mod/lti/services.php/2/lineitems/4/lineitem?type_id=2"
	quiz := LineItem{ID: item, Label: "LTI 1.3 quiz", ScoreMaximum: dec(t, "100"), ResourceLinkID: "2"}
	extra := LineItem{ID: strings.Replace(item, "/4/", "/15/", 1), Label: "Extra column", ScoreMaximum: dec(t, "50"), ResourceLinkID: "2", ResourceID: "res-1", Tag: "extra"}
	const token = "880fed269e5c8e63c1e824a581e2fdee"

	// play answers as recorded in a step, and then as in the others.
	play := func(t *testing.T, names ...string) (*Client, *tokens) {
		k := &tokens{}
		c := &Client{Now: start, Tokens: k}
		c.Doer = platform(func(r *http.Request) (*http.Response, error) {
			if len(names) == 0 {
				t.Fatalf("%s %s was not to be asked", r.Method, r.URL)
			}
			s := steps[names[0]]
			names = names[1:]
			if s.Step == "" {
				return answer(200, "[]"), nil
			}
			if r.Method != s.Request.Method || r.URL.String() != s.Request.URL {
				t.Errorf("%s %s, recorded is %s %s", r.Method, r.URL, s.Request.Method, s.Request.URL)
			}
			for name, want := range s.Request.Headers {
				if got := r.Header.Get(name); got != want && name != "authorization" {
					t.Errorf("%s: %q, recorded is %q", name, got, want)
				}
			}
			if s.Request.Body != "" {
				body, _ := io.ReadAll(r.Body)
				var got, want any
				if json.Unmarshal(body, &got) != nil || json.Unmarshal([]byte(s.Request.Body), &want) != nil {
					t.Fatal("not JSON")
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			}
			return s.response(), nil
		})
		t.Cleanup(func() {
			if len(names) != 0 {
				t.Errorf("not asked: %v", names)
			}
		})
		return c, k
	}
	same := func(t *testing.T, want, got any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(decimal.Decimal{})); diff != "" {
			t.Error(diff)
		}
	}

	t.Run("the line items", func(t *testing.T) {
		c, _ := play(t, "lineitems")
		got, err := c.LineItems(t.Context(), container, Filter{})
		same(t, []LineItem{quiz}, got, err)
	})
	t.Run("a page, and the next one as its malformed link says", func(t *testing.T) {
		c, _ := play(t, "lineitems-page1", "")
		inner, asked := c.Doer, ""
		c.Doer = platform(func(r *http.Request) (*http.Response, error) {
			asked = r.URL.String()
			return inner.Do(r)
		})
		got, err := c.LineItems(t.Context(), container+"&limit=1", Filter{})
		same(t, []LineItem{quiz}, got, err)
		if want := container + "&limit=1&from=1"; asked != want {
			t.Errorf("asked %s", asked)
		}
	})
	t.Run("the line items with a tag", func(t *testing.T) {
		c, _ := play(t, "lineitems-tag")
		got, err := c.LineItems(t.Context(), container, Filter{Tag: "extra"})
		same(t, []LineItem{extra}, got, err)
	})
	t.Run("a line item", func(t *testing.T) {
		c, _ := play(t, "lineitem")
		got, err := c.LineItem(t.Context(), item)
		same(t, quiz, got, err)
	})
	t.Run("a line item is created", func(t *testing.T) {
		c, _ := play(t, "lineitem-create")
		got, err := c.CreateLineItem(t.Context(), container, extra)
		same(t, extra, got, err)
	})
	t.Run("a line item was changed", func(t *testing.T) {
		s := steps["lineitem-put"]
		got, err := answered(&service.Answer{Status: s.Response.Status, Body: []byte(s.Response.Body)}, []string{token}, s.Request.URL, "")
		same(t, LineItem{ID: extra.ID, Label: "Extra column renamed", ScoreMaximum: dec(t, "60"), Tag: "extra"}, got, err)
	})
	t.Run("a line item was deleted", func(t *testing.T) {
		if s := steps["lineitem-delete"]; !(&service.Answer{Status: s.Response.Status}).OK() {
			t.Error("not deleted")
		}
	})
	t.Run("a score", func(t *testing.T) {
		c, _ := play(t, "score")
		same(t, nil, nil, c.PostScore(t.Context(), item, goodScore(t)))
	})
	t.Run("a score with an older timestamp", func(t *testing.T) {
		c, _ := play(t, "score-older-timestamp")
		// The recorder wrote no milliseconds.
		s := steps["score-older-timestamp"]
		s.Request.Body = strings.Replace(s.Request.Body, "00:00Z", "00:00.000Z", 1)
		steps["score-older-timestamp"] = s
		old := goodScore(t)
		old.Comment, old.Points, old.Timestamp = "", &Points{dec(t, "1"), dec(t, "10")}, time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
		err := c.PostScore(t.Context(), item, old)
		if service.ClassOf(err) != service.Superseded || service.ReasonOf(err) != service.TimestampOld {
			t.Error(err)
		}
	})
	t.Run("the results", func(t *testing.T) {
		c, _ := play(t, "results")
		got, err := c.Results(t.Context(), item, "")
		score := dec(t, "75")
		r := Result{
			ID: "http://localhost:9100/mod/lti/services.php/2/lineitems/4/lineitem/results?type_id=2&user_id=4", ScoreOf: item, UserID: "4",
			Score: &score, Maximum: dec(t, "100"), Comment: "well done", Timestamp: time.Date(2026, 11, 23, 21, 53, 22, 0, time.UTC),
		}
		r5 := r
		r5.ID, r5.UserID, r5.Timestamp = strings.Replace(r.ID, "user_id=4", "user_id=5", 1), "5", r.Timestamp.Add(-2*time.Second)
		same(t, []Result{r, r5}, got, err)
		if got := goodScore(t).Stored(got); got != StoredThis {
			t.Errorf("the score is there: %s", got)
		}
	})
	t.Run("a token that is none", func(t *testing.T) {
		c, k := play(t, "bad-token", "lineitems")
		got, err := c.LineItems(t.Context(), container, Filter{})
		same(t, []LineItem{quiz}, got, err)
		if len(k.refused) != 1 {
			t.Errorf("refused: %v", k.refused)
		}
	})
}
