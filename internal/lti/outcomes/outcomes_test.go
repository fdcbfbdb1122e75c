package outcomes

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lti-operator/lti-operator/internal/egress"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/lti/service"
)

func start() time.Time { return time.Unix(1795470798, 0) }

func dec(t testing.TB, s string) decimal.Decimal {
	t.Helper()
	d, err := decimal.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func score(t testing.TB, s string) *decimal.Decimal {
	t.Helper()
	d := dec(t, s)
	return &d
}

// same compares what decimals say, and not how.
func same() cmp.Option { return cmp.AllowUnexported(decimal.Decimal{}) }

// platform answers requests.
type platform func(*http.Request) (*http.Response, error)

func (p platform) Do(r *http.Request) (*http.Response, error) { return p(r) }

func answer(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Retry-After": {"60"}}, Body: io.NopCloser(strings.NewReader(body))}
}

func newClient(p platform) *Client {
	return &Client{Doer: p, Credentials: oauth1.Credentials{ConsumerKey: "moodle-key-11", SharedSecret: "s3cret&with spécial"}, Now: start, Random: rand.Reader}
}

const (
	serviceURL = "https://lms.example/mod/lti/service.php?id=1&x=a%20b"
	sourcedID  = `{"data":{"instanceid":"1","userid":"4"},"hash":"6b92<&>'"}`
)

func response(code, description, content string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>
<imsx_POXEnvelopeResponse xmlns="http://www.imsglobal.org/services/ltiv1p1/xsd/imsoms_v1p0"><imsx_POXHeader><imsx_POXResponseHeaderInfo><imsx_version>V1.0</imsx_version><imsx_messageIdentifier>7</imsx_messageIdentifier><imsx_statusInfo><imsx_codeMajor>` +
		code + `</imsx_codeMajor><imsx_severity>status</imsx_severity><imsx_description>` + description + `</imsx_description></imsx_statusInfo></imsx_POXResponseHeaderInfo></imsx_POXHeader><imsx_POXBody>` + content + `</imsx_POXBody></imsx_POXEnvelopeResponse>`
}

func TestRequestEncode(t *testing.T) {
	const head = `<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
		`<imsx_POXEnvelopeRequest xmlns="http://www.imsglobal.org/services/ltiv1p1/xsd/imsoms_v1p0"><imsx_POXHeader><imsx_POXRequestHeaderInfo><imsx_version>V1.0</imsx_version><imsx_messageIdentifier>m1</imsx_messageIdentifier></imsx_POXRequestHeaderInfo></imsx_POXHeader><imsx_POXBody>`
	const tail = `</imsx_POXBody></imsx_POXEnvelopeRequest>`
	const escaped = `{&#34;data&#34;:{&#34;instanceid&#34;:&#34;1&#34;,&#34;userid&#34;:&#34;4&#34;},&#34;hash&#34;:&#34;6b92&lt;&amp;&gt;&#39;&#34;}`
	for name, tt := range map[string]struct {
		r    Request
		want string
	}{
		"replace": {
			Request{Operation: ReplaceResult, MessageID: "m1", SourcedID: sourcedID, Score: score(t, "0.920")},
			head + `<replaceResultRequest><resultRecord><sourcedGUID><sourcedId>` + escaped + `</sourcedId></sourcedGUID><result><resultScore><language>en</language><textString>0.92</textString></resultScore></result></resultRecord></replaceResultRequest>` + tail,
		},
		"0 is a score": {
			Request{Operation: ReplaceResult, MessageID: "m1", SourcedID: "i", Score: score(t, "0")},
			head + `<replaceResultRequest><resultRecord><sourcedGUID><sourcedId>i</sourcedId></sourcedGUID><result><resultScore><language>en</language><textString>0</textString></resultScore></result></resultRecord></replaceResultRequest>` + tail,
		},
		"with data": {
			Request{Operation: ReplaceResult, MessageID: "m1", SourcedID: "i", Score: score(t, "1"), Language: "nl", Data: Data{Text: "a<b", URL: "https://a/?b&c", LaunchURL: "https://l/"}},
			head + `<replaceResultRequest><resultRecord><sourcedGUID><sourcedId>i</sourcedId></sourcedGUID><result><resultScore><language>nl</language><textString>1</textString></resultScore><resultData><text>a&lt;b</text><url>https://a/?b&amp;c</url><ltiLaunchUrl>https://l/</ltiLaunchUrl></resultData></result></resultRecord></replaceResultRequest>` + tail,
		},
		"data alone": {
			Request{Operation: ReplaceResult, MessageID: "m1", SourcedID: "i", Data: Data{Text: "x"}},
			head + `<replaceResultRequest><resultRecord><sourcedGUID><sourcedId>i</sourcedId></sourcedGUID><result><resultData><text>x</text></resultData></result></resultRecord></replaceResultRequest>` + tail,
		},
		"read": {
			Request{Operation: ReadResult, MessageID: "m1", SourcedID: "i"},
			head + `<readResultRequest><resultRecord><sourcedGUID><sourcedId>i</sourcedId></sourcedGUID></resultRecord></readResultRequest>` + tail,
		},
		"delete": {
			Request{Operation: DeleteResult, MessageID: "m1", SourcedID: "a\tb\nc\rd"},
			head + `<deleteResultRequest><resultRecord><sourcedGUID><sourcedId>a&#x9;b&#xA;c&#xD;d</sourcedId></sourcedGUID></resultRecord></deleteResultRequest>` + tail,
		},
		"no operation":              {Request{MessageID: "m1", SourcedID: "i"}, ""},
		"another operation":         {Request{Operation: "readMembership", MessageID: "m1", SourcedID: "i"}, ""},
		"no sourced ID":             {Request{Operation: ReadResult, MessageID: "m1"}, ""},
		"no message ID":             {Request{Operation: ReadResult, SourcedID: "i"}, ""},
		"no score":                  {Request{Operation: ReplaceResult, MessageID: "m1", SourcedID: "i"}, ""},
		"more than 1":               {Request{Operation: ReplaceResult, MessageID: "m1", SourcedID: "i", Score: score(t, "1.0000000001")}, ""},
		"less than 0":               {Request{Operation: ReplaceResult, MessageID: "m1", SourcedID: "i", Score: score(t, "-0.01")}, ""},
		"what XML cannot say":       {Request{Operation: ReadResult, MessageID: "m1", SourcedID: "a\x00b"}, ""},
		"what is no character":      {Request{Operation: ReadResult, MessageID: "m1", SourcedID: "a\uffffb"}, ""},
		"what is not UTF-8":         {Request{Operation: ReadResult, MessageID: "m1", SourcedID: "a\xffb"}, ""},
		"what XML cannot say, data": {Request{Operation: ReplaceResult, MessageID: "m1", SourcedID: "a", Score: score(t, "1"), Data: Data{Text: "\x1b"}}, ""},
	} {
		got, err := tt.r.Encode()
		if tt.want == "" {
			if service.ReasonOf(err) != service.RequestInvalid || got != nil {
				t.Errorf("%s: %s, %v", name, got, err)
			}
			c := newClient(func(*http.Request) (*http.Response, error) { t.Error("sent"); return nil, nil })
			if tt.r.MessageID == "" {
				continue // made by the client
			}
			if _, err := c.Send(t.Context(), serviceURL, tt.r); service.ReasonOf(err) != service.RequestInvalid {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if diff := cmp.Diff(tt.want, string(got)); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
		back, err := ParseRequest(got)
		want := tt.r
		if want.Language == "" && want.Score != nil {
			want.Language = "en"
		}
		if diff := cmp.Diff(&want, back, same()); diff != "" || err != nil {
			t.Errorf("%s is read as: %v\n%s", name, err, diff)
		}
	}
}

// record wraps a body in an envelope.
func record(body string) string {
	return `<imsx_POXEnvelopeRequest><imsx_POXHeader><imsx_POXRequestHeaderInfo><imsx_messageIdentifier>m1</imsx_messageIdentifier></imsx_POXRequestHeaderInfo></imsx_POXHeader><imsx_POXBody>` + body + `</imsx_POXBody></imsx_POXEnvelopeRequest>`
}

func replace(id, result string) string {
	return record(`<replaceResultRequest><resultRecord><sourcedGUID>` + id + `</sourcedGUID>` + result + `</resultRecord></replaceResultRequest>`)
}

func TestParseRequest(t *testing.T) {
	const id = `<sourcedId>i</sourcedId>`
	scored := func(text string) string {
		return `<result><resultScore><textString>` + text + `</textString></resultScore></result>`
	}
	got := func(s string) *Request {
		return &Request{Operation: ReplaceResult, MessageID: "m1", SourcedID: "i", Score: score(t, s)}
	}
	bare := &Request{Operation: ReplaceResult, MessageID: "m1", SourcedID: "i"}
	nameless := &Request{Operation: ReplaceResult, MessageID: "m1"}
	for name, tt := range map[string]struct {
		body string
		want *Request
		code lti.Code
	}{
		"a score":                         {replace(id, scored("0.85")), got("0.85"), ""},
		"0":                               {replace(id, scored("0")), got("0"), ""},
		"1.0":                             {replace(id, scored("1.0")), got("1"), ""},
		"blanks around":                   {"\ufeff\n" + replace("\n<sourcedId> i\n</sourcedId> ", scored("\n 0.5 ")) + "\n<!-- end -->\n", got("0.5"), ""},
		"a namespace with a prefix":       {`<?xml version="1.0"?><p:imsx_POXEnvelopeRequest xmlns:p="x"><p:imsx_POXBody><p:readResultRequest><p:resultRecord><p:sourcedGUID><p:sourcedId>i</p:sourcedId></p:sourcedGUID></p:resultRecord></p:readResultRequest></p:imsx_POXBody></p:imsx_POXEnvelopeRequest>`, &Request{Operation: ReadResult, SourcedID: "i"}, ""},
		"a comment does not divide text":  {replace(`<sourcedId>a<!-- b -->c</sourcedId>`, scored("0.<!-- -->5")), &Request{Operation: ReplaceResult, MessageID: "m1", SourcedID: "ac", Score: score(t, "0.5")}, ""},
		"CDATA is text":                   {replace(`<sourcedId><![CDATA[{"a":"<&>"}]]></sourcedId>`, scored("1")), &Request{Operation: ReplaceResult, MessageID: "m1", SourcedID: `{"a":"<&>"}`, Score: score(t, "1")}, ""},
		"data alone":                      {replace(id, `<result><resultData><text>x</text></resultData></result>`), &Request{Operation: ReplaceResult, MessageID: "m1", SourcedID: "i", Data: Data{Text: "x"}}, ""},
		"members nobody knows":            {replace(id, `<x/>`+scored("1")+`<resultTotalScore/>`), got("1"), ""},
		"another operation":               {record(`<readMembershipRequest><sourcedId/></readMembershipRequest>`), &Request{Operation: "readMembership", MessageID: "m1"}, ""},
		"an operation without its ending": {record(`<replaceResultResponse/>`), &Request{Operation: "replaceResultResponse", MessageID: "m1"}, ""},
		"no score":                        {replace(id, ``), bare, lti.ParameterMissing},
		"an empty score":                  {replace(id, scored("")), bare, lti.ParameterInvalid},
		"a comma":                         {replace(id, scored("0,5")), bare, lti.ParameterInvalid},
		"a percentage":                    {replace(id, scored("50%")), bare, lti.ParameterInvalid},
		"more than 1":                     {replace(id, scored("1.1")), bare, lti.ParameterInvalid},
		"less than 0":                     {replace(id, scored("-0.1")), bare, lti.ParameterInvalid},
		"not a number":                    {replace(id, scored("NaN")), bare, lti.ParameterInvalid},
		"a score with elements in it":     {replace(id, scored("0<b/>")), bare, lti.ParameterInvalid},
		"two scores":                      {replace(id, `<result><resultScore><textString>0</textString><textString>1</textString></resultScore></result>`), bare, lti.ParameterRepeated},
		"two results":                     {replace(id, scored("0")+scored("1")), bare, lti.ParameterRepeated},
		"two IDs":                         {replace(id+`<sourcedId>j</sourcedId>`, scored("1")), nameless, lti.ParameterRepeated},
		"no ID":                           {replace(``, scored("1")), nameless, lti.ParameterMissing},
		"an empty ID":                     {replace(`<sourcedId> </sourcedId>`, scored("1")), nameless, lti.ParameterMissing},
		"an ID with elements in it":       {replace(`<sourcedId>i<b>j</b></sourcedId>`, scored("1")), nameless, lti.ParameterInvalid},
		"two operations":                  {record(`<readResultRequest/><deleteResultRequest/>`), &Request{MessageID: "m1"}, lti.ParameterRepeated},
		"two bodies":                      {`<imsx_POXEnvelopeRequest><imsx_POXBody><a/></imsx_POXBody><imsx_POXBody/></imsx_POXEnvelopeRequest>`, &Request{}, lti.ParameterRepeated},
		"no operation":                    {record(``), &Request{MessageID: "m1"}, lti.ParameterMissing},
		"no body":                         {`<imsx_POXEnvelopeRequest/>`, &Request{}, lti.ParameterMissing},
		"an answer":                       {response("success", "", ""), nil, lti.RequestMalformed},
		"a document type":                 {`<!DOCTYPE x>` + record(``), nil, lti.RequestMalformed},
		"an entity":                       {`<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>` + replace(`<sourcedId>&e;</sourcedId>`, scored("1")), nil, lti.RequestMalformed},
		"an entity nobody declared":       {replace(`<sourcedId>&e;</sourcedId>`, scored("1")), nil, lti.RequestMalformed},
		"a document type inside":          {record(`<!DOCTYPE x>`), nil, lti.RequestMalformed},
		"two documents":                   {record(``) + record(``), nil, lti.RequestMalformed},
		"text after the document":         {record(``) + "x", nil, lti.RequestMalformed},
		"half a document":                 {record(``)[:100], nil, lti.RequestMalformed},
		"JSON":                            {`{"scoreGiven":1}`, nil, lti.RequestMalformed},
		"nothing":                         {``, nil, lti.RequestMalformed},
		"another encoding":                {`<?xml version="1.0" encoding="UTF-16"?>` + record(``), nil, lti.RequestMalformed},
		"not UTF-8":                       {replace("<sourcedId>\xff</sourcedId>", scored("1")), nil, lti.RequestMalformed},
		"a tower":                         {strings.Repeat("<a>", 10_000), nil, lti.RequestMalformed},
		"too much":                        {record(strings.Repeat(" ", MaxBytes)), nil, lti.RequestTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ParseRequest([]byte(tt.body))
			if lti.CodeOf(err) != tt.code {
				t.Fatalf("%+v, %v", r, err)
			}
			if diff := cmp.Diff(tt.want, r, same()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestResponse(t *testing.T) {
	const head = `<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
		`<imsx_POXEnvelopeResponse xmlns="http://www.imsglobal.org/services/ltiv1p1/xsd/imsoms_v1p0"><imsx_POXHeader><imsx_POXResponseHeaderInfo><imsx_version>V1.0</imsx_version><imsx_messageIdentifier>m2</imsx_messageIdentifier><imsx_statusInfo>`
	const tail = `</imsx_statusInfo></imsx_POXResponseHeaderInfo></imsx_POXHeader><imsx_POXBody>`
	r := &Request{Operation: ReadResult, MessageID: "m1"}
	read := r.Answer("m2", Success, "Result read")
	read.Score = score(t, "0.910")
	for name, tt := range map[string]struct {
		r    Response
		want string
	}{
		"read": {read, `<imsx_codeMajor>success</imsx_codeMajor><imsx_severity>status</imsx_severity><imsx_description>Result read</imsx_description><imsx_messageRefIdentifier>m1</imsx_messageRefIdentifier><imsx_operationRefIdentifier>readResult</imsx_operationRefIdentifier>` + tail +
			`<readResultResponse><result><resultScore><language>en</language><textString>0.91</textString></resultScore></result></readResultResponse>`},
		"read where there is none": {r.Answer("m2", Success, ""), `<imsx_codeMajor>success</imsx_codeMajor><imsx_severity>status</imsx_severity><imsx_description></imsx_description><imsx_messageRefIdentifier>m1</imsx_messageRefIdentifier><imsx_operationRefIdentifier>readResult</imsx_operationRefIdentifier>` + tail +
			`<readResultResponse><result><resultScore><language>en</language><textString></textString></resultScore></result></readResultResponse>`},
		"failure": {(&Request{Operation: ReplaceResult, MessageID: "<1>"}).Answer("m2", Failure, "a & b"), `<imsx_codeMajor>failure</imsx_codeMajor><imsx_severity>error</imsx_severity><imsx_description>a &amp; b</imsx_description><imsx_messageRefIdentifier>&lt;1&gt;</imsx_messageRefIdentifier><imsx_operationRefIdentifier>replaceResult</imsx_operationRefIdentifier>` + tail +
			`<replaceResultResponse/>`},
		"unsupported": {(&Request{Operation: "x<y"}).Answer("m2", Unsupported, ""), `<imsx_codeMajor>unsupported</imsx_codeMajor><imsx_severity>status</imsx_severity><imsx_description></imsx_description><imsx_messageRefIdentifier></imsx_messageRefIdentifier><imsx_operationRefIdentifier>x&lt;y</imsx_operationRefIdentifier>` + tail},
		"no request":  {(*Request)(nil).Answer("m2", Failure, ""), `<imsx_codeMajor>failure</imsx_codeMajor><imsx_severity>error</imsx_severity><imsx_description></imsx_description><imsx_messageRefIdentifier></imsx_messageRefIdentifier><imsx_operationRefIdentifier></imsx_operationRefIdentifier>` + tail},
	} {
		got, err := tt.r.Encode()
		if diff := cmp.Diff(head+tt.want+`</imsx_POXBody></imsx_POXEnvelopeResponse>`, string(got)); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
		back, err := ParseResponse(got)
		if diff := cmp.Diff(&tt.r, back, same()); diff != "" || err != nil {
			t.Errorf("%s is read as: %v\n%s", name, err, diff)
		}
	}
	if _, err := (Response{CodeMajor: Failure, Description: "\x00"}).Encode(); err == nil {
		t.Error("a character that XML does not allow")
	}
	bare, err := Response{CodeMajor: Success, Operation: DeleteResult}.Encode()
	if err != nil || !strings.Contains(string(bare), `<imsx_severity>status</imsx_severity>`) {
		t.Errorf("%s, %v", bare, err)
	}
}

func TestParseResponse(t *testing.T) {
	read := func(text string) string {
		return response("success", "", `<readResultResponse><result><resultScore><textString>`+text+`</textString></resultScore></result></readResultResponse>`)
	}
	for name, tt := range map[string]struct {
		body  string
		code  CodeMajor
		score *decimal.Decimal
	}{
		"success":                    {response("success", "", ""), Success, nil},
		"success in capitals":        {response(" Success\n", "", ""), Success, nil},
		"processing":                 {response("processing", "", ""), Processing, nil},
		"failure":                    {response("failure", "x", ""), Failure, nil},
		"unsupported":                {response("unsupported", "", ""), Unsupported, nil},
		"a score":                    {read(" 0.85000 "), Success, score(t, "0.85")},
		"no score":                   {read(""), Success, nil},
		"a score of more than 1":     {read("1.5"), Success, score(t, "1.5")},
		"a score that is no number":  {read("A+"), "", nil},
		"another code":               {response("ok", "", ""), "", nil},
		"no code":                    {`<imsx_POXEnvelopeResponse><imsx_POXHeader><imsx_POXResponseHeaderInfo/></imsx_POXHeader></imsx_POXEnvelopeResponse>`, "", nil},
		"no header":                  {`<imsx_POXEnvelopeResponse/>`, "", nil},
		"a request":                  {record(""), "", nil},
		"a page":                     {`<!DOCTYPE html><html></html>`, "", nil},
		"nothing":                    {``, "", nil},
		"more than anybody answers":  {response("success", strings.Repeat("x", MaxBytes), ""), "", nil},
		"what PHP writes before XML": {"\n\n " + response("success", "", ""), Success, nil},
	} {
		r, err := ParseResponse([]byte(tt.body))
		if tt.code == "" {
			if err == nil || r != nil {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
			continue
		}
		if err != nil || r.CodeMajor != tt.code || cmp.Diff(tt.score, r.Score, same()) != "" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestSend(t *testing.T) {
	const canvasFailure = "Course not available for student"
	for name, tt := range map[string]struct {
		status int
		body   string
		class  service.Class
		reason service.Reason // of a score; another operation has RequestRefused for ScoreRefused
		remote string
	}{
		"success":                           {200, response("success", "Grade replace response", "<replaceResultResponse/>"), "", "", ""},
		"success with 201":                  {201, response("success", "", ""), "", "", ""},
		"processing":                        {200, response("processing", "", ""), "", "", ""},
		"failure":                           {200, response("failure", "Grade\n replace  response", ""), service.Permanent, service.ScoreRefused, "Grade replace response"},
		"failure without a word":            {200, response("failure", "", ""), service.Permanent, service.ScoreRefused, ""},
		"unsupported":                       {200, response("unsupported", "user not found", ""), service.Permanent, service.OperationUnsupported, "user not found"},
		"the signature at Moodle":           {200, response("failure", "Message signature not valid", ""), service.Permanent, service.SignatureRefused, "Message signature not valid"},
		"the consumer key at Moodle":        {200, response("failure", "Consumer key is missing.", ""), service.Permanent, service.SignatureRefused, "Consumer key is missing."},
		"the clock at Moodle":               {200, response("failure", "Expired timestamp, yours 1, ours 2", ""), service.Permanent, service.SignatureRefused, "Expired timestamp, yours 1, ours 2"},
		"no grades at Moodle":               {200, response("failure", "Tool does not accept grades", ""), service.Permanent, service.NotPermitted, "Tool does not accept grades"},
		"the signature at Open edX":         {200, response("failure", "OAuth verification error: x", ""), service.Permanent, service.SignatureRefused, "OAuth verification error: x"},
		"the learner at Canvas":             {200, response("failure", canvasFailure, ""), service.Permanent, service.UserUnknown, canvasFailure},
		"the learner at Canvas, with 422":   {422, response("failure", canvasFailure, ""), service.Permanent, service.UserUnknown, canvasFailure},
		"the assignment at Canvas":          {200, response("failure", "Assignment is invalid", ""), service.Permanent, service.LineItemGone, "Assignment is invalid"},
		"the tool at Canvas":                {200, response("failure", "Tool is invalid", ""), service.Permanent, service.NotPermitted, "Tool is invalid"},
		"the signature at Canvas":           {401, `{"errors":["Invalid authorization header"]}`, service.Permanent, service.SignatureRefused, `{"errors":["Invalid authorization header"]}`},
		"401 with a message":                {401, response("failure", "user not found", ""), service.Permanent, service.SignatureRefused, "user not found"},
		"the message at Canvas":             {415, `bad request`, service.Permanent, service.ScoreRefused, "bad request"},
		"what echoes our secret":            {200, response("failure", "secret is s3cret&amp;with spécial", ""), service.Permanent, service.ScoreRefused, "secret is [redacted]"},
		"403":                               {403, ``, service.Permanent, service.NotPermitted, ""},
		"404":                               {404, ``, service.Permanent, service.LineItemGone, ""},
		"410":                               {410, ``, service.Permanent, service.LineItemGone, ""},
		"400":                               {400, ``, service.Permanent, service.ScoreRefused, ""},
		"success with 400 is none":          {400, response("success", "", ""), service.Permanent, service.ScoreRefused, ""},
		"throttled":                         {429, ``, service.Temporary, service.Throttled, ""},
		"throttled at Canvas":               {403, `403 Forbidden (Rate Limit Exceeded)`, service.Temporary, service.Throttled, "403 Forbidden (Rate Limit Exceeded)"},
		"a problem":                         {500, response("failure", "signature", ""), service.Temporary, service.Unavailable, "signature"},
		"maintenance":                       {503, `<html>`, service.Temporary, service.Unavailable, "<html>"},
		"a redirect":                        {302, ``, service.Temporary, service.Redirected, ""},
		"moved":                             {301, ``, service.Permanent, service.Redirected, ""},
		"a page":                            {200, `<!DOCTYPE html><p>Log in`, service.Temporary, service.AnswerInvalid, "<!DOCTYPE html><p>Log in"},
		"nothing":                           {200, ``, service.Temporary, service.AnswerInvalid, ""},
		"more than anybody answers":         {200, strings.Repeat(" ", MaxBytes+1), service.Temporary, service.AnswerInvalid, ""},
		"a code that nobody knows":          {200, response("fullsuccess", "", ""), service.Temporary, service.AnswerInvalid, ""},
		"a code that nobody knows with 500": {500, response("fullsuccess", "", ""), service.Temporary, service.Unavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(func(*http.Request) (*http.Response, error) { return answer(tt.status, tt.body), nil })
			for what, err := range map[string]error{
				"replace": c.Replace(t.Context(), serviceURL, sourcedID, dec(t, "0.85"), Data{}),
				"delete":  c.Delete(t.Context(), serviceURL, sourcedID),
			} {
				want := tt.reason
				if what == "delete" && want == service.ScoreRefused {
					want = service.RequestRefused
				}
				if service.ClassOf(err) != tt.class || service.ReasonOf(err) != want {
					t.Fatalf("%s: %v", what, err)
				}
				var e *service.Error
				if !errors.As(err, &e) {
					continue
				}
				if e.Reason != service.AnswerInvalid && e.Status != tt.status || strings.Contains(e.Error()+e.Remote, "s3cret") {
					t.Errorf("%s: %#v", what, e)
				}
				if e.Uncertain != (e.Reason == service.Unavailable || e.Reason == service.AnswerInvalid) {
					t.Errorf("%s: uncertain: %v", what, e.Uncertain)
				}
				if tt.remote != "" && e.Remote != tt.remote {
					t.Errorf("%s: remote %q", what, e.Remote)
				}
				if e.Class == service.Temporary && e.Reason != service.AnswerInvalid && e.RetryAfter != time.Minute {
					t.Errorf("%s: retry after %s", what, e.RetryAfter)
				}
			}
		})
	}
	t.Run("no answer", func(t *testing.T) {
		c := newClient(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })
		if err := c.Delete(t.Context(), serviceURL, "i"); service.ReasonOf(err) != service.Unreachable || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
	})
	t.Run("no random numbers", func(t *testing.T) {
		for n := range 2 {
			c := newClient(func(*http.Request) (*http.Response, error) { t.Error("sent"); return nil, nil })
			c.Random = strings.NewReader(strings.Repeat("x", 16*n+3))
			if err := c.Delete(t.Context(), serviceURL, "i"); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Error(err)
			}
		}
	})
}

func TestRead(t *testing.T) {
	read := func(text string) string {
		return response("success", "", `<readResultResponse><result><resultScore><textString>`+text+`</textString></resultScore></result></readResultResponse>`)
	}
	for name, tt := range map[string]struct {
		body   string
		want   *decimal.Decimal
		reason service.Reason
	}{
		"a score":          {read("0.85"), score(t, "0.85"), ""},
		"0":                {read("0"), score(t, "0"), ""},
		"none":             {read(""), nil, ""},
		"no result at all": {response("success", "", "<readResultResponse/>"), nil, ""},
		"not yet":          {response("processing", "", ""), nil, service.Unavailable},
		"failure":          {response("failure", "", ""), nil, service.RequestRefused},
		"no number":        {read("A"), nil, service.AnswerInvalid},
	} {
		c := newClient(func(*http.Request) (*http.Response, error) { return answer(200, tt.body), nil })
		got, err := c.Read(t.Context(), serviceURL, sourcedID)
		if service.ReasonOf(err) != tt.reason || cmp.Diff(tt.want, got, same()) != "" {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestNothingIsSentToWhatIsNoAddress(t *testing.T) {
	c := newClient(func(*http.Request) (*http.Response, error) { t.Error("sent"); return nil, nil })
	for _, u := range []string{"", "/s", "ftp://a/", "https://", "https://u:p@a/", "https://a/%zz", "https://a/?oauth_nonce=1", "https://a/?x=%zz"} {
		if err := c.Delete(t.Context(), u, "i"); service.ReasonOf(err) != service.RequestInvalid {
			t.Errorf("%q: %v", u, err)
		}
	}
	c.SignatureMethod = "PLAINTEXT"
	if err := c.Delete(t.Context(), serviceURL, "i"); service.ReasonOf(err) != service.RequestInvalid {
		t.Error(err)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		here := httptest.NewServer(http.RedirectHandler(other.URL, status))
		c := newClient(nil)
		c.Doer = egress.New(egress.Options{AllowedCIDRs: egress.LoopbackCIDRs()})
		if err := c.Replace(t.Context(), here.URL, "i", dec(t, "1"), Data{}); service.ReasonOf(err) != service.Redirected {
			t.Errorf("%d: %v", status, err)
		}
		here.Close()
	}
}

// verify checks a request as a platform does: the hash over the body as it
// arrived, and the signature over the header and the query of the URL.
func verify(t testing.TB, r *http.Request, method string) []byte {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	header, ok := strings.CutPrefix(r.Header.Get("Authorization"), `OAuth realm="",`)
	if !ok {
		t.Fatal(r.Header)
	}
	var params lti.Params
	for part := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(part, "=")
		value, err := url.PathUnescape(strings.Trim(value, `"`))
		if err != nil {
			t.Fatal(err)
		}
		params = append(params, lti.Param{Name: name, Value: value})
	}
	if method == oauth1.HMACSHA1 && params.Get("oauth_body_hash") != oauth1.BodyHash(body) {
		t.Errorf("body hash %q", params.Get("oauth_body_hash"))
	}
	secrets := func(_ context.Context, key string) ([]string, error) {
		if key != "moodle-key-11" {
			return nil, nil
		}
		return []string{"s3cret&with spécial"}, nil
	}
	address, query, _ := strings.Cut(r.URL.String(), "?")
	v, err := oauth1.Verify(t.Context(), oauth1.Request{Method: r.Method, URL: address, RawQuery: query, Body: params, Methods: []string{method}}, secrets, start())
	if err != nil || len(v.Nonce.Value) != 32 {
		t.Errorf("%+v, %v", v, err)
	}
	return body
}

func TestWhatIsSentIsSigned(t *testing.T) {
	for _, method := range []string{oauth1.HMACSHA1, oauth1.HMACSHA256} {
		nonces := map[string]bool{}
		c := newClient(func(r *http.Request) (*http.Response, error) {
			if r.Method != http.MethodPost || r.URL.String() != serviceURL || r.Header.Get("Content-Type") != "application/xml" {
				t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
			}
			if nonces[r.Header.Get("Authorization")] {
				t.Error("a nonce twice")
			}
			nonces[r.Header.Get("Authorization")] = true
			got, err := ParseRequest(verify(t, r, method))
			want := &Request{Operation: ReplaceResult, SourcedID: sourcedID, Score: score(t, "0.5"), Language: "en", Data: Data{URL: "https://a/"}}
			if err != nil || len(got.MessageID) != 32 {
				t.Fatal(got, err)
			}
			want.MessageID = got.MessageID
			if diff := cmp.Diff(want, got, same()); diff != "" {
				t.Error(diff)
			}
			return answer(200, response("success", "", "")), nil
		})
		c.SignatureMethod = method
		for range 2 {
			if err := c.Replace(t.Context(), serviceURL, sourcedID, dec(t, "0.5"), Data{URL: "https://a/"}); err != nil {
				t.Error(err)
			}
		}
	}
}

// A real Moodle gets what it was sent before, apart from how quotes are written,
// and is understood.
func TestARealMoodle(t *testing.T) {
	text, err := os.ReadFile("../testdata/moodle-lti12-outcomes.json")
	if err != nil {
		t.Fatal(err)
	}
	var steps []struct {
		Step    string
		Request struct {
			Method, URL, Body string
			Headers           map[string]string
		}
		Response struct {
			Status int
			Body   string
		}
	}
	if err := json.Unmarshal(text, &steps); err != nil || len(steps) != 2 {
		t.Fatal(len(steps), err)
	}
	for _, s := range steps {
		t.Run(s.Step, func(t *testing.T) {
			recorded, err := ParseRequest([]byte(s.Request.Body))
			if err != nil || string(recorded.Operation) != s.Step || !strings.HasPrefix(recorded.SourcedID, `{"data":{`) || !json.Valid([]byte(recorded.SourcedID)) {
				t.Fatalf("%+v, %v", recorded, err)
			}
			c := newClient(func(r *http.Request) (*http.Response, error) {
				if r.Method != s.Request.Method || r.URL.String() != s.Request.URL || r.Header.Get("Content-Type") != s.Request.Headers["content-type"] {
					t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
				}
				body := string(verify(t, r, oauth1.HMACSHA1))
				body = strings.ReplaceAll(strings.Replace(body, "?>\n", "?>", 1), "&#34;", `"`)
				if diff := cmp.Diff(s.Request.Body, body); diff != "" {
					t.Error(diff)
				}
				return answer(s.Response.Status, s.Response.Body), nil
			})
			r := *recorded
			r.Language = ""
			got, err := c.Send(t.Context(), s.Request.URL, r)
			if err != nil {
				t.Fatal(err)
			}
			want := &Response{CodeMajor: Success, Severity: "status", MessageRef: recorded.MessageID, Operation: recorded.Operation, MessageID: got.MessageID, Description: got.Description}
			if s.Step == "readResult" {
				want.Score = score(t, "0.85")
			}
			if diff := cmp.Diff(want, got, same()); diff != "" || got.Description == "" {
				t.Error(diff)
			}
		})
	}
}

// The platform's whole side, for what a tool of LTI 1.1 sends: the signature over
// the bytes, the message, and an answer that the tool's side reads.
func TestThePlatformAnswers(t *testing.T) {
	const key, shared, address = "key", "s3cret", "https://lti.acme.example/tools/quiz/outcomes"
	now := time.Unix(1_800_000_000, 0)
	known := func(context.Context, string) ([]string, error) { return []string{shared}, nil }
	message := func(operation, rest string) string {
		return record("<" + operation + "Request><resultRecord><sourcedGUID><sourcedId>id-1</sourcedId></sourcedGUID>" + rest + "</resultRecord></" + operation + "Request>")
	}
	var stored *decimal.Decimal
	half := score(t, "0.5")
	for _, step := range []struct {
		name, body string
		code       CodeMajor
		operation  Operation
		score      *decimal.Decimal
	}{
		{"read without a grade", message("readResult", ""), Success, ReadResult, nil},
		{"replace", message("replaceResult", `<result><resultScore><language>en</language><textString>0.50</textString></resultScore></result>`), Success, ReplaceResult, nil},
		{"read", message("readResult", ""), Success, ReadResult, half},
		{"replace by too much", message("replaceResult", `<result><resultScore><textString>1.01</textString></resultScore></result>`), Failure, ReplaceResult, nil},
		{"replace by nothing", message("replaceResult", ""), Failure, ReplaceResult, nil},
		{"read again", message("readResult", ""), Success, ReadResult, half},
		{"delete", message("deleteResult", ""), Success, DeleteResult, nil},
		{"read what is deleted", message("readResult", ""), Success, ReadResult, nil},
		{"something else", message("readMembership", ""), Unsupported, "readMembership", nil},
		{"nothing", "<a/>", Failure, "", nil},
	} {
		header, err := oauth1.SignBody(address, []byte(step.body), oauth1.Credentials{ConsumerKey: key, SharedSecret: shared}, "", now, step.name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := oauth1.VerifyBody(t.Context(), oauth1.BodyRequest{Method: http.MethodPost, URL: address, Authorization: header, Body: []byte(step.body)}, known, now); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		r, err := ParseRequest([]byte(step.body))
		var a Response
		switch {
		case err != nil:
			a = r.Refused("m", lti.CodeOf(err))
		case !r.Operation.Known():
			a = r.Refused("m", lti.OperationUnsupported)
		default:
			a = r.Answer("m", Success, "")
			switch r.Operation {
			case ReplaceResult:
				stored = r.Score
			case DeleteResult:
				stored = nil
			case ReadResult:
				a.Score = stored
			}
		}
		text, err := a.Encode()
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if step.operation == ReadResult && step.score == nil && !strings.Contains(string(text), "<textString></textString>") {
			t.Errorf("%s: %s", step.name, text)
		}
		back, err := ParseResponse(text)
		if err != nil || back.CodeMajor != step.code || back.Operation != step.operation || (back.Description == "") != (step.code == Success) {
			t.Errorf("%s: %+v, %v", step.name, back, err)
		}
		if err == nil && !cmp.Equal(back.Score, step.score, same()) {
			t.Errorf("%s: the grade is %v, want %v", step.name, back.Score, step.score)
		}
	}
}

func TestFraction(t *testing.T) {
	for _, tt := range []struct{ given, maximum, want string }{
		{"7.5", "10", "0.75"},
		{"0", "10", "0"},
		{"10", "10", "1"},
		{"11", "10", "1"},
		{"2", "3", "0.666666666666666"},
		{"69.9999999999999999999", "100", "0.699999999999999"},
		{"-1", "10", ""},
		{"1", "0", ""},
		{"1", "-1", ""},
	} {
		got, ok := Fraction(dec(t, tt.given), dec(t, tt.maximum))
		if ok != (tt.want != "") || ok && got.String() != tt.want {
			t.Errorf("%s of %s: %s, %v", tt.given, tt.maximum, got, ok)
		}
	}
}

// A fraction is never better than the points, never worse by its last place, and
// a score is not passed by rounding.
func TestFractionIsNotRoundedUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(name string) decimal.Decimal {
			d, err := decimal.Parse(rapid.StringMatching(`[0-9]{1,6}(\.[0-9]{1,20})?`).Draw(t, name))
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		given, maximum := draw("given"), draw("maximum")
		f, ok := Fraction(given, maximum)
		if ok != (maximum.Sign() > 0) || !ok {
			return
		}
		if f.Sign() < 0 || f.Cmp(decimal.FromInt(1)) > 0 || f.Mul(maximum).Cmp(given) > 0 {
			t.Fatalf("%s of %s is %s", given, maximum, f)
		}
		last, err := decimal.Parse("-1e-15")
		if err != nil {
			t.Fatal(err)
		}
		if f.Cmp(decimal.FromInt(1)) < 0 && f.Sub(last).Mul(maximum).Cmp(given) <= 0 {
			t.Fatalf("%s of %s is %s, which is too little", given, maximum, f)
		}
		if r := (Request{Operation: ReplaceResult, MessageID: "m", SourcedID: "i", Score: &f}); true {
			body, err := r.Encode()
			back, err2 := ParseRequest(body)
			if err != nil || err2 != nil || *back.Score != f {
				t.Fatalf("%s: %v, %v", body, err, err2)
			}
		}
	})
}

// Whatever is in a request, the platform reads it as it was.
func TestWhatIsSentIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := func(name string) string {
			s := strings.Map(func(r rune) rune {
				if !allowed(r) || r == 0xfffd {
					return 'x'
				}
				return r
			}, rapid.StringN(1, 30, -1).Draw(t, name))
			if s = strings.TrimSpace(s); s == "" {
				return "x"
			}
			return s
		}
		r := Request{Operation: rapid.SampledFrom([]Operation{ReplaceResult, ReadResult, DeleteResult}).Draw(t, "operation"), MessageID: text("id"), SourcedID: text("sourced id")}
		if r.Operation == ReplaceResult {
			d, err := decimal.Parse(rapid.StringMatching(`0\.[0-9]{1,30}`).Draw(t, "score"))
			if err != nil {
				t.Fatal(err)
			}
			r.Score, r.Language, r.Data = &d, "nl", Data{Text: text("text"), URL: text("url")}
		}
		body, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseRequest(body)
		if diff := cmp.Diff(&r, back, same()); diff != "" || err != nil {
			t.Fatalf("%v\n%s", err, diff)
		}
		a := r.Answer("m", Success, text("description"))
		if r.Operation == ReadResult {
			a.Score = &decimal.Decimal{}
		}
		body, err = a.Encode()
		if err != nil {
			t.Fatal(err)
		}
		response, err := ParseResponse(body)
		if diff := cmp.Diff(&a, response, same()); diff != "" || err != nil {
			t.Fatalf("%v\n%s", err, diff)
		}
	})
}

// Whatever a tool sends is refused with a code, or is a request that can be
// passed on; and where encoding/xml finds an ID, it finds this one.
func FuzzParseRequest(f *testing.F) {
	f.Add([]byte(replace(`<sourcedId>{"a":"&lt;"}</sourcedId>`, `<result><resultScore><language>en</language><textString>0.85</textString></resultScore><resultData><url>u</url></resultData></result>`)))
	f.Add([]byte(record(`<readResultRequest><resultRecord><sourcedGUID><sourcedId>a<!-- b -->c</sourcedId></sourcedGUID></resultRecord></readResultRequest>`)))
	f.Add([]byte(`<!DOCTYPE x [<!ENTITY e "e">]><x>&e;</x>`))
	f.Add([]byte(record(`<a:b xmlns:a="c"><![CDATA[d]]></a:b>`)))
	codes := []lti.Code{lti.RequestTooLarge, lti.RequestMalformed, lti.ParameterRepeated, lti.ParameterMissing, lti.ParameterInvalid}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := ParseRequest(body)
		if r != nil {
			a := r.Answer("m", Failure, "no")
			text, err := a.Encode()
			if err != nil {
				t.Fatalf("%+v cannot be answered: %v", r, err)
			}
			if back, err := ParseResponse(text); err != nil || back.MessageRef != r.MessageID {
				t.Fatalf("%s: %+v, %v", text, back, err)
			}
		}
		if err != nil {
			if !slices.Contains(codes, lti.CodeOf(err)) {
				t.Fatal(err)
			}
			return
		}
		if strings.Contains(string(body), "<!DOCTYPE") && !strings.Contains(string(body), "<![CDATA[") && !strings.Contains(string(body), "<!--") && !strings.Contains(string(body), "<?") {
			t.Fatal("a document type declaration")
		}
		if !r.Operation.Known() {
			return
		}
		if r.Score != nil && (r.Score.Sign() < 0 || r.Score.Cmp(decimal.FromInt(1)) > 0) {
			t.Fatal(r.Score)
		}
		var std struct {
			IDs []string `xml:"imsx_POXBody>replaceResultRequest>resultRecord>sourcedGUID>sourcedId"`
		}
		if xml.Unmarshal(service.Trim(body), &std) == nil && len(std.IDs) == 1 && strings.TrimSpace(std.IDs[0]) != r.SourcedID {
			t.Fatalf("%q, another program reads %q", r.SourcedID, std.IDs)
		}
		r.MessageID = "m"
		again, err := r.Encode()
		if err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		if r.Score != nil && r.Language == "" {
			r.Language = "en"
		}
		back, err := ParseRequest(again)
		if lti.CodeOf(err) == lti.RequestTooLarge {
			return // escapes are longer
		}
		if diff := cmp.Diff(r, back, same()); diff != "" || err != nil {
			t.Fatalf("%s: %v\n%s", again, err, diff)
		}
	})
}

// Whatever a platform answers is success, or an error with a class and a reason,
// and without our secret.
func FuzzAnswer(f *testing.F) {
	f.Add(200, []byte(response("success", "", `<readResultResponse><result><resultScore><textString>0.5</textString></resultScore></result></readResultResponse>`)))
	f.Add(200, []byte(response("failure", "Message signature not valid", "")))
	f.Add(401, []byte("s3cret&with spécial"))
	f.Add(200, []byte(`<!DOCTYPE html>`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		c := newClient(func(*http.Request) (*http.Response, error) { return answer(status, string(body)), nil })
		c.Random = strings.NewReader(strings.Repeat("x", 32)) // or no two runs are alike
		got, err := c.Read(t.Context(), serviceURL, sourcedID)
		if err == nil {
			if status < 200 || status > 299 || len(body) > MaxBytes {
				t.Fatalf("status %d with %d bytes", status, len(body))
			}
			return
		}
		var e *service.Error
		if !errors.As(err, &e) || got != nil || !slices.Contains(service.Reasons(), e.Reason) || e.Class != service.Temporary && e.Class != service.Permanent {
			t.Fatalf("%v, %#v", got, err)
		}
		if strings.Contains(fmt.Sprint(e.Error(), e.Remote), "s3cret&with spécial") {
			t.Fatalf("%#v", e)
		}
	})
}
