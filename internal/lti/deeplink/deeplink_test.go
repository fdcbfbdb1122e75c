package deeplink

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/jws"
)

var (
	decimals = cmp.Comparer(func(a, b decimal.Decimal) bool { return a == b })
	// emptyMaps: custom is never nil once it was read.
	emptyMaps = cmpopts.EquateEmpty()
)

func object(t testing.TB, text string) map[string]any {
	t.Helper()
	o, err := jws.ParseObject([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func settings(t testing.TB, text string) (*Settings, error) {
	t.Helper()
	return ParseSettings(object(t, `{"s":`+text+`}`)["s"])
}

func code(t testing.TB, err error, want lti.Code) {
	t.Helper()
	if got := lti.CodeOf(err); err == nil || got != want {
		t.Fatalf("got %v, want %s", err, want)
	}
}

func TestRecordedSettingsOfMoodle(t *testing.T) {
	text, err := os.ReadFile("../testdata/moodle-lti13-deep-linking.json")
	if err != nil {
		t.Fatal(err)
	}
	claims, _ := object(t, string(text))["claims"].(map[string]any)
	got, err := ParseSettings(claims[ClaimSettings])
	if err != nil {
		t.Fatal(err)
	}
	want := &Settings{
		ReturnURL:   "http://localhost:9100/mod/lti/contentitem_return.php?course=2&id=2&sesskey=AzPcmUumsX",
		AcceptTypes: []string{TypeResourceLink}, AcceptTargets: []string{"frame", "iframe", "window"},
		AcceptMultiple: true, Title: "Stub 1.3",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSettingsAreReadWithTolerance(t *testing.T) {
	const returnURL = `"deep_link_return_url":"https://lms.example/return"`
	yes, no, data, empty := true, false, "a<b>&", ""
	for name, tc := range map[string]struct {
		text string
		want Settings
	}{
		"the least":         {`"accept_types":["link"]`, Settings{AcceptTypes: []string{"link"}}},
		"text for arrays":   {`"accept_types":"link, ltiResourceLink","accept_media_types":"image/*,text/html"`, Settings{AcceptTypes: []string{"link", "ltiResourceLink"}, AcceptMediaTypes: []string{"image/*", "text/html"}}},
		"text for booleans": {`"accept_types":["link"],"accept_multiple":"true","accept_lineitem":"false","auto_create":1`, Settings{AcceptTypes: []string{"link"}, AcceptMultiple: true, AcceptLineItem: &no, AutoCreate: true}},
		"nonsense booleans": {`"accept_types":["link"],"accept_multiple":"perhaps","accept_lineitem":{}`, Settings{AcceptTypes: []string{"link"}}},
		"null":              {`"accept_types":["link"],"accept_multiple":null,"accept_lineitem":null,"title":null,"data":null,"accept_media_types":null`, Settings{AcceptTypes: []string{"link"}}},
		"unknown members":   {`"accept_types":["link","novelty"],"accept_copy_advice":false,"x":{"y":[1]}`, Settings{AcceptTypes: []string{"link", "novelty"}}},
		"empty data":        {`"accept_types":["link"],"data":""`, Settings{AcceptTypes: []string{"link"}, Data: &empty}},
		"data":              {`"accept_types":["link"],"data":"a<b>&","accept_lineitem":true`, Settings{AcceptTypes: []string{"link"}, Data: &data, AcceptLineItem: &yes}},
		"title":             {`"accept_types":["link"],"title":"Fish &amp;\n Chips\u0000","text":7`, Settings{AcceptTypes: []string{"link"}, Title: "Fish & Chips", Text: "7"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := settings(t, `{`+returnURL+`,`+tc.text+`}`)
			if err != nil {
				t.Fatal(err)
			}
			tc.want.ReturnURL = "https://lms.example/return"
			if diff := cmp.Diff(&tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSettingsAreRefused(t *testing.T) {
	with := func(returnURL string) string {
		return `{"accept_types":["ltiResourceLink"],"deep_link_return_url":"` + returnURL + `"}`
	}
	rest := func(members string) string {
		return `{"deep_link_return_url":"https://lms.example/return",` + members + `}`
	}
	for name, tc := range map[string]struct {
		text string
		want lti.Code
	}{
		"nothing":                  {`null`, lti.ClaimMissing},
		"no object":                {`["a"]`, lti.ClaimInvalid},
		"no return URL":            {`{"accept_types":["ltiResourceLink"]}`, lti.ClaimMissing},
		"empty return URL":         {with(""), lti.ClaimMissing},
		"no types":                 {rest(`"accept_types":[]`), lti.ClaimMissing},
		"relative return URL":      {with("/return"), lti.ClaimInvalid},
		"script as return URL":     {with("javascript:alert(1)"), lti.ClaimInvalid},
		"plain http":               {with("http://lms.example/return"), lti.ClaimInvalid},
		"plain http, lookalike":    {with("http://localhost.lms.example/return"), lti.ClaimInvalid},
		"user in the return URL":   {with("https://a@lms.example/return"), lti.ClaimInvalid},
		"long return URL":          {with("https://lms.example/" + strings.Repeat("a", MaxURL)), lti.ClaimInvalid},
		"return URL of other type": {`{"accept_types":["ltiResourceLink"],"deep_link_return_url":["https://lms.example/"]}`, lti.ClaimInvalid},
		"long data":                {rest(`"accept_types":["link"],"data":"` + strings.Repeat("a", MaxData+1) + `"`), lti.ClaimInvalid},
		"data of other type":       {rest(`"accept_types":["link"],"data":7`), lti.ClaimInvalid},
		"types of other type":      {rest(`"accept_types":7`), lti.ClaimInvalid},
		"types that are no text":   {rest(`"accept_types":[7]`), lti.ClaimInvalid},
		"many types":               {rest(`"accept_types":["a"` + strings.Repeat(`,"a"`, maxElements) + `]`), lti.ClaimInvalid},
		"a long type":              {rest(`"accept_types":["` + strings.Repeat("a", maxIdentifier+1) + `"]`), lti.ClaimInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := settings(t, tc.text)
			code(t, err, tc.want)
			if got != nil {
				t.Error("and yet there are settings")
			}
		})
	}
	for _, u := range []string{"http://localhost:9100/x", "http://moodle.localhost/x", "http://127.8.9.1/x", "http://[::1]:80/x"} {
		if _, err := settings(t, with(u)); err != nil {
			t.Errorf("%s: %v", u, err)
		}
	}
}

// throughJSON is what the other party reads of claims.
func throughJSON(t testing.TB, claims any) map[string]any {
	t.Helper()
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return object(t, string(text))
}

func TestSettingsComeBack(t *testing.T) {
	no, data := false, ""
	for _, s := range []Settings{
		{ReturnURL: "https://lti.acme.example/tools/sim/chosen", AcceptTypes: []string{TypeResourceLink}, AcceptTargets: []string{TargetWindow}},
		{
			ReturnURL: "https://lti.acme.example/tools/sim/chosen", AcceptTypes: []string{TypeResourceLink, TypeLink},
			AcceptTargets: []string{TargetIFrame, TargetWindow}, AcceptMediaTypes: []string{"image/*", "text/html"},
			AcceptMultiple: true, AcceptLineItem: &no, AutoCreate: true, Title: "A", Text: "B", Data: &data,
		},
	} {
		claim, err := s.Claim()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseSettings(any(throughJSON(t, claim)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&s, got); diff != "" {
			t.Error(diff)
		}
	}
	for name, s := range map[string]Settings{
		"return URL": {AcceptTypes: []string{"link"}, AcceptTargets: []string{"window"}},
		"http":       {ReturnURL: "http://lti.acme.example/", AcceptTypes: []string{"link"}, AcceptTargets: []string{"window"}},
		"types":      {ReturnURL: "https://lti.acme.example/", AcceptTargets: []string{"window"}},
		"targets":    {ReturnURL: "https://lti.acme.example/", AcceptTypes: []string{"link"}},
	} {
		if c, err := s.Claim(); err == nil {
			t.Errorf("without %s: %v", name, c)
		}
	}
}

func number(t testing.TB, s string) decimal.Decimal {
	t.Helper()
	d, err := decimal.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var at = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

func complete(t testing.TB) *Response {
	yes, data := true, ""
	return &Response{
		Issuer: "client-1", Audience: []string{"https://lms.example"}, IssuedAt: at, ExpiresAt: at.Add(time.Minute),
		Nonce: "n", DeploymentID: "1", Data: &data, Message: "2 activities", Log: "log", ErrorMessage: "e", ErrorLog: "el",
		Items: []Item{
			{
				Type: TypeResourceLink, URL: "https://lti.acme.example/activities/a", Title: `Fire & "smoke"`, Text: "Line 1\nline 2",
				Icon:      &Image{URL: "https://lti.acme.example/icon.png", Width: 16, Height: 16},
				Thumbnail: &Image{URL: "https://lti.acme.example/thumbnail.png"},
				IFrame:    &IFrame{Width: 800, Height: 600}, Window: &Window{TargetName: "w", Width: 1024, Height: 768},
				Custom:    map[string]string{"activity": "a"},
				LineItem:  &LineItem{Label: "Fire", ScoreMaximum: number(t, "12.5"), ResourceID: "a", Tag: "grade", GradesReleased: &yes},
				Available: Period{Start: at, End: at.Add(time.Hour)}, Submission: Period{End: at.Add(time.Hour)},
			},
			{Type: TypeResourceLink, Window: &Window{}},
			{Type: TypeLink, URL: "https://lti.acme.example/", Title: "The academy"},
		},
	}
}

func TestAResponseComesBack(t *testing.T) {
	nothing := complete(t)
	nothing.Items, nothing.Data, nothing.Message, nothing.Log, nothing.ErrorMessage, nothing.ErrorLog = nil, nil, "", "", "", ""
	for name, r := range map[string]*Response{"complete": complete(t), "nothing": nothing} {
		t.Run(name, func(t *testing.T) {
			claims, err := r.Claims()
			if err != nil {
				t.Fatal(err)
			}
			sent := throughJSON(t, claims)
			if list, ok := sent[claimContentItems].([]any); !ok || len(list) != len(r.Items) {
				t.Errorf("content_items is %v", sent[claimContentItems])
			}
			if data, there := sent[claimData]; there != (r.Data != nil) || there && data != "" {
				t.Errorf("data is %v, %v", data, there)
			}
			if sent["aud"] != "https://lms.example" {
				t.Errorf("aud is %v", sent["aud"])
			}
			got, err := ParseResponse(sent)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(r, got, decimals, emptyMaps); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatMustNotBeSent(t *testing.T) {
	for name, change := range map[string]func(*Response){
		"no issuer":              func(r *Response) { r.Issuer = "" },
		"no nonce":               func(r *Response) { r.Nonce = "" },
		"no deployment":          func(r *Response) { r.DeploymentID = "" },
		"no audience":            func(r *Response) { r.Audience = nil },
		"two audiences":          func(r *Response) { r.Audience = []string{"a", "b"} },
		"no time":                func(r *Response) { r.IssuedAt = time.Time{} },
		"expired":                func(r *Response) { r.ExpiresAt = r.IssuedAt },
		"too many":               func(r *Response) { r.Items = make([]Item, MaxItems+1) },
		"no type":                func(r *Response) { r.Items[0].Type = "" },
		"html":                   func(r *Response) { r.Items[2].Type = TypeHTML },
		"a link without URL":     func(r *Response) { r.Items[2].URL = "" },
		"script":                 func(r *Response) { r.Items[0].URL = "javascript:alert(1)" },
		"script in a picture":    func(r *Response) { r.Items[0].Icon.URL = "javascript:alert(1)" },
		"script in a frame":      func(r *Response) { r.Items[0].IFrame.Src = "javascript:alert(1)" },
		"a link with line item":  func(r *Response) { r.Items[2].LineItem = r.Items[0].LineItem },
		"a maximum of 0":         func(r *Response) { r.Items[0].LineItem.ScoreMaximum = decimal.Decimal{} },
		"ends before it begins":  func(r *Response) { r.Items[0].Available.End = at.Add(-time.Hour) },
		"submission likewise":    func(r *Response) { r.Items[0].Submission.Start = at.Add(2 * time.Hour) },
		"a link with parameters": func(r *Response) { r.Items[2].Custom = map[string]string{"a": "b"} },
	} {
		t.Run(name, func(t *testing.T) {
			r := complete(t)
			change(r)
			if c, err := r.Claims(); err == nil {
				t.Errorf("sent: %v", c)
			}
		})
	}
}

// moodleItem is an item as Moodle 4.5 sends it in the tool's role.
const moodleItem = `{"type":"ltiResourceLink","title":"Fish &amp; Chips","text":"","url":"https://tool.example/launch",
	"icon":{"url":"https://tool.example/icon.png"},"custom":{"id":"7a","modid":7,"ok":true,"none":null,"more":{"a":"<b>"}},
	"lineItem":{"label":null,"scoreMaximum":"100","resourceId":"7a","tag":"grade"}}`

func TestItemsAreReadWithTolerance(t *testing.T) {
	link := func(members string) string { return `[{"type":"ltiResourceLink",` + members + `}]` }
	for name, tc := range map[string]struct {
		text string
		want []Item
	}{
		"none":           {`[]`, nil},
		"null":           {`null`, nil},
		"Moodle as tool": {`[` + moodleItem + `]`, []Item{{Type: TypeResourceLink, URL: "https://tool.example/launch", Title: "Fish & Chips", Icon: &Image{URL: "https://tool.example/icon.png"}, Custom: map[string]string{"id": "7a", "modid": "7", "ok": "true", "none": "", "more": `{"a":"<b>"}`}, LineItem: &LineItem{ScoreMaximum: number(t, "100"), ResourceID: "7a", Tag: "grade"}}}},
		"one without []": {`{"type":"ltiResourceLink","title":"A"}`, []Item{{Type: TypeResourceLink, Title: "A"}}},
		"other types": {
			`[{"type":"file","url":"https://t.example/f.pdf","title":"F","mediaType":"application/pdf","expiresAt":"2026-01-01T00:00:00Z"},
			{"type":"html","html":"<script>","title":"H"},{"type":"image","url":"https://t.example/i.png"},{"type":"link","url":"javascript:alert(1)","title":"L"},{"type":"novelty"}]`,
			[]Item{{Type: TypeFile, URL: "https://t.example/f.pdf", Title: "F"}, {Type: TypeHTML, Title: "H"}, {Type: TypeImage, URL: "https://t.example/i.png"}, {Type: TypeLink, Title: "L"}, {Type: "novelty"}},
		},
		"numbers as text":   {link(`"iframe":{"width":"800","height":"600.0"},"window":{"width":"-1","height":"1e9","targetName":7}`), []Item{{Type: TypeResourceLink, IFrame: &IFrame{Width: 800, Height: 600}, Window: &Window{TargetName: "7"}}}},
		"numbers as IDs":    {link(`"lineItem":{"scoreMaximum":10,"resourceId":7,"tag":8,"label":9}`), []Item{{Type: TypeResourceLink, LineItem: &LineItem{Label: "9", ScoreMaximum: number(t, "10"), ResourceID: "7", Tag: "8"}}}},
		"no maximum":        {link(`"lineItem":{"scoreMaximum":-1}`), []Item{{Type: TypeResourceLink, LineItem: &LineItem{}}}},
		"PHP's empty maps":  {link(`"lineItem":[],"custom":[],"iframe":[],"available":[],"icon":[]`), []Item{{Type: TypeResourceLink}}},
		"null members":      {link(`"url":null,"lineItem":null,"custom":null,"title":null,"window":null,"submission":null`), []Item{{Type: TypeResourceLink}}},
		"a picture as text": {link(`"icon":"https://t.example/i.png","thumbnail":"javascript:alert(1)"`), []Item{{Type: TypeResourceLink, Icon: &Image{URL: "https://t.example/i.png"}}}},
		"times":             {link(`"available":{"startDateTime":"2026-11-27T13:00:00+01:00","endDateTime":"never"},"submission":{"endDateTime":"2026-11-27T13:00:00+0100"}`), []Item{{Type: TypeResourceLink, Available: Period{Start: at}, Submission: Period{End: at}}}},
		"a long title":      {link(`"title":"` + strings.Repeat("é", maxTitle+1) + `"`), []Item{{Type: TypeResourceLink, Title: strings.Repeat("é", maxTitle)}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseItems(object(t, `{"i":`+tc.text+`}`)["i"])
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, decimals, emptyMaps); diff != "" {
				t.Error(diff)
			}
			for _, i := range got {
				if i.Type == TypeResourceLink && i.Custom == nil {
					t.Error("custom is nil")
				}
			}
		})
	}
}

func TestResponsesAreRefused(t *testing.T) {
	item := func(text string) func(map[string]any) {
		return func(c map[string]any) { c[claimContentItems] = object(t, `{"i":`+text+`}`)["i"] }
	}
	set := func(name string, value any) func(map[string]any) {
		return func(c map[string]any) { c[name] = value }
	}
	many := strings.Repeat(`,{"type":"link"}`, MaxItems+1)[1:]
	for name, tc := range map[string]struct {
		change func(map[string]any)
		want   lti.Code
	}{
		"no issuer":             {set("iss", nil), lti.ClaimMissing},
		"no audience":           {set("aud", ""), lti.ClaimMissing},
		"no iat":                {set("iat", nil), lti.ClaimMissing},
		"no exp":                {set("exp", nil), lti.ClaimMissing},
		"exp as text":           {set("exp", "1"), lti.ClaimInvalid},
		"no nonce":              {set("nonce", ""), lti.ClaimMissing},
		"a number as nonce":     {set("nonce", json.Number("7")), lti.ClaimInvalid},
		"no deployment":         {set(claimDeployment, nil), lti.ClaimMissing},
		"no version":            {set(claimVersion, nil), lti.ClaimMissing},
		"another version":       {set(claimVersion, "1.1"), lti.VersionUnsupported},
		"no message type":       {set(claimMessageType, nil), lti.ClaimMissing},
		"a request":             {set(claimMessageType, MessageRequest), lti.MessageTypeUnsupported},
		"a number as data":      {set(claimData, json.Number("7")), lti.ClaimInvalid},
		"long data":             {set(claimData, strings.Repeat("a", MaxData+1)), lti.ClaimInvalid},
		"text for items":        {item(`"a"`), lti.ClaimInvalid},
		"text in items":         {item(`["a"]`), lti.ClaimInvalid},
		"an item without type":  {item(`[{"title":"A"}]`), lti.ClaimMissing},
		"an object as type":     {item(`[{"type":{}}]`), lti.ClaimInvalid},
		"a script":              {item(`[{"type":"ltiResourceLink","url":"javascript:alert(1)"}]`), lti.ClaimInvalid},
		"a URL that is no text": {item(`[{"type":"ltiResourceLink","url":7}]`), lti.ClaimInvalid},
		"many items":            {item(`[` + many + `]`), lti.ClaimInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			claims, err := complete(t).Claims()
			if err != nil {
				t.Fatal(err)
			}
			sent := throughJSON(t, claims)
			tc.change(sent)
			r, err := ParseResponse(sent)
			code(t, err, tc.want)
			if r != nil {
				t.Error("and yet there is a response")
			}
		})
	}
	t.Run("several audiences are for the caller to compare", func(t *testing.T) {
		claims, _ := complete(t).Claims()
		sent := throughJSON(t, claims)
		sent["aud"] = []any{"https://lms.example", "other"}
		r, err := ParseResponse(sent)
		if err != nil || !reflect.DeepEqual(r.Audience, []string{"https://lms.example", "other"}) {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// Whatever is sent is refused or comes out as something that may be used: no
// addresses but web addresses, and nothing beyond the limits.
func FuzzParseSettings(f *testing.F) {
	f.Add([]byte(`{"deep_link_return_url":"https://lms.example/r","accept_types":["ltiResourceLink"],"data":""}`))
	f.Add([]byte(`{"deep_link_return_url":"http://localhost:1/r?a=b","accept_types":"link,html","accept_multiple":"1","title":"&#1;&amp;\u0000"}`))
	f.Add([]byte(`{"deep_link_return_url":"javascript:1","accept_types":[1],"data":{}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		values, err := jws.ParseObject(text)
		if err != nil {
			return
		}
		s, err := ParseSettings(values)
		if err != nil {
			if c := lti.CodeOf(err); c != lti.ClaimMissing && c != lti.ClaimInvalid {
				t.Fatal(err)
			}
			return
		}
		if s.ReturnURL != values["deep_link_return_url"] || !lti.SafeURL(s.ReturnURL) || len(s.AcceptTypes) == 0 {
			t.Fatalf("%+v", s)
		}
		if data, there := values["data"]; (there && data != nil) != (s.Data != nil) || s.Data != nil && *s.Data != data {
			t.Fatalf("data %v became %v", data, s.Data)
		}
		if len([]rune(s.Title)) > maxTitle || strings.ContainsAny(s.Title, "\x00\n") {
			t.Fatalf("title %q", s.Title)
		}
	})
}

func FuzzParseResponse(f *testing.F) {
	claims, err := complete(f).Claims()
	if err != nil {
		f.Fatal(err)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(strings.Replace(string(text), `"`+claimContentItems+`":[`, `"`+claimContentItems+`":[`+moodleItem+`,`, 1)))
	f.Fuzz(func(t *testing.T, text []byte) {
		values, err := jws.ParseObject(text)
		if err != nil {
			return
		}
		r, err := ParseResponse(values)
		if err != nil {
			switch lti.CodeOf(err) {
			case lti.ClaimMissing, lti.ClaimInvalid, lti.VersionUnsupported, lti.MessageTypeUnsupported:
			default:
				t.Fatal(err)
			}
			return
		}
		if r.Issuer != values["iss"] || r.Nonce != values["nonce"] || r.DeploymentID != values[claimDeployment] || len(r.Items) > MaxItems {
			t.Fatalf("%+v", r)
		}
		for _, i := range r.Items {
			if i.Type == "" || i.URL != "" && !lti.WebURL(i.URL) || i.Icon != nil && !lti.WebURL(i.Icon.URL) || i.LineItem != nil && i.LineItem.ScoreMaximum.Sign() < 0 {
				t.Fatalf("%+v", i)
			}
		}
	})
}
