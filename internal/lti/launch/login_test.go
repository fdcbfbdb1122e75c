package launch

import (
	"bytes"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lti-operator/lti-operator/internal/lti"
)

func moodleLogin(t testing.TB) lti.Params {
	t.Helper()
	var rec struct {
		RawBody string `json:"raw_body"`
	}
	load(t, "moodle-lti13-login.json", &rec)
	params, err := lti.ParseForm(rec.RawBody)
	if err != nil {
		t.Fatal(err)
	}
	return params
}

func TestARealMoodleLoginIsUnderstood(t *testing.T) {
	got, err := ParseLogin(moodleLogin(t))
	if err != nil {
		t.Fatal(err)
	}
	hint := `{"cmid":4,"launchid":"ltilaunch2_1832408286"}`
	want := &LoginRequest{
		Issuer: "http://localhost:9100", LoginHint: "4", TargetLinkURI: "http://127.0.0.1:9001/lti13/launch",
		MessageHint: &hint, DeploymentID: "2", ClientID: "BjdLNQVVi8DL8iq",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := got.Check(moodleRegistration(), func(u string) bool { return u == want.TargetLinkURI }); err != nil {
		t.Error(err)
	}
}

func TestLogin(t *testing.T) {
	good := func() lti.Params {
		return lti.Params{
			{Name: "iss", Value: "https://lms.example"},
			{Name: "login_hint", Value: "4"},
			{Name: "target_link_uri", Value: targetLink},
			{Name: "lti_deployment_id", Value: "1"},
			{Name: "client_id", Value: "client-1"},
		}
	}
	change := func(name, value string) lti.Params {
		p := good()
		for i := range p {
			if p[i].Name == name {
				p[i].Value = value
			}
		}
		return p
	}
	drop := func(name string) lti.Params {
		var out lti.Params
		for _, p := range good() {
			if p.Name != name {
				out = append(out, p)
			}
		}
		return out
	}
	tests := map[string]struct {
		params lti.Params
		code   lti.Code
	}{
		"a complete login is accepted":      {good(), ""},
		"without client ID it is accepted":  {drop("client_id"), ""},
		"without deployment it is accepted": {drop("lti_deployment_id"), ""},
		"no issuer":                         {drop("iss"), lti.LoginParameterMissing},
		"no login hint":                     {drop("login_hint"), lti.LoginParameterMissing},
		"no target link":                    {drop("target_link_uri"), lti.LoginParameterMissing},
		"an empty issuer":                   {change("iss", ""), lti.LoginParameterMissing},
		"two issuers":                       {append(good(), lti.Param{Name: "iss", Value: "https://lms.example"}), lti.ParameterRepeated},
		"two message hints":                 {append(good(), lti.Param{Name: "lti_message_hint"}, lti.Param{Name: "lti_message_hint"}), lti.ParameterRepeated},
		"another issuer":                    {change("iss", "https://evil.example"), lti.IssuerMismatch},
		"another client ID":                 {change("client_id", "client-2"), lti.ClientIDMismatch},
		"an unknown deployment is accepted": {change("lti_deployment_id", "9"), ""},
		"a deactivated deployment":          {change("lti_deployment_id", "off"), lti.DeploymentDeactivated},
		"a deployment with a line break":    {change("lti_deployment_id", "1\n"), lti.ParameterInvalid},
		"a target link that is not of ours": {change("target_link_uri", "https://evil.example"), lti.TargetLinkUnknown},
		"parameters of others do no harm":   {append(good(), lti.Param{Name: "x"}, lti.Param{Name: "x"}), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l, err := ParseLogin(tt.params)
			if err == nil {
				err = l.Check(registration(), func(u string) bool { return u == targetLink })
			}
			if lti.CodeOf(err) != tt.code {
				t.Errorf("error %v, want code %q", err, tt.code)
			}
		})
	}
}

func TestAuthRequestURL(t *testing.T) {
	hint, empty := `{"cmid":4,"x":"a b+c"}`, ""
	want := url.Values{
		"scope": {"openid"}, "response_type": {"id_token"}, "response_mode": {"form_post"}, "prompt": {"none"},
		"client_id": {"client-1"}, "redirect_uri": {"https://lti.acme.example/platforms/moodle/launch"},
		"login_hint": {"4 & é"}, "state": {"the state"}, "nonce": {"the nonce"},
	}
	tests := map[string]struct {
		registered string
		hint       *string
		prefix     string
		more       url.Values
	}{
		"an address without query":                {"https://lms.example/auth", nil, "https://lms.example/auth?scope=openid", nil},
		"a query stays as it is":                  {"https://lms.example/auth?b=2&a=%7E1", nil, "https://lms.example/auth?b=2&a=%7E1&scope=", url.Values{"a": {"~1"}, "b": {"2"}}},
		"our parameters replace registered ones":  {"https://lms.example/auth?client%5Fid=old&tenant=7", nil, "https://lms.example/auth?tenant=7&", url.Values{"tenant": {"7"}}},
		"an empty query and a fragment disappear": {"https://lms.example/auth?#top", nil, "https://lms.example/auth?scope=", nil},
		"the message hint comes back unchanged":   {"https://lms.example/auth", &hint, "https://lms.example/auth?", url.Values{"lti_message_hint": {hint}}},
		"an empty message hint comes back too":    {"https://lms.example/auth", &empty, "https://lms.example/auth?", url.Values{"lti_message_hint": {""}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			reg := registration()
			reg.AuthenticationURL = tt.registered
			got, err := AuthRequestURL(reg, &LoginRequest{LoginHint: "4 & é", MessageHint: tt.hint}, "the state", "the nonce")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(got, tt.prefix) || strings.Contains(got, "#") {
				t.Errorf("%s does not begin with %s", got, tt.prefix)
			}
			u, err := url.Parse(got)
			if err != nil {
				t.Fatal(err)
			}
			all := url.Values{}
			for _, v := range []url.Values{want, tt.more} {
				for k := range v {
					all[k] = v[k]
				}
			}
			if diff := cmp.Diff(all, u.Query()); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, bad := range []string{"", "javascript:alert(1)", "/auth", "https:///auth", "%"} {
		reg := registration()
		reg.AuthenticationURL = bad
		if got, err := AuthRequestURL(reg, &LoginRequest{}, "s", "n"); lti.CodeOf(err) != lti.NotRegistered {
			t.Errorf("%q: %s, %v", bad, got, err)
		}
	}
}

func TestNewNonce(t *testing.T) {
	got, err := NewNonce(bytes.NewReader([]byte("0123456789abcdef01234567")))
	if err != nil || got != "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := NewNonce(bytes.NewReader([]byte("too short"))); err == nil {
		t.Errorf("%q from too little randomness", got)
	}
}

func TestStateComesBackAsItWas(t *testing.T) {
	codec := verifier(t).States
	rapid.Check(t, func(t *rapid.T) {
		s := State{
			Platform: rapid.String().Draw(t, "platform"), Nonce: rapid.String().Draw(t, "nonce"), Browser: rapid.String().Draw(t, "browser"),
			TargetLink: rapid.String().Draw(t, "target"), DeploymentID: rapid.String().Draw(t, "deployment"),
			StorageTarget: rapid.String().Draw(t, "storage target"), Storage: rapid.String().Draw(t, "storage"),
			ExpiresAt: start().Add(time.Duration(rapid.IntRange(1, 600).Draw(t, "life")) * time.Second),
		}
		text, err := codec.Seal(s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := codec.Open(text, start())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(s, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestAStateWithAnyChangedByteIsRefused(t *testing.T) {
	codec := verifier(t).States
	text, err := codec.Seal(login())
	if err != nil {
		t.Fatal(err)
	}
	for i := range text {
		for _, bit := range []byte{1, 2, 32} {
			b := []byte(text)
			b[i] ^= bit
			if _, err := codec.Open(string(b), start()); lti.CodeOf(err) != lti.StateInvalid {
				t.Fatalf("byte %d: %v", i, err)
			}
		}
	}
	for _, s := range []string{"", ".", "s1.", "s1..", text[:len(text)-1], text + "A", "s2." + text[3:]} {
		if _, err := codec.Open(s, start()); lti.CodeOf(err) != lti.StateInvalid {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestStateExpiresAfterTenMinutes(t *testing.T) {
	codec := verifier(t).States
	text, err := codec.Seal(login())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := codec.Open(text, start().Add(10*time.Minute-time.Second)); err != nil {
		t.Error(err)
	}
	if _, err := codec.Open(text, start().Add(10*time.Minute)); lti.CodeOf(err) != lti.StateExpired {
		t.Errorf("error %v", err)
	}
}

func TestStateKeysCanBeReplaced(t *testing.T) {
	codec := func(keys ...string) *StateCodec {
		t.Helper()
		var list [][]byte
		for _, k := range keys {
			list = append(list, []byte(strings.Repeat(k, 32)))
		}
		c, err := NewStateCodec(list...)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	text, err := codec("a").Seal(login())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := codec("b", "a").Open(text, start()); err != nil {
		t.Errorf("the former key is not accepted: %v", err)
	}
	if _, err := codec("b").Open(text, start()); lti.CodeOf(err) != lti.StateInvalid {
		t.Errorf("a key that is gone: %v", err)
	}
	if text, err = codec("b", "a").Seal(login()); err != nil {
		t.Fatal(err)
	}
	if _, err := codec("b").Open(text, start()); err != nil {
		t.Errorf("the first key does not sign: %v", err)
	}
	if _, err := NewStateCodec(); err == nil {
		t.Error("no keys are accepted")
	}
	if _, err := NewStateCodec(make([]byte, 31)); err == nil {
		t.Error("a short key is accepted")
	}
}

func TestTheStateHidesTheCookieAndTheTargetLink(t *testing.T) {
	s := login()
	if strings.Contains(s.Browser, cookie) || s.Browser == BrowserBinding("other") || s.TargetLink == s.Browser || s.TargetLink == "" {
		t.Errorf("%+v", s)
	}
}

func TestTheSecretInThePlatformsStorageIsNoCookie(t *testing.T) {
	s := login()
	if s.FromStorage("") || s.FromStorage(cookie) {
		t.Error("a state without storage takes a stored secret")
	}
	s.LeaveAt("_parent", "secret")
	if !s.FromStorage("secret") || s.FromStorage("other") || s.FromStorage("") || s.FromBrowser("secret") || strings.Contains(s.Storage, "secret") {
		t.Errorf("%+v", s)
	}
	if s.LeaveAt("_parent", cookie); s.Storage == s.Browser {
		t.Error("one secret would do for both")
	}
	if s.LeaveAt("_parent", ""); s.FromStorage("") {
		t.Error("no secret is one")
	}
}

func TestALoginBeginsAgainAsItWas(t *testing.T) {
	empty := ""
	for name, l := range map[string]*LoginRequest{
		"all of it":          {Issuer: "i", LoginHint: "h", TargetLinkURI: "t", MessageHint: &empty, DeploymentID: "d", ClientID: "c"},
		"what there must be": {Issuer: "i", LoginHint: "h", TargetLinkURI: "t"},
	} {
		again, err := ParseLogin(l.Params())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(l, again); diff != "" {
			t.Errorf("%s (-was +is):\n%s", name, diff)
		}
	}
	params := append(moodleLogin(t), lti.Param{Name: "lti_storage_target", Value: "_parent"})
	l, err := ParseLogin(params)
	if err != nil {
		t.Fatal(err)
	}
	if l.StorageTarget != "_parent" || l.Params().Count("lti_storage_target") != 0 {
		t.Errorf("%+v", l)
	}
}

func TestParseRole(t *testing.T) {
	const lis = "http://purl.imsglobal.org/vocab/lis/v2/"
	instructor, assistant := Role{ContextRole, "Instructor", ""}, Role{ContextRole, "Instructor", "TeachingAssistant"}
	tests := map[string]Role{
		"Learner":                         {ContextRole, "Learner", ""},
		"instructor":                      instructor,
		"urn:lti:role:ims/lis/Instructor": instructor,
		"urn:lti:role:ims/lis/Instructor/TeachingAssistant":          assistant,
		"urn:lti:role:ims/lis/TeachingAssistant":                     assistant,
		lis + "membership#Instructor":                                instructor,
		lis + "membership/Instructor#TeachingAssistant":              assistant,
		lis + "membership/Learner#Instructor":                        {ContextRole, "Learner", "Instructor"},
		lis + "membership#ContentDeveloper":                          {ContextRole, "ContentDeveloper", ""},
		lis + "institution/person#Instructor":                        {InstitutionRole, "Instructor", ""},
		lis + "person#Instructor":                                    {InstitutionRole, "Instructor", ""},
		lis + "system/person#Administrator":                          {SystemRole, "Administrator", ""},
		"http://purl.imsglobal.org/vocab/lti/system/person#TestUser": {SystemRole, "TestUser", ""},
		"urn:lti:instrole:ims/lis/Instructor":                        {InstitutionRole, "Instructor", ""},
		"urn:lti:sysrole:ims/lis/SysAdmin":                           {SystemRole, "SysAdmin", ""},
		"http://evil.example/membership#Instructor":                  {UnknownRole, "http://evil.example/membership#Instructor", ""},
		lis + "membershipInstructor":                                 {UnknownRole, lis + "membershipInstructor", ""},
		lis + "membership/Instructor#":                               {UnknownRole, lis + "membership/Instructor#", ""},
		lis + "membershipX#Instructor":                               {UnknownRole, lis + "membershipX#Instructor", ""},
		lis + "institution/person#":                                  {UnknownRole, lis + "institution/person#", ""},
		"Student":                                                    {UnknownRole, "Student", ""},
	}
	for in, want := range tests {
		got := ParseRole(in)
		if got != want {
			t.Errorf("%s: %+v, want %+v", in, got, want)
		}
		if again := ParseRole(got.String()); again != got {
			t.Errorf("%s: written as %s, read as %+v", in, got, again)
		}
	}
}

func TestOnlyContextRolesGiveRights(t *testing.T) {
	tests := map[string]struct {
		roles               []string
		instructor, learner bool
	}{
		"a teacher":                    {[]string{"Instructor"}, true, false},
		"an assistant":                 {[]string{membershipPrefix + "/Instructor#TeachingAssistant"}, true, false},
		"a learner":                    {[]string{"Learner"}, false, true},
		"both":                         {[]string{"Learner", "Instructor"}, true, true},
		"a teacher of the institution": {[]string{institutionPrefix + "Instructor", institutionPrefix + "Faculty"}, false, false},
		"an administrator":             {[]string{systemPrefix + "Administrator", institutionPrefix + "Administrator"}, false, false},
		"a learner who administers":    {[]string{"Learner", "urn:lti:sysrole:ims/lis/SysAdmin"}, false, true},
		"a test user":                  {[]string{testUserPrefix + "TestUser"}, false, false},
		"a content developer":          {[]string{"ContentDeveloper"}, false, false},
		"nobody":                       {nil, false, false},
	}
	for name, tt := range tests {
		m := &Message{Roles: parseRoles(tt.roles)}
		if m.IsInstructor() != tt.instructor || m.IsLearner() != tt.learner {
			t.Errorf("%s: instructor %v, learner %v", name, m.IsInstructor(), m.IsLearner())
		}
	}
}

var _ error = (*lti.Refusal)(nil)

// A nil *Refusal in an error interface would be an error that says nothing.
func TestSuccessIsANilError(t *testing.T) {
	if err := (&LoginRequest{Issuer: "https://lms.example", DeploymentID: "1"}).Check(registration(), nil); err != nil {
		t.Errorf("%#v", err)
	}
	if errors.Is(newObject(nil).failed(), &lti.Refusal{}) || newObject(nil).failed() != nil {
		t.Error("an object without mistakes failed")
	}
}
