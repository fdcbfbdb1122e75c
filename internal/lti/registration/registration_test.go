package registration

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/lti"
)

var update = flag.Bool("update", false, "write the golden files")

// recorded is a registration that a real Moodle took part in as the platform.
func recorded(t testing.TB) (initiation lti.Params, configuration, request, answer []byte) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "moodle.json"))
	if err != nil {
		t.Fatal(err)
	}
	var recording struct {
		Start struct{ URL string }
		Log   []struct {
			Step     string
			Request  struct{ Body string }
			Response struct{ Body string }
		}
	}
	if err := json.Unmarshal(text, &recording); err != nil || len(recording.Log) != 2 {
		t.Fatal(err)
	}
	u, err := url.Parse(recording.Start.URL)
	if err != nil {
		t.Fatal(err)
	}
	if initiation, err = lti.ParseForm(u.RawQuery); err != nil {
		t.Fatal(err)
	}
	return initiation, []byte(recording.Log[0].Response.Body), []byte(recording.Log[1].Request.Body), []byte(recording.Log[1].Response.Body)
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	var indented bytes.Buffer
	if err := json.Indent(&indented, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	file := filepath.Join("testdata", name+".golden.json")
	if *update {
		if err := os.WriteFile(file, indented.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), indented.String()); diff != "" {
		t.Errorf("%s (-want +got); run with -update when intended:\n%s", name, diff)
	}
}

func us() Tool {
	return Tool{
		Name: "Acme Academy", Description: "Acme Academy", Domain: "lti.acme.example",
		LoginInitiationURL: "https://lti.acme.example/platforms/moodle/login", LaunchURL: "https://lti.acme.example/platforms/moodle/launch",
		JWKSURL:      "https://lti.acme.example/platforms/moodle/jwks.json",
		RedirectURIs: []string{"https://lti.acme.example/platforms/moodle/launch", "https://lti.brand.example/platforms/moodle/launch"},
	}
}

func TestGoldenMoodleAsPlatform(t *testing.T) {
	params, configuration, _, answer := recorded(t)
	i, err := ParseInitiation(params)
	if err != nil {
		t.Fatal(err)
	}
	if i.ConfigurationURL != "http://localhost:9100/mod/lti/openid-configuration.php" || i.Host != "localhost:9100" || !strings.HasPrefix(i.Token, "eyJ0") {
		t.Errorf("%q %q %q", i.ConfigurationURL, i.Host, i.Token)
	}
	c, err := ParseConfiguration(configuration, i.ConfigurationURL)
	if err != nil {
		t.Fatal(err)
	}
	want := Configuration{
		Issuer: "http://localhost:9100", AuthenticationURL: "http://localhost:9100/mod/lti/auth.php", JWKSURL: "http://localhost:9100/mod/lti/certs.php",
		AccessTokenURL: "http://localhost:9100/mod/lti/token.php", RegistrationURL: "http://localhost:9100/mod/lti/openid-registration.php",
		Product: "moodle", Version: "4.5.6 (Build: 20250811)",
		scopes: c.scopes, scopesListed: true, messages: c.messages, messagesListed: true,
	}
	if diff := cmp.Diff(want, *c, cmp.AllowUnexported(Configuration{})); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	request, err := NewRequest(c, us())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "request", request)
	a, err := ParseAnswer(200, answer)
	if err != nil || *a != (Answer{ClientID: "7Gy6YkXErSmoGJh", DeploymentID: "3"}) {
		t.Errorf("%+v: %v", a, err)
	}
}

// A platform of ours gives a tool what Moodle gave it, except for what we do not have.
func TestGoldenATool(t *testing.T) {
	_, _, request, _ := recorded(t)
	m, err := ParseMetadata(request)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := json.Marshal(m.Answer(Granted{ClientID: "lab", DeploymentID: "lab", Scopes: scopes(), Messages: []string{lti.MessageResourceLink}}))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "answer", answer)
	if diff := cmp.Diff([]Parameter{{"who", "$User.username"}}, m.Parameters); diff != "" {
		t.Error(diff)
	}
	// What we make of ourselves is what we would take.
	own, err := NewRequest(&Configuration{}, us())
	if err != nil {
		t.Fatal(err)
	}
	m, err = ParseMetadata(own)
	if err != nil || m.DeepLinkingURL != us().LaunchURL || len(m.Messages) != 2 || len(m.Scopes) != 5 || m.Name != "Acme Academy" {
		t.Errorf("%+v: %v", m, err)
	}
}

// doc is a document with members added, replaced or, where nil, taken away.
func doc(t testing.TB, base string, change map[string]any) []byte {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(base), &o); err != nil {
		t.Fatal(err)
	}
	for name, value := range change {
		in := o
		if rest, ok := strings.CutPrefix(name, "lti."); ok {
			name = rest
			for _, member := range []string{platformConfiguration, toolConfiguration} {
				if m, ok := o[member].(map[string]any); ok {
					in = m
				}
			}
		}
		if value == nil {
			delete(in, name)
			continue
		}
		in[name] = value
	}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

const (
	configURL = "https://lms.example/.well-known/openid-configuration?tenant=7"
	config    = `{"issuer": "https://lms.example", "authorization_endpoint": "https://sso.lms.example/auth?x=1", "token_endpoint": "https://lms.example/token",
		"jwks_uri": "https://lms.example/jwks", "registration_endpoint": "https://lms.example/register",
		"https://purl.imsglobal.org/spec/lti-platform-configuration": {"product_family_code": "lms"}}`
	asks = `{"initiate_login_uri": "https://tool.example/login?id=1", "redirect_uris": ["https://tool.example/launch", "https://tool.example/launch/2"],
		"jwks_uri": "https://tool.example/jwks", "client_name": "Lab", "token_endpoint_auth_method": "private_key_jwt", "response_types": ["id_token"],
		"https://purl.imsglobal.org/spec/lti-tool-configuration": {"target_link_uri": "https://tool.example/launch"}}`
)

func TestInitiation(t *testing.T) {
	long := strings.Repeat("x", 8193)
	for name, c := range map[string]struct {
		query string
		host  string // empty for a refusal
	}{
		"both":                      {"openid_configuration=https%3A%2F%2Flms.example%2Fc%3Ft%3D1&registration_token=a.b-c_d", "lms.example"},
		"no token (Brightspace)":    {"openid_configuration=https://lms.example/c", "lms.example"},
		"empty token":               {"openid_configuration=https://lms.example/c&registration_token=", "lms.example"},
		"our own token and more":    {"token=x&a=b&openid_configuration=https://lms.example:8443/c", "lms.example:8443"},
		"loopback":                  {"openid_configuration=http://lms.localhost:9100/c", "lms.localhost:9100"},
		"loopback of version 6":     {"openid_configuration=http://[::1]:9100/c", "[::1]:9100"},
		"nothing":                   {"", ""},
		"no configuration":          {"registration_token=x", ""},
		"two configurations":        {"openid_configuration=https://lms.example/c&openid_configuration=https://evil.example/c", ""},
		"two tokens":                {"openid_configuration=https://lms.example/c&registration_token=a&registration_token=b", ""},
		"http":                      {"openid_configuration=http://lms.example/c", ""},
		"fragment":                  {"openid_configuration=https://lms.example/c%23x", ""},
		"empty fragment":            {"openid_configuration=https://lms.example/c%23", ""},
		"user name":                 {"openid_configuration=https://lms.example@evil.example/c", ""},
		"no host":                   {"openid_configuration=https:///c", ""},
		"path":                      {"openid_configuration=/c", ""},
		"script":                    {"openid_configuration=javascript:alert(1)", ""},
		"file":                      {"openid_configuration=file:///etc/passwd", ""},
		"opaque":                    {"openid_configuration=https:lms.example", ""},
		"backslash":                 {`openid_configuration=https:\\lms.example/c`, ""},
		"two lines":                 {"openid_configuration=https://lms.example/%0d%0aX:1", ""},
		"other letters in the host": {"openid_configuration=https://lms.ex%C3%A4mple/c", ""},
		"long":                      {"openid_configuration=https://lms.example/" + long, ""},
		"long token":                {"openid_configuration=https://lms.example/c&registration_token=" + long, ""},
		"token of two lines":        {"openid_configuration=https://lms.example/c&registration_token=a%0d%0ab", ""},
		"token with blanks":         {"openid_configuration=https://lms.example/c&registration_token=a+b", ""},
	} {
		params, err := lti.ParseForm(c.query)
		if err != nil {
			t.Fatal(err)
		}
		i, err := ParseInitiation(params)
		switch {
		case c.host == "" && lti.CodeOf(err) != lti.RegistrationInitiationInvalid:
			t.Errorf("%s: %v", name, err)
		case c.host != "" && (err != nil || i.Host != c.host):
			t.Errorf("%s: %v, %v", name, i, err)
		}
	}
}

func TestConfiguration(t *testing.T) {
	refused := map[string]map[string]any{
		"no issuer":                 {"issuer": nil},
		"issuer that is no text":    {"issuer": 7},
		"issuer of another host":    {"issuer": "https://evil.example"},
		"issuer of a host above":    {"issuer": "https://example"},
		"issuer of a host below":    {"issuer": "https://a.lms.example"},
		"issuer at another port":    {"issuer": "https://lms.example:8443"},
		"issuer with a query":       {"issuer": "https://lms.example?x=1"},
		"issuer with an empty one":  {"issuer": "https://lms.example?"},
		"issuer with a fragment":    {"issuer": "https://lms.example#x"},
		"issuer over http":          {"issuer": "http://lms.example"},
		"no authentication URL":     {"authorization_endpoint": nil},
		"authentication over http":  {"authorization_endpoint": "http://lms.example/auth"},
		"authentication script":     {"authorization_endpoint": "javascript:alert(1)"},
		"no keys":                   {"jwks_uri": nil},
		"keys with a user":          {"jwks_uri": "https://u:p@lms.example/jwks"},
		"no registration":           {"registration_endpoint": nil},
		"registration with a path":  {"registration_endpoint": "/register"},
		"token with a fragment":     {"token_endpoint": "https://lms.example/token#x"},
		"long token URL":            {"token_endpoint": "https://lms.example/" + strings.Repeat("x", 2048)},
		"no ID tokens":              {"response_types_supported": []string{"code"}},
		"other signatures":          {"id_token_signing_alg_values_supported": []string{"ES256", "HS256"}},
		"no signatures":             {"id_token_signing_alg_values_supported": []string{}},
		"shared secrets":            {"token_endpoint_auth_methods_supported": []string{"client_secret_basic"}},
		"other client signatures":   {"token_endpoint_auth_signing_alg_values_supported": []string{"HS256"}},
		"audience with blanks":      {"authorization_server": "a b"},
		"more than a configuration": {"x": strings.Repeat("x", MaxDocument)},
	}
	for name, change := range refused {
		if _, err := ParseConfiguration(doc(t, config, change), configURL); lti.CodeOf(err) != lti.RegistrationConfigurationInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, body := range map[string]string{
		"nothing": "", "list": "[]", "null": "null", "page": "<html>", "two": config + config,
		"two issuers":   strings.Replace(config, "{", `{"issuer": "https://evil.example",`, 1),
		"not UTF-8":     strings.Replace(config, "lms.example", "\xff", 1),
		"another case":  strings.Replace(config, `"issuer"`, `"Issuer"`, 1),
		"half a string": config[:len(config)/2],
	} {
		if _, err := ParseConfiguration([]byte(body), configURL); lti.CodeOf(err) != lti.RegistrationConfigurationInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}

	for name, change := range map[string]map[string]any{
		"as it is":                 nil,
		"host in capitals":         {"issuer": "https://LMS.example"},
		"port of the scheme":       {"issuer": "https://lms.example:443"},
		"issuer with a path":       {"issuer": "https://lms.example/tenant"},
		"nothing of LTI":           {platformConfiguration: nil},
		"list in place of it":      {platformConfiguration: []any{}},
		"signatures as text":       {"id_token_signing_alg_values_supported": "RS256 ES256"},
		"signatures of other kind": {"id_token_signing_alg_values_supported": []any{7, nil, "RS256"}},
		"unknown members":          {"x": map[string]any{"y": []any{1, 2}}},
	} {
		c, err := ParseConfiguration(doc(t, config, change), configURL)
		if err != nil || c.AuthenticationURL != "https://sso.lms.example/auth?x=1" || c.AccessTokenAudience != "" {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	c, err := ParseConfiguration(doc(t, config, map[string]any{
		"token_endpoint": nil, "authorization_server": "https://api.brightspace.com/auth/token",
		"lti.product_family_code": " desire2learn\u202e\n x ", "lti.version": strings.Repeat("1", 1000),
	}), configURL)
	if err != nil || c.AccessTokenURL != "" || c.AccessTokenAudience != "https://api.brightspace.com/auth/token" || c.Product != "desire2learn x" || len(c.Version) != maxTitle {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := ParseConfiguration(doc(t, config, map[string]any{"authorization_server": "https://lms.example/token"}), configURL); err != nil || c.AccessTokenAudience != "" {
		t.Errorf("the token URL is the audience anyway: %+v, %v", c, err)
	}
}

func TestRequestIsWhatThePlatformSupports(t *testing.T) {
	canvas := map[string]any{
		"scopes_supported": []string{"openid", "https://purl.imsglobal.org/spec/lti-ags/scope/score"},
		"lti.messages_supported": []any{map[string]any{"type": "LtiDeepLinkingRequest", "placements": []string{
			"https://canvas.instructure.com/lti/course_navigation", "https://canvas.instructure.com/lti/assignment_selection", "ContentArea",
		}}, "LtiStartProctoring"},
	}
	c, err := ParseConfiguration(doc(t, config, canvas), configURL)
	if err != nil {
		t.Fatal(err)
	}
	text, err := NewRequest(c, us())
	if err != nil {
		t.Fatal(err)
	}
	var m metadata
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	want := []Message{{
		Type: lti.MessageDeepLinking, TargetLinkURI: us().LaunchURL, Label: "Acme Academy",
		Placements: []string{"ContentArea", "https://canvas.instructure.com/lti/assignment_selection"},
	}}
	if diff := cmp.Diff(want, m.Tool.Messages); diff != "" || m.Scope != "https://purl.imsglobal.org/spec/lti-ags/scope/score" {
		t.Errorf("scope %q, messages (-want +got):\n%s", m.Scope, diff)
	}
}

func TestAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   Answer
		code   lti.Code
		detail string
	}{
		"created":            {201, `{"client_id": "a b"}`, Answer{}, lti.RegistrationAnswerInvalid, "client_id is missing, too long, or not ASCII"},
		"no deployment":      {201, `{"client_id": "abc"}`, Answer{ClientID: "abc"}, "", ""},
		"numbers":            {200, `{"client_id": 10000000000042, "` + toolConfiguration + `": {"deployment_id": 7}}`, Answer{ClientID: "10000000000042", DeploymentID: "7"}, "", ""},
		"empty list of PHP":  {200, `{"client_id": "abc", "` + toolConfiguration + `": []}`, Answer{ClientID: "abc"}, "", ""},
		"can be changed":     {200, `{"client_id": "abc", "registration_client_uri": "https://lms.example/r/1", "registration_access_token": "t"}`, Answer{ClientID: "abc", ClientURL: "https://lms.example/r/1", ClientToken: "t"}, "", ""},
		"cannot be changed":  {200, `{"client_id": "abc", "registration_client_uri": "http://lms.example/r/1", "registration_access_token": "t"}`, Answer{ClientID: "abc"}, "", ""},
		"no token for it":    {200, `{"client_id": "abc", "registration_client_uri": "https://lms.example/r/1"}`, Answer{ClientID: "abc"}, "", ""},
		"no client":          {200, `{}`, Answer{}, lti.RegistrationAnswerInvalid, "client_id is missing, too long, or not ASCII"},
		"long client":        {200, `{"client_id": "` + strings.Repeat("x", 256) + `"}`, Answer{}, lti.RegistrationAnswerInvalid, "client_id is missing, too long, or not ASCII"},
		"long deployment":    {200, `{"client_id": "abc", "` + toolConfiguration + `": {"deployment_id": "` + strings.Repeat("x", 256) + `"}}`, Answer{}, lti.RegistrationAnswerInvalid, "deployment_id is too long, or not ASCII"},
		"a page":             {200, `<html>`, Answer{}, lti.RegistrationAnswerInvalid, "not a JSON object"},
		"error of RFC 7591":  {400, `{"error": "invalid_redirect_uri", "error_description": "secret"}`, Answer{}, lti.RegistrationRefused, "status 400, invalid_redirect_uri"},
		"errors of Canvas":   {422, `{"errors": [{"message": "secret"}]}`, Answer{}, lti.RegistrationRefused, "status 422 Unprocessable Entity"},
		"token used already": {401, `Unauthorized: secret`, Answer{}, lti.RegistrationRefused, "status 401 Unauthorized"},
		"error that is text": {400, `{"error": "<script>secret</script>"}`, Answer{}, lti.RegistrationRefused, "status 400 Bad Request"},
		"error in an object": {400, `{"error": {"message": "secret"}}`, Answer{}, lti.RegistrationRefused, "status 400 Bad Request"},
		"redirect":           {302, `{"client_id": "abc"}`, Answer{}, lti.RegistrationRefused, "status 302 Found"},
	} {
		got, err := ParseAnswer(c.status, []byte(c.body))
		var refusal *lti.Refusal
		if errors.As(err, &refusal) {
			if refusal.Code != c.code || refusal.Detail != c.detail {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || c.code != "" || *got != c.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestMetadata(t *testing.T) {
	uris := make([]string, MaxRedirectURIs+1)
	many := map[string]any{}
	for i := range uris {
		uris[i] = fmt.Sprint("https://tool.example/", i)
		many[fmt.Sprint("p", i)] = "x"
	}
	for name, c := range map[string]struct {
		change map[string]any
		code   lti.Code
	}{
		"no redirect URIs":        {map[string]any{"redirect_uris": nil}, lti.RegistrationRedirectInvalid},
		"none in the list":        {map[string]any{"redirect_uris": []string{}}, lti.RegistrationRedirectInvalid},
		"not a list":              {map[string]any{"redirect_uris": "https://tool.example/launch"}, lti.RegistrationRedirectInvalid},
		"too many":                {map[string]any{"redirect_uris": uris}, lti.RegistrationRedirectInvalid},
		"not a text":              {map[string]any{"redirect_uris": []any{7}}, lti.RegistrationRedirectInvalid},
		"script":                  {map[string]any{"redirect_uris": []string{"https://tool.example/launch", "javascript:alert(1)"}}, lti.RegistrationRedirectInvalid},
		"data":                    {map[string]any{"redirect_uris": []string{"data:text/html,x"}}, lti.RegistrationRedirectInvalid},
		"http":                    {map[string]any{"redirect_uris": []string{"http://tool.example/launch"}}, lti.RegistrationRedirectInvalid},
		"fragment":                {map[string]any{"redirect_uris": []string{"https://tool.example/launch#x"}}, lti.RegistrationRedirectInvalid},
		"user name":               {map[string]any{"redirect_uris": []string{"https://tool.example@evil.example/launch"}}, lti.RegistrationRedirectInvalid},
		"blanks around":           {map[string]any{"redirect_uris": []string{" https://tool.example/launch"}}, lti.RegistrationRedirectInvalid},
		"scheme in capitals":      {map[string]any{"redirect_uris": []string{"HTTPS://tool.example/launch"}}, lti.RegistrationRedirectInvalid},
		"no login":                {map[string]any{"initiate_login_uri": nil}, lti.RegistrationMetadataInvalid},
		"login over http":         {map[string]any{"initiate_login_uri": "http://tool.example/login"}, lti.RegistrationMetadataInvalid},
		"login script":            {map[string]any{"initiate_login_uri": "javascript:alert(1)"}, lti.RegistrationMetadataInvalid},
		"no keys":                 {map[string]any{"jwks_uri": nil}, lti.RegistrationMetadataInvalid},
		"keys by value":           {map[string]any{"jwks_uri": nil, "jwks": map[string]any{}}, lti.RegistrationMetadataInvalid},
		"keys in a file":          {map[string]any{"jwks_uri": "file:///etc/passwd"}, lti.RegistrationMetadataInvalid},
		"shared secret":           {map[string]any{"token_endpoint_auth_method": "client_secret_basic"}, lti.RegistrationMetadataInvalid},
		"signed by a secret":      {map[string]any{"token_endpoint_auth_method": "client_secret_jwt"}, lti.RegistrationMetadataInvalid},
		"no authentication":       {map[string]any{"token_endpoint_auth_method": "none"}, lti.RegistrationMetadataInvalid},
		"code":                    {map[string]any{"response_types": []string{"code"}}, lti.RegistrationMetadataInvalid},
		"target over http":        {map[string]any{"lti.target_link_uri": "http://tool.example/launch"}, lti.RegistrationMetadataInvalid},
		"deep linking over http":  {map[string]any{"lti.messages": []any{map[string]any{"type": "LtiDeepLinkingRequest", "target_link_uri": "http://tool.example/"}}}, lti.RegistrationMetadataInvalid},
		"parameter that is none":  {map[string]any{"lti.custom_parameters": map[string]any{"a": []any{}}}, lti.RegistrationMetadataInvalid},
		"parameter without name":  {map[string]any{"lti.custom_parameters": map[string]any{"": "x"}}, lti.RegistrationMetadataInvalid},
		"parameter of two lines":  {map[string]any{"lti.custom_parameters": map[string]any{"a": "x\ny"}}, lti.RegistrationMetadataInvalid},
		"long parameter":          {map[string]any{"lti.custom_parameters": map[string]any{"a": strings.Repeat("x", maxText+1)}}, lti.RegistrationMetadataInvalid},
		"too many parameters":     {map[string]any{"lti.custom_parameters": many}, lti.RegistrationMetadataInvalid},
		"more than a description": {map[string]any{"x": strings.Repeat("x", MaxDocument)}, lti.RegistrationMetadataInvalid},
	} {
		if _, err := ParseMetadata(doc(t, asks, c.change)); lti.CodeOf(err) != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, body := range []string{"", "[]", "null", "x=y", asks + "{}", strings.Replace(asks, "{", `{"jwks_uri": "https://evil.example/",`, 1)} {
		if _, err := ParseMetadata([]byte(body)); lti.CodeOf(err) != lti.RegistrationMetadataInvalid {
			t.Errorf("%.40q: %v", body, err)
		}
	}
}

func TestMetadataOfRealTools(t *testing.T) {
	for name, c := range map[string]struct {
		change map[string]any
		check  func(m *Metadata) bool
	}{
		"the least": {
			map[string]any{"client_name": nil, "token_endpoint_auth_method": nil, "response_types": nil, toolConfiguration: nil},
			func(m *Metadata) bool { return m.Name == "tool.example" && m.LaunchURL == "" && m.Scopes == nil },
		},
		// https://github.com/moodle/moodle/blob/main/enrol/lti/register.php
		"Moodle": {
			map[string]any{
				"grant_types": []string{"client_credentials", "implicit"}, "logo_uri": "", "lti.domain": "moodle.example", "lti.custom_parameters": []any{},
				"lti.scopes": []string{"https://purl.imsglobal.org/spec/lti-ags/scope/score"}, "lti.claims": []string{"iss", "aud", "picture"},
				"lti.messages": []any{
					map[string]any{"type": "LtiDeepLinkingRequest", "allowLearner": false, "target_link_uri": "https://tool.example/deep", "label": "Ü", "placements": []string{"ContentArea"}},
					map[string]any{"type": "LtiResourceLinkRequest", "allowLearner": true, "target_link_uri": "https://tool.example/launch"},
				},
			},
			func(m *Metadata) bool {
				return m.DeepLinkingURL == "https://tool.example/deep" && len(m.Scopes) == 1 && m.LogoURL == "" && m.Domain == "moodle.example" &&
					len(m.RedirectURIs) == 2 && len(m.Messages) == 2 && m.Parameters == nil && len(m.Claims) == 3
			},
		},
		"ltijs": {
			map[string]any{
				"redirect_uris": []string{"https://tool.example/launch", "https://tool.example/launch"}, "lti.custom_parameters": map[string]any{"b": 7, "a": true},
				"scope":        "https://purl.imsglobal.org/spec/lti-ags/scope/score  https://purl.imsglobal.org/spec/lti-ags/scope/score x",
				"lti.messages": []any{map[string]any{"type": "LtiDeepLinkingRequest"}, map[string]any{"type": "LtiResourceLinkRequest"}},
			},
			func(m *Metadata) bool {
				return m.DeepLinkingURL == "" && m.LaunchURL == "https://tool.example/launch" && len(m.RedirectURIs) == 1 && len(m.Scopes) == 2 &&
					slices.Equal(m.Parameters, []Parameter{{"a", "true"}, {"b", "7"}})
			},
		},
		"loopback": {
			map[string]any{"jwks_uri": "http://127.0.0.1:8080/jwks", "redirect_uris": []string{"http://tool.localhost/x"}},
			func(m *Metadata) bool { return m.JWKSURL == "http://127.0.0.1:8080/jwks" },
		},
		"text that is hostile": {
			map[string]any{"client_name": "\u202eL\x00a\nb" + strings.Repeat("ü", 300), "logo_uri": "javascript:alert(1)", "scope": "\x00 \u00fc"},
			func(m *Metadata) bool {
				return strings.HasPrefix(m.Name, "La büü") && len([]rune(m.Name)) == maxTitle && m.LogoURL == "" && m.Scopes == nil
			},
		},
	} {
		m, err := ParseMetadata(doc(t, asks, c.change))
		if err != nil || !c.check(m) {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	const secret = "canary-registration-token"
	for _, v := range []any{
		Initiation{Token: secret, ConfigurationURL: "https://lms.example/?t=" + secret},
		&Initiation{Token: secret},
		Answer{ClientToken: secret},
		&Answer{ClientToken: secret},
	} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
			if text := fmt.Sprintf(format, v); strings.Contains(text, secret) {
				t.Errorf("%s of %T: %s", format, v, text)
			}
		}
	}
}
