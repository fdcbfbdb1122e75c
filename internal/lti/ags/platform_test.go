package ags

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

const ourItems = "https://lti.acme.example/tools/quiz/contexts/height/lineitems"

func TestParseLineItem(t *testing.T) {
	full := LineItem{
		Label: "Extra column", ScoreMaximum: dec(t, "50"), ResourceLinkID: "2", ResourceID: "res-1", Tag: "extra",
		StartDateTime: "2026-11-23T21:53:22Z", EndDateTime: "2026-12-01T00:00:00.5+01:00",
	}
	short := LineItem{Label: "x", ScoreMaximum: dec(t, "1")}
	with := func(change func(*LineItem)) LineItem {
		l := short
		change(&l)
		return l
	}
	none := LineItem{}
	for name, tt := range map[string]struct {
		body            string
		strict, lenient LineItem
		strictly, code  lti.Code
	}{
		"everything": {
			`{"id":"https://evil.example","scoreMaximum":50,"label":"Extra column","resourceId":"res-1","tag":"extra","resourceLinkId":"2",` +
				`"startDateTime":"2026-11-23T21:53:22Z","endDateTime":"2026-12-01T00:00:00.5+01:00","https://canvas.instructure.com/lti/submission_type":{"type":"none"}}`,
			full, full, "", "",
		},
		"what is needed":               {`{"label":"x","scoreMaximum":1}`, short, short, "", ""},
		"what else is null":            {`{"label":"x","scoreMaximum":1,"tag":null,"resourceId":null,"startDateTime":null}`, short, short, "", ""},
		"what else is empty":           {`{"label":"x","scoreMaximum":1,"tag":"","resourceId":"","resourceLinkId":""}`, short, short, "", ""},
		"blanks around it":             {"\xef\xbb\xbf \n" + `{"label":" x ","scoreMaximum":1}` + "\n", short, short, "", ""},
		"decimals, exactly":            {`{"label":"x","scoreMaximum":0.1000}`, with(func(l *LineItem) { l.ScoreMaximum = dec(t, "0.1") }), with(func(l *LineItem) { l.ScoreMaximum = dec(t, "0.1") }), "", ""},
		"a label in two lines":         {`{"label":"x\ny","scoreMaximum":1}`, with(func(l *LineItem) { l.Label = "x\ny" }), with(func(l *LineItem) { l.Label = "x\ny" }), "", ""},
		"a maximum that is text":       {`{"label":"x","scoreMaximum":"1.00000"}`, none, short, lti.ParameterInvalid, ""},
		"an ID that is a number":       {`{"label":"x","scoreMaximum":1,"resourceId":7}`, none, with(func(l *LineItem) { l.ResourceID = "7" }), lti.ParameterInvalid, ""},
		"a date without a colon":       {`{"label":"x","scoreMaximum":1,"endDateTime":"2026-11-23T21:49:55+0000"}`, none, with(func(l *LineItem) { l.EndDateTime = "2026-11-23T21:49:55+0000" }), lti.ParameterInvalid, ""},
		"a date that is none":          {`{"label":"x","scoreMaximum":1,"endDateTime":"tomorrow"}`, none, short, lti.ParameterInvalid, ""},
		"a date that is empty":         {`{"label":"x","scoreMaximum":1,"endDateTime":""}`, none, short, lti.ParameterInvalid, ""},
		"an ID that is an object":      {`{"label":"x","scoreMaximum":1,"resourceId":{}}`, none, none, lti.ParameterInvalid, lti.ParameterInvalid},
		"an ID with a zero byte":       {`{"label":"x","scoreMaximum":1,"tag":"a\u0000"}`, none, none, lti.ParameterInvalid, lti.ParameterInvalid},
		"an ID that is too long":       {`{"label":"x","scoreMaximum":1,"tag":"` + strings.Repeat("x", maxIdentifier+1) + `"}`, none, none, lti.ParameterInvalid, lti.ParameterInvalid},
		"a label that is null":         {`{"label":null,"scoreMaximum":1}`, none, none, lti.ParameterMissing, lti.ParameterMissing},
		"a label that is blank":        {`{"label":" \t","scoreMaximum":1}`, none, none, lti.ParameterMissing, lti.ParameterMissing},
		"no label":                     {`{"Label":"x","scoreMaximum":1}`, none, none, lti.ParameterMissing, lti.ParameterMissing},
		"a label that is a number":     {`{"label":1,"scoreMaximum":1}`, none, none, lti.ParameterInvalid, lti.ParameterInvalid},
		"a label with a zero byte":     {`{"label":"x\u0000","scoreMaximum":1}`, none, none, lti.ParameterInvalid, lti.ParameterInvalid},
		"a label that is too long":     {`{"label":"` + strings.Repeat("x", maxLabel+1) + `","scoreMaximum":1}`, none, none, lti.ParameterInvalid, lti.ParameterInvalid},
		"no maximum":                   {`{"label":"x"}`, none, none, lti.ParameterMissing, lti.ParameterMissing},
		"a maximum that is null":       {`{"label":"x","scoreMaximum":null}`, none, none, lti.ParameterMissing, lti.ParameterMissing},
		"a maximum of 0":               {`{"label":"x","scoreMaximum":0}`, none, none, lti.ParameterInvalid, lti.ParameterInvalid},
		"a maximum below 0":            {`{"label":"x","scoreMaximum":-1}`, none, none, lti.ParameterInvalid, lti.ParameterInvalid},
		"a maximum that is no number":  {`{"label":"x","scoreMaximum":"ten"}`, none, none, lti.ParameterInvalid, lti.ParameterInvalid},
		"a maximum beyond all numbers": {`{"label":"x","scoreMaximum":1e999}`, none, none, lti.ParameterInvalid, lti.ParameterInvalid},
		"two labels":                   {`{"label":"x","scoreMaximum":1,"\u006cabel":"y"}`, none, none, lti.ParameterRepeated, lti.ParameterRepeated},
		"an array":                     {`[{"label":"x","scoreMaximum":1}]`, none, none, lti.RequestMalformed, lti.RequestMalformed},
		"nothing":                      {``, none, none, lti.RequestMalformed, lti.RequestMalformed},
		"too much":                     {`{"label":"x","scoreMaximum":1,"z":"` + strings.Repeat("z", MaxLineItemBytes) + `"}`, none, none, lti.RequestTooLarge, lti.RequestTooLarge},
	} {
		got, err := ParseLineItem([]byte(tt.body), Strict)
		if got != tt.strict || lti.CodeOf(err) != tt.strictly {
			t.Errorf("%s, strictly: %+v, %v", name, got, err)
		}
		got, err = ParseLineItem([]byte(tt.body), Lenient)
		if got != tt.lenient || lti.CodeOf(err) != tt.code {
			t.Errorf("%s, leniently: %+v, %v", name, got, err)
		}
	}
}

// What is sent to create a line item is what it was before line items had dates.
func TestDatesAreNotSent(t *testing.T) {
	l := LineItem{ID: "x", Label: "Extra", ScoreMaximum: dec(t, "50"), StartDateTime: "2026-11-23T21:53:22Z", EndDateTime: "2026-11-23T21:53:22Z"}
	if got, err := l.Encode(); err != nil || string(got) != `{"label":"Extra","scoreMaximum":50}` {
		t.Errorf("%s, %v", got, err)
	}
}

func TestAnswerLineItems(t *testing.T) {
	item := LineItem{ID: ourItems + "/activity", Label: "Quiz", ScoreMaximum: dec(t, "100"), ResourceLinkID: "height"}
	dated := LineItem{ID: ourItems + "/2", Label: "<b>", ScoreMaximum: dec(t, "0.5"), ResourceID: "r", Tag: "t", StartDateTime: "2026-11-23T21:53:22Z", EndDateTime: "2026-12-23T21:53:22Z"}
	const first = `{"id":"` + ourItems + `/activity","label":"Quiz","scoreMaximum":100,"resourceLinkId":"height"}`
	const second = `{"id":"` + ourItems + `/2","label":"\u003cb\u003e","scoreMaximum":0.5,"resourceId":"r","tag":"t","startDateTime":"2026-11-23T21:53:22Z","endDateTime":"2026-12-23T21:53:22Z"}`
	for name, tt := range map[string]struct {
		items []LineItem
		want  string
	}{
		"none": {nil, `[]`}, "an empty list": {[]LineItem{}, `[]`}, "two": {[]LineItem{item, dated}, "[" + first + "," + second + "]"},
		"one without an ID":       {[]LineItem{item, {Label: "x", ScoreMaximum: dec(t, "1")}}, ""},
		"one without a label":     {[]LineItem{{ID: ourItems + "/2", ScoreMaximum: dec(t, "1")}}, ""},
		"one that has no maximum": {[]LineItem{{ID: ourItems + "/2", Label: "x"}}, ""},
	} {
		got, err := AnswerLineItems(tt.items)
		if string(got) != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
	if got, err := AnswerLineItem(item); err != nil || string(got) != first {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := AnswerLineItem(LineItem{Label: "x", ScoreMaximum: dec(t, "1")}); err == nil {
		t.Errorf("without an ID: %s", got)
	}
}

func TestAnswerResults(t *testing.T) {
	zero, score := dec(t, "0"), dec(t, "83.5")
	results := []Result{
		{ID: ourItems + "/activity/results/u-1", ScoreOf: ourItems + "/activity", UserID: "u-1", Score: &score, Maximum: dec(t, "100"), Comment: "well \"done\"", Timestamp: start()},
		{ID: ourItems + "/activity/results/u-2", ScoreOf: ourItems + "/activity", UserID: "u-2", Score: &zero, Maximum: dec(t, "1")},
		{ID: ourItems + "/activity/results/u-3", ScoreOf: ourItems + "/activity", UserID: "u-3", Maximum: dec(t, "100")},
	}
	want := strings.ReplaceAll(`[{"id":"$/activity/results/u-1","scoreOf":"$/activity","userId":"u-1","resultScore":83.5,"resultMaximum":100,"comment":"well \"done\""},`+
		`{"id":"$/activity/results/u-2","scoreOf":"$/activity","userId":"u-2","resultScore":0,"resultMaximum":1},`+
		`{"id":"$/activity/results/u-3","scoreOf":"$/activity","userId":"u-3","resultMaximum":100}]`, "$", ourItems)
	got, err := AnswerResults(results)
	if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
		t.Error(err, diff)
	}
	// Our own client reads the same, but for the timestamp.
	elements, err := array(got)
	if err != nil || len(elements) != len(results) {
		t.Fatal(err)
	}
	results[0].Timestamp = results[1].Timestamp
	for i, e := range elements {
		if back, ok := readResult(e); !ok || !cmp.Equal(back, results[i], cmp.Comparer(func(a, b Result) bool {
			return a.ID == b.ID && a.ScoreOf == b.ScoreOf && a.UserID == b.UserID && a.Maximum == b.Maximum && a.Comment == b.Comment &&
				(a.Score == nil) == (b.Score == nil) && (a.Score == nil || *a.Score == *b.Score)
		})) {
			t.Errorf("%+v", back)
		}
	}
	if got, err := AnswerResults(nil); err != nil || string(got) != `[]` {
		t.Errorf("%s, %v", got, err)
	}
	for name, change := range map[string]func(*Result){
		"an ID": func(r *Result) { r.ID = "" }, "a line item": func(r *Result) { r.ScoreOf = "" },
		"a user": func(r *Result) { r.UserID = "" }, "a maximum": func(r *Result) { r.Maximum = zero },
	} {
		r := results[0]
		change(&r)
		if got, err := AnswerResults([]Result{r}); err == nil {
			t.Errorf("without %s: %s", name, got)
		}
	}
}

func TestParseQueries(t *testing.T) {
	for query, tt := range map[string]struct {
		items   ItemsQuery
		results ResultsQuery
		code    lti.Code
	}{
		"":                             {ItemsQuery{Page: service.Page{Limit: MaxLimit}}, ResultsQuery{Page: service.Page{Limit: MaxLimit}}, ""},
		"tag=&user_id=":                {ItemsQuery{Page: service.Page{Limit: MaxLimit}}, ResultsQuery{Page: service.Page{Limit: MaxLimit}}, ""},
		"limit=1000&after=a":           {ItemsQuery{Page: service.Page{Limit: MaxLimit, After: "a"}}, ResultsQuery{Page: service.Page{Limit: MaxLimit, After: "a"}}, ""},
		"limit=2&user_id=u-1":          {ItemsQuery{Page: service.Page{Limit: 2}}, ResultsQuery{"u-1", service.Page{Limit: 2}}, ""},
		"limit=0":                      {ItemsQuery{}, ResultsQuery{}, lti.ParameterInvalid},
		"limit=1&limit=1":              {ItemsQuery{}, ResultsQuery{}, lti.ParameterRepeated},
		"type_id=2&type_id=3":          {ItemsQuery{Page: service.Page{Limit: MaxLimit}}, ResultsQuery{Page: service.Page{Limit: MaxLimit}}, ""},
		"after=" + "%00":               {ItemsQuery{}, ResultsQuery{}, lti.ParameterInvalid},
		"after=a&after=%61":            {ItemsQuery{}, ResultsQuery{}, lti.ParameterRepeated},
		"limit=2147483648000000000000": {ItemsQuery{Page: service.Page{Limit: MaxLimit}}, ResultsQuery{Page: service.Page{Limit: MaxLimit}}, ""},
	} {
		params, err := lti.ParseForm(query)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseItemsQuery(params); got != tt.items || lti.CodeOf(err) != tt.code {
			t.Errorf("%q: %+v, %v", query, got, err)
		}
		if got, err := ParseResultsQuery(params); got != tt.results || lti.CodeOf(err) != tt.code {
			t.Errorf("%q: %+v, %v", query, got, err)
		}
	}
	params := lti.Params{{Name: "resource_link_id", Value: "2"}, {Name: "resource_id", Value: "r"}, {Name: "tag", Value: "t"}}
	got, err := ParseItemsQuery(params)
	if want := (ItemsQuery{Filter{"2", "r", "t"}, service.Page{Limit: MaxLimit}}); got != want || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	for i := range params {
		if _, err := ParseItemsQuery(append(slices.Clone(params), params[i])); lti.CodeOf(err) != lti.ParameterRepeated {
			t.Errorf("%s twice: %v", params[i].Name, err)
		}
	}
	if _, err := ParseResultsQuery(lti.Params{{Name: "user_id", Value: "a"}, {Name: "user_id", Value: "b"}}); lti.CodeOf(err) != lti.ParameterRepeated {
		t.Error(err)
	}
}

// The client follows what the platform writes, and asks for the same there.
func TestNextPages(t *testing.T) {
	base, err := url.Parse(ourItems)
	if err != nil {
		t.Fatal(err)
	}
	items := ItemsQuery{Filter{"link 1", "r&s", "Tag"}, service.Page{Limit: 2, After: "id-1"}}
	results := ResultsQuery{"u&1", service.Page{Limit: 2, After: "id-1"}}
	for header, want := range map[string]string{
		items.Next(ourItems, "id-2"):                        ourItems + "?resource_link_id=link+1&resource_id=r%26s&tag=Tag&limit=2&after=id-2",
		results.Next(ourItems+"/activity", "id-2"):          ourItems + "/activity/results?user_id=u%261&limit=2&after=id-2",
		ItemsQuery{Page: items.Page}.Next(ourItems, "id-2"): ourItems + "?limit=2&after=id-2",
	} {
		next, ok := service.Within(base, service.Link(http.Header{"Link": {header}}, "next"))
		if !ok || next != want {
			t.Errorf("%s leads to %s", header, next)
		}
	}
	params, err := lti.ParseForm("resource_link_id=link+1&resource_id=r%26s&tag=Tag&limit=2&after=id-1")
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ParseItemsQuery(params); back != items || err != nil {
		t.Errorf("%+v, %v", back, err)
	}
}

// Whatever a tool sends is refused with a code, or is a line item that can be
// answered and is read again the same; and what is read strictly is read leniently
// the same.
func FuzzParseLineItem(f *testing.F) {
	f.Add([]byte(`{"scoreMaximum":50,"label":"Extra column","resourceId":"res-1","tag":"extra","resourceLinkId":"2","startDateTime":"2026-11-23T21:49:55+0000"}`))
	f.Add([]byte(`{"scoreMaximum":"100.00000","label":null,"resourceId":7,"endDateTime":"tomorrow"}`))
	f.Add([]byte("{\"label\":\"\xff\\ud800\",\"scoreMaximum\":1e-3}"))
	codes := []lti.Code{lti.RequestTooLarge, lti.RequestMalformed, lti.ParameterRepeated, lti.ParameterMissing, lti.ParameterInvalid}
	f.Fuzz(func(t *testing.T, body []byte) {
		strict, strictErr := ParseLineItem(body, Strict)
		l, err := ParseLineItem(body, Lenient)
		if err != nil {
			if !slices.Contains(codes, lti.CodeOf(err)) || strictErr == nil || l != (LineItem{}) {
				t.Fatalf("%+v, %v, strictly %v", l, err, strictErr)
			}
			return
		}
		if strictErr == nil && strict != l {
			t.Fatalf("strictly %+v, leniently %+v", strict, l)
		}
		if l.ID != "" || strings.TrimSpace(l.Label) == "" || l.ScoreMaximum.Sign() <= 0 {
			t.Fatalf("%+v", l)
		}
		for _, s := range []string{l.Label, l.ResourceLinkID, l.ResourceID, l.Tag, l.StartDateTime, l.EndDateTime} {
			if strings.Contains(s, "\x00") || len(s) > maxLabel {
				t.Fatalf("%q", s)
			}
		}
		l.ID = ourItems + "/1"
		text, err := AnswerLineItem(l)
		if err != nil || !json.Valid(text) || bytes.Contains(text, []byte("<")) {
			t.Fatalf("%s, %v", text, err)
		}
		back, err := ParseLineItem(text, Lenient)
		if back.ID = l.ID; back != l || err != nil {
			t.Fatalf("%+v became %+v, %v", l, back, err)
		}
	})
}
