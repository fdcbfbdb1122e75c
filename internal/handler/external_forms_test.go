// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/lti/outcomes"
	"github.com/lti-operator/lti-operator/internal/lti/service"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// kim is another learner.
func kim() jwt.MapClaims { return learnerNamed("kim") }

// form is what the learner's browser posts to the other system when the activity is opened.
func (b *learnerBrowser) form(activity string) (action string, fields url.Values) {
	b.t.Helper()
	return b.begin(activity).posted()
}

// sourcedID is what Basic Outcomes calls the learner's result in the activity.
func (b *learnerBrowser) sourcedID(activity string) string {
	b.t.Helper()
	_, fields := b.form(activity)
	return fields.Get("lis_result_sourcedid")
}

// verifies checks a form as the other system does. A parameter of the launch URL counts there where it is, in the URL.
func (a *academy) verifies(action string, fields url.Values, secret string) error {
	a.t.Helper()
	u, err := url.Parse(action)
	if err != nil {
		a.t.Fatal(err)
	}
	var body lti.Params
	for name, values := range fields {
		for _, value := range values {
			body = append(body, lti.Param{Name: name, Value: value})
		}
	}
	verified, err := oauth1.Verify(context.Background(), oauth1.Request{Method: http.MethodPost, URL: action, RawQuery: u.RawQuery, Body: body},
		func(_ context.Context, key string) ([]string, error) {
			if key != partnerKey {
				return nil, nil
			}
			return []string{secret}, nil
		}, a.clock.now())
	if err == nil && verified.QueryInBody {
		a.t.Error("the form repeats the query of the launch URL")
	}
	return err
}

func TestALearnerOpensAnActivityByAForm(t *testing.T) {
	a := newExternalAcademy(t)
	a.republish(func(table *routing.Table) {
		x := activityIn(table, "partner")
		x.Title, x.Description = "Übung „Höhe“ <b> & 安全", "Two\nlines"
		x.External.ReturnURL = "https://academy.acme.example/catalogue?a=1&b=2"
		x.External.LTI12.Parameters = append(x.External.LTI12.Parameters,
			routing.Parameter{Name: "custom_given", Value: "as it stands"}, routing.Parameter{Name: "Course-ID ü", Value: "安全 + 1"},
			routing.Parameter{Name: "who", Value: "$User.id"}, routing.Parameter{Name: "link", Value: "$ResourceLink.title"},
			routing.Parameter{Name: "unknown", Value: "$No.such"}, routing.Parameter{Name: "price", Value: "$5 $User.id"})
	})
	b := a.learner(zoe())
	action, fields := b.form("partner")
	if action != "https://partner.example/launch?course=7&x=a%20b" {
		t.Errorf("posted to %s", action)
	}
	if err := a.verifies(action, fields, partnerSecret); err != nil {
		t.Errorf("the form does not verify: %v", err)
	}
	if err := a.verifies(action, fields, "another secret"); lti.CodeOf(err) != lti.SignatureInvalid {
		t.Errorf("the form verifies with any secret: %v", err)
	}
	user, outcome := fields.Get("user_id"), fields.Get("lis_result_sourcedid")
	for name, want := range map[string]string{
		"lti_message_type": "basic-lti-launch-request", "lti_version": "LTI-1p0", "resource_link_id": "link 7", "roles": "Learner",
		"resource_link_title": "Übung „Höhe“ <b> & 安全", "resource_link_description": "Two\r\nlines",
		"context_id": "partner", "context_label": "partner", "context_title": "Übung „Höhe“ <b> & 安全",
		"lis_person_name_full": "Zoë Smit", "lis_person_name_given": "Zoë", "lis_person_name_family": "Smit",
		"lis_person_contact_email_primary": "zoe@acme.example", "launch_presentation_locale": "nl-NL",
		"launch_presentation_document_target": "window", "launch_presentation_return_url": "https://academy.acme.example/catalogue?a=1&b=2",
		"tool_consumer_instance_guid": "lti.acme.example", "tool_consumer_instance_name": "Acme Academy", "tool_consumer_instance_url": academyURL,
		"tool_consumer_info_product_family_code": "lti-operator", "oauth_consumer_key": partnerKey, "oauth_signature_method": "HMAC-SHA1",
		"oauth_version": "1.0", "oauth_callback": "about:blank", "lis_outcome_service_url": academyURL + "/activities/partner/outcomes",
		"custom_level": "2 & ü", "custom_mail": "zoe@acme.example", "custom_full": "Zoë Smit", "custom_given": "as it stands",
		"custom_Course-ID ü": "安全 + 1", "custom_course_id__": "安全 + 1", "custom_who": user, "custom_link": "Übung „Höhe“ <b> & 安全",
		"custom_unknown": "$No.such", "custom_price": "$5 $User.id",
	} {
		if got := fields[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q instead of %q", name, got, want)
		}
	}
	for name, values := range fields {
		if len(values) != 1 || values[0] == "" {
			t.Errorf("%s is %q", name, values)
		}
		if name == "course" || name == "x" || strings.HasPrefix(name, "custom_custom_") {
			t.Errorf("there is a parameter %s", name)
		}
	}
	// What the other system calls somebody tells nothing about them.
	for _, id := range []string{user, outcome} {
		for _, told := range []string{"zoe@", "idp-1", "account", "Smit", "partner"} {
			if strings.Contains(strings.ToLower(id), strings.ToLower(told)) {
				t.Errorf("the ID %s tells %s", id, told)
			}
		}
		if len(id) < 22 {
			t.Errorf("the ID %s can be guessed", id)
		}
	}
	if got := a.statusOf("partner"); got != "Started" {
		t.Errorf("status %s", got)
	}

	_, again := b.form("partner")
	if again.Get("user_id") != user || again.Get("lis_result_sourcedid") != outcome {
		t.Error("opened again, the learner is somebody else")
	}
	if again.Get("oauth_nonce") == fields.Get("oauth_nonce") {
		t.Error("opened again, the nonce is the same")
	}
	_, exam := b.form("partner-exam")
	if exam.Get("user_id") != user {
		t.Error("the learner is somebody else in another activity")
	}
	if exam.Get("lis_result_sourcedid") == outcome {
		t.Error("two activities have one result")
	}
	if sub := b.launch("simulation")["sub"]; sub == user {
		t.Error("a tool of LTI 1.3 knows the learner by the same ID")
	}
	_, other := a.learner(kim()).form("partner")
	if other.Get("user_id") == user || other.Get("lis_result_sourcedid") == outcome {
		t.Error("two learners have one ID")
	}
}

func TestAFormInAFrame(t *testing.T) {
	a := newExternalAcademy(t)
	a.republish(func(table *routing.Table) {
		x := activityIn(table, "partner").External
		x.Presentation, x.ReturnURL = routing.PresentationEmbedded, "https://academy.acme.example/catalogue"
	})
	x := a.learner(zoe()).begin("partner")
	action, fields := x.posted()
	if err := a.verifies(action, fields, partnerSecret); err != nil || fields.Get("launch_presentation_document_target") != "iframe" {
		t.Errorf("%v, document target %q", err, fields.Get("launch_presentation_document_target"))
	}
	page := x.Body.String()
	if !strings.Contains(page, `<iframe id="tool" name="tool"`) || !strings.Contains(page, `target="tool"`) {
		t.Errorf("the form does not go to a frame: %s", page)
	}
	csp := x.Header().Get("Content-Security-Policy")
	if !strings.Contains(csp, "frame-src https:") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "form-action") {
		t.Errorf("Content-Security-Policy %q", csp)
	}
}

func TestAFormWithoutACredential(t *testing.T) {
	a := newExternalAcademy(t)
	b := a.learner(zoe())
	asked := b.do(http.MethodGet, "/activities/partner/start", nil).location().Query()
	undo := a.republish(func(table *routing.Table) { table.ExternalCredentials = nil })
	a.idp.claims, a.idp.nonce = b.who, asked.Get("nonce")
	back := routing.PathLearnerCallback + "?" + url.Values{"code": {"c"}, "state": {asked.Get("state")}, "iss": {a.idp.URL}}.Encode()
	a.refused(b.do(http.MethodGet, back, nil), lti.NotRegistered)
	x := b.do(http.MethodGet, "/activities/partner/start", nil)
	a.refused(x, lti.NotRegistered)
	a.advises(x, "en", lti.NotRegistered)
	undo()
	b.form("partner")
}

func TestTheSecretForAnActivityIsReplaced(t *testing.T) {
	a := newExternalAcademy(t)
	b := a.learner(zoe())
	const replacement = "canary-secret-that-replaces-it"
	uses := func(secrets ...string) {
		t.Helper()
		a.republish(func(table *routing.Table) { table.ExternalCredentials[0].Secrets = secrets })
		action, fields := b.form("partner")
		if err := a.verifies(action, fields, secrets[0]); err != nil {
			t.Errorf("not signed with the first of %d secrets: %v", len(secrets), err)
		}
	}
	accepted := func(secret string, want service.Reason) {
		t.Helper()
		c := a.partner()
		c.secret = secret
		if err := c.client().Replace(t.Context(), c.address("partner"), b.sourcedID("partner"), decimal.FromInt(1), outcomes.Data{}); service.ReasonOf(err) != want {
			t.Errorf("%v instead of reason %q", err, want)
		}
	}
	accepted(replacement, service.SignatureRefused)
	uses(replacement, partnerSecret)
	accepted(replacement, "")
	accepted(partnerSecret, "")
	uses(replacement)
	accepted(replacement, "")
	accepted(partnerSecret, service.SignatureRefused)
}

// partnerClient is the system that the form activities are of, and reports results.
type partnerClient struct {
	*academy
	public      http.Handler
	key, secret string
}

func (a *academy) partner() *partnerClient {
	return &partnerClient{academy: a, public: a.public, key: partnerKey, secret: partnerSecret}
}

func (c *partnerClient) address(activity string) string {
	return academyURL + "/activities/" + activity + "/outcomes"
}

// client is our own client, for what it does. It sends to the handler.
func (c *partnerClient) client() *outcomes.Client {
	return &outcomes.Client{
		Doer: c, Credentials: oauth1.Credentials{ConsumerKey: c.key, SharedSecret: c.secret}, Now: c.clock.now, Random: rand.Reader,
	}
}

// Do implements service.Doer.
func (c *partnerClient) Do(sent *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(sent.Body)
	if err != nil {
		return nil, err
	}
	r := httptest.NewRequest(sent.Method, sent.URL.String(), strings.NewReader(string(body)))
	r.Header = sent.Header
	return c.serve(c.public, r, "").Result(), nil
}

// outcomeRequest is a message of Basic Outcomes, made by hand.
type outcomeRequest struct {
	activity, body string
	// base is where it is sent to and signed for, unless signed says otherwise.
	base, signed string
	// key, secret, method, nonce and at sign it.
	key, secret, method, nonce string
	at                         time.Time
	// sent is the body that arrives; empty for body.
	sent   string
	header http.Header
}

// request is a message that is as it should be.
func (c *partnerClient) request(activity, body string) outcomeRequest {
	return outcomeRequest{
		activity: activity, body: body, base: academyURL, key: c.key, secret: c.secret, method: oauth1.HMACSHA1,
		nonce: fmt.Sprintf("nonce-%d", formNonces.Add(1)), at: c.clock.now(), header: http.Header{"Content-Type": {"application/xml"}},
	}
}

func (c *partnerClient) send(q outcomeRequest) answer {
	c.t.Helper()
	address := "/activities/" + q.activity + "/outcomes"
	if q.signed == "" {
		q.signed = q.base + address
	}
	authorization, err := oauth1.SignBody(q.signed, []byte(q.body), oauth1.Credentials{ConsumerKey: q.key, SharedSecret: q.secret}, q.method, q.at, q.nonce)
	if err != nil {
		c.t.Fatal(err)
	}
	if q.sent == "" {
		q.sent = q.body
	}
	r := httptest.NewRequest(http.MethodPost, q.base+address, strings.NewReader(q.sent))
	r.Header = q.header.Clone()
	r.Header.Add("Authorization", authorization)
	return c.serve(c.public, r, "")
}

// pox is a message of Basic Outcomes as LTI 1.1 section 6.1 shows it. An empty score is an empty text; "-" is none.
func pox(operation, sourcedID, score string) string {
	result := ""
	if score != "-" {
		result = "<result><resultScore><language>en</language><textString>" + score + "</textString></resultScore></result>"
	}
	var escaped strings.Builder
	if err := xml.EscapeText(&escaped, []byte(sourcedID)); err != nil {
		panic(err)
	}
	return `<?xml version = "1.0" encoding = "UTF-8"?>
<imsx_POXEnvelopeRequest xmlns = "http://www.imsglobal.org/services/ltiv1p1/xsd/imsoms_v1p0">
  <imsx_POXHeader><imsx_POXRequestHeaderInfo>
    <imsx_version>V1.0</imsx_version><imsx_messageIdentifier>999999123</imsx_messageIdentifier>
  </imsx_POXRequestHeaderInfo></imsx_POXHeader>
  <imsx_POXBody><` + operation + `Request><resultRecord>
    <sourcedGUID><sourcedId>` + escaped.String() + `</sourcedId></sourcedGUID>` + result + `
  </resultRecord></` + operation + `Request></imsx_POXBody>
</imsx_POXEnvelopeRequest>`
}

// envelope is an answer of Basic Outcomes as LTI 1.1 section 6.1 shows it.
type envelope struct {
	XMLName xml.Name `xml:"http://www.imsglobal.org/services/ltiv1p1/xsd/imsoms_v1p0 imsx_POXEnvelopeResponse"`
	Header  struct {
		Version     string `xml:"imsx_version"`
		ID          string `xml:"imsx_messageIdentifier"`
		Code        string `xml:"imsx_statusInfo>imsx_codeMajor"`
		Severity    string `xml:"imsx_statusInfo>imsx_severity"`
		Description string `xml:"imsx_statusInfo>imsx_description"`
		Ref         string `xml:"imsx_statusInfo>imsx_messageRefIdentifier"`
		Operation   string `xml:"imsx_statusInfo>imsx_operationRefIdentifier"`
	} `xml:"imsx_POXHeader>imsx_POXResponseHeaderInfo"`
	Replaced *struct{} `xml:"imsx_POXBody>replaceResultResponse"`
	Deleted  *struct{} `xml:"imsx_POXBody>deleteResultResponse"`
	Read     *struct {
		Score string `xml:"result>resultScore>textString"`
	} `xml:"imsx_POXBody>readResultResponse"`
}

func (x answer) envelope() envelope {
	x.t.Helper()
	var e envelope
	if err := xml.Unmarshal(x.Body.Bytes(), &e); err != nil || x.Header().Get("Content-Type") != "application/xml" {
		x.t.Fatalf("%v: %d %s", err, x.Code, x.Body)
	}
	if e.Header.Version != "V1.0" || e.Header.ID == "" || x.Header().Get("Cache-Control") != "no-store" {
		x.t.Errorf("header %+v, Cache-Control %q", e.Header, x.Header().Get("Cache-Control"))
	}
	return e
}

// succeeded checks that a message was taken.
func (x answer) succeeded(operation string) envelope {
	x.t.Helper()
	e := x.envelope()
	if x.Code != http.StatusOK || e.Header.Code != "success" || e.Header.Severity != "status" || e.Header.Ref != "999999123" || e.Header.Operation != operation {
		x.t.Fatalf("%d %s", x.Code, x.Body)
	}
	if (e.Replaced != nil) != (operation == "replaceResult") || (e.Deleted != nil) != (operation == "deleteResult") || (e.Read != nil) != (operation == "readResult") {
		x.t.Errorf("the body does not answer %s: %s", operation, x.Body)
	}
	return e
}

// refusedOutcome checks the envelope, the log line and the metric of a message that is refused.
func (a *academy) refusedOutcome(x answer, status int, code lti.Code) {
	a.t.Helper()
	e := x.envelope()
	major, severity := "failure", "error"
	if code == lti.OperationUnsupported {
		major, severity = "unsupported", "status"
	}
	if x.Code != status || e.Header.Code != major || e.Header.Severity != severity || e.Header.Description != code.Reason().Summary || e.Read != nil && e.Read.Score != "" {
		a.t.Errorf("not %s with status %d: %d %s", code, status, x.Code, x.Body)
	}
	var last struct{ Msg, Reason, Reference string }
	for line := range strings.Lines(a.log.String()) {
		var entry struct{ Msg, Reason, Reference string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "refused" {
			last = entry
		}
	}
	if last.Reason != string(code) {
		a.t.Fatalf("refused with %s instead of %s", last.Reason, code)
	}
	a.logged(code, last.Reference)
}

// resultOf is how a learner stands in an activity, with the history.
func (a *academy) resultOf(activity, subject string) (r result) {
	a.t.Helper()
	found := a.results(url.Values{"activity": {activity}, "sub": {subject}})
	if len(found) != 1 {
		a.t.Fatalf("%d results of %s in %s", len(found), subject, activity)
	}
	x := a.asAcademy("/results/" + found[0].ID)
	if err := json.Unmarshal(x.Body.Bytes(), &r); err != nil || x.Code != http.StatusOK || r.ID != found[0].ID {
		a.t.Fatalf("%d %s", x.Code, x.Body)
	}
	return r
}

func TestBasicOutcomesWithAClient(t *testing.T) {
	a := newExternalAcademy(t)
	id := a.learner(zoe()).sourcedID("partner-exam")
	c := a.partner()
	client, address := c.client(), c.address("partner-exam")
	stands := func(status, score string) {
		t.Helper()
		got, err := client.Read(t.Context(), address, id)
		if err != nil || (got == nil) != (score == "") || got != nil && got.String() != score {
			t.Errorf("read %v, %v instead of %q", got, err, score)
		}
		if got := a.statusOf("partner-exam"); got != status {
			t.Errorf("status %s instead of %s", got, status)
		}
	}
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	number := func(text string) decimal.Decimal {
		d, err := decimal.Parse(text)
		ok(err)
		return d
	}
	stands("Started", "")
	ok(client.Delete(t.Context(), address, id))
	stands("Started", "")
	ok(client.Replace(t.Context(), address, id, number("0.69999999999999999999"), outcomes.Data{}))
	stands("Failed", "0.699999999999999") // cut off, never better than it is
	ok(client.Replace(t.Context(), address, id, number("0.92"), outcomes.Data{}))
	stands("Passed", "0.92")
	ok(client.Replace(t.Context(), address, id, number("0"), outcomes.Data{}))
	stands("Failed", "0")
	ok(client.Delete(t.Context(), address, id))
	stands("Withdrawn", "")
	ok(client.Delete(t.Context(), address, id))
	stands("Withdrawn", "")
	if got := len(a.resultOf("partner-exam", "account-of-zoe").History); got != 4 {
		t.Errorf("%d messages in the history", got)
	}
	if _, err := client.Read(t.Context(), address, "nothing"); service.ClassOf(err) != service.Permanent {
		t.Errorf("%v for a result that there is not", err)
	}
}

func TestBasicOutcomesByHand(t *testing.T) {
	a := newExternalAcademy(t)
	id := a.learner(zoe()).sourcedID("partner")
	c := a.partner()
	send := func(operation, score string) answer {
		t.Helper()
		return c.send(c.request("partner", pox(operation, id, score)))
	}
	if e := send("readResult", "-").succeeded("readResult"); e.Read.Score != "" {
		t.Errorf("read %q before anything", e.Read.Score)
	}
	send("replaceResult", " 0.5\n").succeeded("replaceResult")
	if e := send("readResult", "-").succeeded("readResult"); e.Read.Score != "0.5" {
		t.Errorf("read %q", e.Read.Score)
	}
	send("deleteResult", "-").succeeded("deleteResult")
	if e := send("readResult", "-").succeeded("readResult"); e.Read.Score != "" {
		t.Errorf("read %q after it was deleted", e.Read.Score)
	}
}

func TestBasicOutcomesAreRefused(t *testing.T) {
	a := newExternalAcademy(t)
	a.table.ExternalCredentials[1] = routing.ExternalCredential{Activity: "partner-exam", ConsumerKey: "exam-key", Secrets: []string{"canary-secret-of-the-exam"}}
	second := *activityIn(a.table, "partner")
	second.Name = "partner-2"
	a.table.Activities = append(a.table.Activities, second)
	a.table.ExternalCredentials = append(a.table.ExternalCredentials, routing.ExternalCredential{
		Activity: "partner-2", ConsumerKey: partnerKey, Secrets: []string{partnerSecret},
	})
	a.publish()
	b := a.learner(zoe())
	id, foreign := b.sourcedID("partner"), b.sourcedID("partner-2")
	b.launch("simulation")
	c := a.partner()
	replace := pox("replaceResult", id, "0.5")
	c.send(c.request("partner", replace)).succeeded("replaceResult")

	body := func(operation, sourcedID, score string) func(*outcomeRequest) {
		return func(q *outcomeRequest) { q.body = pox(operation, sourcedID, score) }
	}
	scored := func(score string) func(*outcomeRequest) { return body("replaceResult", id, score) }
	for name, tt := range map[string]struct {
		change func(*outcomeRequest)
		status int // 0 for that of the code
		code   lti.Code
	}{
		"another body":     {func(q *outcomeRequest) { q.sent = pox("replaceResult", id, "1") }, 0, lti.SignatureInvalid},
		"a wrong secret":   {func(q *outcomeRequest) { q.secret = "a guess" }, 0, lti.SignatureInvalid},
		"another address":  {func(q *outcomeRequest) { q.signed = academyURL + "/activities/partner-2/outcomes" }, 0, lti.SignatureInvalid},
		"another host":     {func(q *outcomeRequest) { q.signed = "https://evil.example/activities/partner/outcomes" }, 0, lti.SignatureInvalid},
		"an unknown key":   {func(q *outcomeRequest) { q.key = "nobody" }, 0, lti.ConsumerKeyUnknown},
		"key of another":   {func(q *outcomeRequest) { q.key, q.secret = "exam-key", "canary-secret-of-the-exam" }, 0, lti.ConsumerKeyUnknown},
		"key for launches": {func(q *outcomeRequest) { q.key, q.secret = "height-key", a.table.Credentials[0].Secrets[0] }, 0, lti.ConsumerKeyUnknown},
		"SHA-256":          {func(q *outcomeRequest) { q.method = oauth1.HMACSHA256 }, 0, lti.SignatureMethodUnsupported},
		"six minutes old":  {func(q *outcomeRequest) { q.at = q.at.Add(-6 * time.Minute) }, 0, lti.TimestampOutOfRange},
		"six minutes on":   {func(q *outcomeRequest) { q.at = q.at.Add(6 * time.Minute) }, 0, lti.TimestampOutOfRange},
		"two signatures":   {func(q *outcomeRequest) { q.header.Set("Authorization", "Basic eDp5") }, 0, lti.ParameterRepeated},
		"a form": {func(q *outcomeRequest) {
			q.header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
		}, 0, lti.RequestMalformed},
		"too large":         {func(q *outcomeRequest) { q.body += strings.Repeat(" ", 64<<10) }, 0, lti.RequestTooLarge},
		"unknown activity":  {func(q *outcomeRequest) { q.activity = "nothing" }, 0, lti.ActivityUnknown},
		"activity of ours":  {func(q *outcomeRequest) { q.activity = "height" }, 0, lti.NotExternal},
		"activity of a lab": {func(q *outcomeRequest) { q.activity = "simulation" }, 0, lti.NotExternal},

		"not XML":          {func(q *outcomeRequest) { q.body = `{"score":1}` }, http.StatusOK, lti.RequestMalformed},
		"nothing":          {func(q *outcomeRequest) { q.body = "" }, http.StatusOK, lti.RequestMalformed},
		"another document": {func(q *outcomeRequest) { q.body = "<html/>" }, http.StatusOK, lti.RequestMalformed},
		"a document type":  {func(q *outcomeRequest) { q.body = docType(id) }, http.StatusOK, lti.RequestMalformed},
		"one that is of no use": {func(q *outcomeRequest) {
			q.body = strings.Replace(q.body, "\n", "<!DOCTYPE imsx_POXEnvelopeRequest>\n", 1)
		}, http.StatusOK, lti.RequestMalformed},
		"more than all":             {scored("1.1"), http.StatusOK, lti.ParameterInvalid},
		"a little more":             {scored("1.00000000000000000001"), http.StatusOK, lti.ParameterInvalid},
		"less than nothing":         {scored("-0.1"), http.StatusOK, lti.ParameterInvalid},
		"words":                     {scored("abc"), http.StatusOK, lti.ParameterInvalid},
		"not a number":              {scored("NaN"), http.StatusOK, lti.ParameterInvalid},
		"a comma":                   {scored("0,5"), http.StatusOK, lti.ParameterInvalid},
		"an empty score":            {scored(""), http.StatusOK, lti.ParameterInvalid},
		"no score":                  {scored("-"), http.StatusOK, lti.ParameterMissing},
		"no result":                 {body("replaceResult", "", "0.4"), http.StatusOK, lti.ParameterMissing},
		"unknown result":            {body("replaceResult", "nothing", "0.4"), http.StatusOK, lti.OutcomeUnknown},
		"result with a long ID":     {body("replaceResult", strings.Repeat("x", 5000), "0.4"), http.StatusOK, lti.OutcomeUnknown},
		"of another activity":       {body("replaceResult", foreign, "0.4"), http.StatusOK, lti.OutcomeUnknown},
		"delete another activity's": {body("deleteResult", foreign, "-"), http.StatusOK, lti.OutcomeUnknown},
		"read another activity's":   {body("readResult", foreign, "-"), http.StatusOK, lti.OutcomeUnknown},
		"result of LTI 1.3":         {body("replaceResult", a.resultOf("simulation", "account-of-zoe").ID, "0.4"), http.StatusOK, lti.OutcomeUnknown},
		"unknown operation":         {body("replaceEverything", id, "0.4"), http.StatusOK, lti.OperationUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			defer func(outer *testing.T) { a.t = outer }(a.t)
			a.t = t
			q := c.request("partner", replace)
			good := q
			good.header = q.header.Clone()
			tt.change(&q)
			status := tt.status
			if status == 0 {
				status = tt.code.Reason().Status
			}
			a.refusedOutcome(c.send(q), status, tt.code)
			// Nothing is spent by what is refused.
			c.send(good).succeeded("replaceResult")
		})
	}
	for _, activity := range []string{"partner", "partner-2", "simulation"} {
		want := map[string]string{"partner": "Completed 1", "partner-2": "Started 0", "simulation": "Started 0"}[activity]
		if r := a.resultOf(activity, "account-of-zoe"); fmt.Sprint(r.Status, " ", len(r.History)) != want {
			t.Errorf("%s is %s, with %d messages", activity, r.Status, len(r.History))
		}
	}
}

// docType is a message with a document type that would read a file of ours.
func docType(sourcedID string) string {
	declaration, message, _ := strings.Cut(pox("replaceResult", sourcedID, "&file;"), "\n")
	return declaration + `<!DOCTYPE x [<!ENTITY file SYSTEM "file:///etc/passwd">]>` + message
}

func TestBasicOutcomesWithoutASignature(t *testing.T) {
	a := newExternalAcademy(t)
	body := pox("replaceResult", a.learner(zoe()).sourcedID("partner"), "1")
	for _, header := range []http.Header{{}, {"Authorization": {"Bearer x"}}, {"Authorization": {`OAuth realm="x"`}}} {
		r := httptest.NewRequest(http.MethodPost, academyURL+"/activities/partner/outcomes", strings.NewReader(body))
		r.Header = header
		a.refusedOutcome(a.serve(a.public, r, ""), http.StatusBadRequest, lti.ParameterMissing)
	}
	if got := a.statusOf("partner"); got != "Started" {
		t.Errorf("status %s", got)
	}
}

func TestBasicOutcomesOfADeactivatedAcademy(t *testing.T) {
	a := newExternalAcademy(t)
	id := a.learner(zoe()).sourcedID("partner")
	c := a.partner()
	q := c.request("partner", pox("replaceResult", id, "1"))
	undo := a.republish(func(table *routing.Table) { table.Academy.Active = false })
	a.refusedOutcome(c.send(q), lti.AcademyDeactivated.Reason().Status, lti.AcademyDeactivated)
	undo()
	c.send(q).succeeded("replaceResult")
}

func TestBasicOutcomesOfAnActivityWithoutACredential(t *testing.T) {
	a := newExternalAcademy(t)
	id := a.learner(zoe()).sourcedID("partner")
	c := a.partner()
	undo := a.republish(func(table *routing.Table) { table.ExternalCredentials = nil })
	q := c.request("partner", pox("replaceResult", id, "1"))
	a.refusedOutcome(c.send(q), lti.ConsumerKeyUnknown.Reason().Status, lti.ConsumerKeyUnknown)
	undo()
	c.send(q).succeeded("replaceResult")
}

func TestBasicOutcomesWhileTheStoreIsDown(t *testing.T) {
	a := newExternalAcademy(t)
	id := a.learner(zoe()).sourcedID("partner")
	c := a.partner()
	q := c.request("partner", pox("replaceResult", id, "0.25"))
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	a.refusedOutcome(c.send(q), http.StatusServiceUnavailable, lti.StoreUnavailable)
	if err := c.client().Replace(t.Context(), c.address("partner"), id, decimal.FromInt(1), outcomes.Data{}); service.ClassOf(err) != service.Temporary {
		t.Errorf("the tool takes it for final: %v", err)
	}
	a.public = a.startAnother(a.openStore())
	c.public = a.public
	c.send(q).succeeded("replaceResult")
	if r := a.resultOf("partner", "account-of-zoe"); r.Score == nil || r.Score.Given != "0.25" {
		t.Errorf("%+v", r)
	}
}

func TestAMessageOfBasicOutcomesCountsOnce(t *testing.T) {
	a := newExternalAcademy(t)
	id := a.learner(zoe()).sourcedID("partner-exam")
	first := a.partner()
	second := a.partner()
	second.public = a.startAnother(a.openStore())
	passed := first.request("partner-exam", pox("replaceResult", id, "0.9"))
	first.send(passed).succeeded("replaceResult")
	first.send(first.request("partner-exam", pox("replaceResult", id, "0.1"))).succeeded("replaceResult")
	for _, c := range []*partnerClient{first, second} {
		a.refusedOutcome(c.send(passed), http.StatusOK, lti.Replayed)
	}
	for _, operation := range []string{"readResult", "deleteResult"} {
		q := first.request("partner-exam", pox(operation, id, "-"))
		first.send(q).succeeded(operation)
		a.refusedOutcome(second.send(q), http.StatusOK, lti.Replayed)
	}
	if got := a.statusOf("partner-exam"); got != "Withdrawn" {
		t.Errorf("status %s", got)
	}

	// At once, at two handlers.
	q := first.request("partner-exam", pox("replaceResult", id, "1"))
	const times = 20
	said := make(chan string, times)
	for i := range times {
		go func() { said <- []*partnerClient{first, second}[i%2].send(q).envelope().Header.Description }()
	}
	got := map[string]int{}
	for range times {
		got[<-said]++
	}
	if replayed := lti.Replayed.Reason().Summary; got["ok"] != 1 || got[replayed] != times-1 {
		t.Errorf("answers %v", got)
	}
	if got := len(a.resultOf("partner-exam", "account-of-zoe").History); got != 4 {
		t.Errorf("%d messages in the history", got)
	}
}

func TestBasicOutcomesAtAnAlias(t *testing.T) {
	a := newExternalAcademy(t)
	a.republish(func(table *routing.Table) { table.Academy.Aliases = []string{aliasURL} })
	id := a.learner(zoe()).sourcedID("partner")
	c := a.partner()
	q := c.request("partner", pox("replaceResult", id, "1"))
	q.base = aliasURL
	c.send(q).succeeded("replaceResult")
	q = c.request("partner", pox("replaceResult", id, "1"))
	q.base, q.signed = aliasURL, c.address("partner")
	a.refusedOutcome(c.send(q), lti.SignatureInvalid.Reason().Status, lti.SignatureInvalid)
}

// formOutcomeRefusals are those that only Basic Outcomes know.
func formOutcomeRefusals() []refusal {
	send := func(operation, sourcedID string) func(*browser) answer {
		return func(b *browser) answer {
			c := b.partner()
			return c.send(c.request("partner", pox(operation, sourcedID, "1")))
		}
	}
	external := func(do func(*browser) answer) func(*browser) answer {
		return func(b *browser) answer { b.republish(b.externalTable); return do(b) }
	}
	return []refusal{
		{name: "result of nobody", code: lti.OutcomeUnknown, outcome: true, do: external(send("replaceResult", "nothing"))},
		{name: "another operation", code: lti.OperationUnsupported, outcome: true, do: external(send("replaceEverything", "nothing"))},
	}
}
