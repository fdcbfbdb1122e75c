package launch

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/lti"
)

const redirectURI = "https://tool.example/launch?tenant=7"

func isRedirectURI(u string) bool { return u == redirectURI }

// authRequest returns the parameters of a good request with changes; a value of
// "\x00" removes the parameter.
func authRequest(changes ...lti.Param) lti.Params {
	params := lti.Params{
		{Name: "scope", Value: "openid"},
		{Name: "response_type", Value: "id_token"},
		{Name: "response_mode", Value: "form_post"},
		{Name: "prompt", Value: "none"},
		{Name: "client_id", Value: "sim"},
		{Name: "redirect_uri", Value: redirectURI},
		{Name: "login_hint", Value: "a learner"},
		{Name: "lti_message_hint", Value: "a launch"},
		{Name: "state", Value: "the state"},
		{Name: "nonce", Value: "the nonce"},
	}
	for _, c := range changes {
		i := slices.IndexFunc(params, func(p lti.Param) bool { return p.Name == c.Name })
		switch {
		case i < 0:
			params = append(params, c)
		case c.Value == "\x00":
			params = slices.Delete(params, i, i+1)
		default:
			params[i] = c
		}
	}
	return params
}

func TestWhereAnAuthenticationRequestIsAnswered(t *testing.T) {
	const none = "\x00"
	p := func(name, value string) lti.Param { return lti.Param{Name: name, Value: value} }
	again := func(name, value string) lti.Params { return append(authRequest(), p(name, value)) }
	tests := map[string]struct {
		params lti.Params
		code   lti.Code
	}{
		"a good request":                  {authRequest(), ""},
		"a request that is bad otherwise": {authRequest(p("scope", "profile"), p("nonce", none)), ""},
		"no client ID":                    {authRequest(p("client_id", none)), lti.ParameterMissing},
		"an empty client ID":              {authRequest(p("client_id", "")), lti.ParameterMissing},
		"no redirect URI":                 {authRequest(p("redirect_uri", none)), lti.ParameterMissing},
		"an empty redirect URI":           {authRequest(p("redirect_uri", "")), lti.ParameterMissing},
		"two client IDs":                  {again("client_id", "sim"), lti.ParameterRepeated},
		"two redirect URIs":               {again("redirect_uri", "https://evil.example"), lti.ParameterRepeated},
		"another client ID":               {authRequest(p("client_id", "lab")), lti.ClientIDMismatch},
		"a client ID in other case":       {authRequest(p("client_id", "SIM")), lti.ClientIDMismatch},
		"another redirect URI":            {authRequest(p("redirect_uri", "https://evil.example")), lti.RedirectURIMismatch},
		"a redirect URI with a slash":     {authRequest(p("redirect_uri", redirectURI+"/")), lti.RedirectURIMismatch},
		"a redirect URI in other case":    {authRequest(p("redirect_uri", "https://TOOL.example/launch?tenant=7")), lti.RedirectURIMismatch},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseReply(tt.params, "sim", isRedirectURI)
			if lti.CodeOf(err) != tt.code || (got == nil) != (err != nil) {
				t.Fatalf("%+v, %v; want code %q", got, err, tt.code)
			}
			if got != nil && (got.RedirectURI != redirectURI || got.State != "the state") {
				t.Errorf("reply %+v", got)
			}
		})
	}
	for _, u := range []string{"javascript:alert(1)", "data:text/html,x", "//evil.example", "https://user@tool.example/", "ftp://tool.example"} {
		if got, err := ParseReply(authRequest(p("redirect_uri", u)), "sim", func(string) bool { return true }); lti.CodeOf(err) != lti.RedirectURIMismatch {
			t.Errorf("%s, although registered: %+v, %v", u, got, err)
		}
	}
}

func TestAuthenticationRequests(t *testing.T) {
	const none = "\x00"
	p := func(name, value string) lti.Param { return lti.Param{Name: name, Value: value} }
	again := func(name, value string) lti.Params { return append(authRequest(), p(name, value)) }
	tests := map[string]struct {
		params lti.Params
		oauth  string
		code   lti.Code
	}{
		"a good request":                       {authRequest(), "", ""},
		"without prompt":                       {authRequest(p("prompt", none)), "", ""},
		"an empty prompt is none":              {authRequest(p("prompt", "")), "", ""},
		"without state":                        {authRequest(p("state", none)), "", ""},
		"an unknown parameter":                 {authRequest(p("display", "page")), "", ""},
		"the scope twice is the same set":      {authRequest(p("scope", "openid openid")), "", ""},
		"the longest nonce":                    {authRequest(p("nonce", strings.Repeat("n", maxNonce))), "", ""},
		"the longest state":                    {authRequest(p("state", strings.Repeat("s", maxState))), "", ""},
		"a state that is not ASCII":            {authRequest(p("state", "zoë &+%\"<")), "", ""},
		"no scope":                             {authRequest(p("scope", none)), OAuthInvalidRequest, lti.ParameterMissing},
		"no response type":                     {authRequest(p("response_type", none)), OAuthInvalidRequest, lti.ParameterMissing},
		"no response mode":                     {authRequest(p("response_mode", none)), OAuthInvalidRequest, lti.ParameterMissing},
		"no login hint":                        {authRequest(p("login_hint", none)), OAuthInvalidRequest, lti.ParameterMissing},
		"an empty login hint":                  {authRequest(p("login_hint", "")), OAuthInvalidRequest, lti.ParameterMissing},
		"no message hint":                      {authRequest(p("lti_message_hint", none)), OAuthInvalidRequest, lti.ParameterMissing},
		"no nonce":                             {authRequest(p("nonce", none)), OAuthInvalidRequest, lti.ParameterMissing},
		"an empty nonce":                       {authRequest(p("nonce", "")), OAuthInvalidRequest, lti.ParameterMissing},
		"a further scope":                      {authRequest(p("scope", "openid profile")), OAuthInvalidScope, lti.AuthenticationRequestInvalid},
		"another scope":                        {authRequest(p("scope", "profile")), OAuthInvalidScope, lti.AuthenticationRequestInvalid},
		"the scope in other case":              {authRequest(p("scope", "OpenID")), OAuthInvalidScope, lti.AuthenticationRequestInvalid},
		"the code flow":                        {authRequest(p("response_type", "code")), OAuthUnsupportedResponseType, lti.AuthenticationRequestInvalid},
		"an access token besides":              {authRequest(p("response_type", "id_token token")), OAuthUnsupportedResponseType, lti.AuthenticationRequestInvalid},
		"the token in a fragment":              {authRequest(p("response_mode", "fragment")), OAuthInvalidRequest, lti.AuthenticationRequestInvalid},
		"a prompt":                             {authRequest(p("prompt", "login")), OAuthInvalidRequest, lti.AuthenticationRequestInvalid},
		"a prompt besides none":                {authRequest(p("prompt", "none login")), OAuthInvalidRequest, lti.AuthenticationRequestInvalid},
		"a nonce that is too long":             {authRequest(p("nonce", strings.Repeat("n", maxNonce+1))), OAuthInvalidRequest, lti.ParameterInvalid},
		"a nonce with a line break":            {authRequest(p("nonce", "a\nb")), OAuthInvalidRequest, lti.ParameterInvalid},
		"a nonce that is not ASCII":            {authRequest(p("nonce", "é")), OAuthInvalidRequest, lti.ParameterInvalid},
		"a state that is too long":             {authRequest(p("state", strings.Repeat("s", maxState+1))), OAuthInvalidRequest, lti.ParameterInvalid},
		"a state that a form would change":     {authRequest(p("state", "a\nb")), OAuthInvalidRequest, lti.ParameterInvalid},
		"a state that is not UTF-8":            {authRequest(p("state", "\xff")), OAuthInvalidRequest, lti.ParameterInvalid},
		"two scopes":                           {again("scope", "openid"), OAuthInvalidRequest, lti.ParameterRepeated},
		"two response types":                   {again("response_type", "id_token"), OAuthInvalidRequest, lti.ParameterRepeated},
		"two response modes":                   {again("response_mode", "form_post"), OAuthInvalidRequest, lti.ParameterRepeated},
		"two prompts":                          {again("prompt", "none"), OAuthInvalidRequest, lti.ParameterRepeated},
		"two login hints":                      {again("login_hint", ""), OAuthInvalidRequest, lti.ParameterRepeated},
		"two message hints":                    {again("lti_message_hint", "x"), OAuthInvalidRequest, lti.ParameterRepeated},
		"two nonces":                           {again("nonce", "the nonce"), OAuthInvalidRequest, lti.ParameterRepeated},
		"two states":                           {again("state", "other"), OAuthInvalidRequest, lti.ParameterRepeated},
		"two of what nobody knows":             {append(again("tracking<b>", "1"), p("tracking<b>", "2")), OAuthInvalidRequest, lti.ParameterRepeated},
		"what repeats counts before the rest":  {append(authRequest(p("scope", "x")), p("nonce", "")), OAuthInvalidRequest, lti.ParameterRepeated},
		"what is missing counts before values": {authRequest(p("scope", "x"), p("nonce", none)), OAuthInvalidRequest, lti.ParameterMissing},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := ParseAuthRequest(tt.params)
			if tt.oauth == "" {
				want := &AuthRequest{LoginHint: "a learner", MessageHint: "a launch", Nonce: tt.params.Get("nonce")}
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
				return
			}
			var refused *AuthError
			if !errors.As(err, &refused) || got != nil {
				t.Fatalf("%+v, %v", got, err)
			}
			if refused.Code != tt.oauth || lti.CodeOf(err) != tt.code {
				t.Errorf("%v; want %s, %s", err, tt.oauth, tt.code)
			}
			if !strings.HasPrefix(err.Error(), tt.oauth+": "+string(tt.code)+": ") || strings.Contains(err.Error(), "<b>") {
				t.Errorf("text %q", err)
			}
		})
	}
}

func TestAnswersToAuthenticationRequests(t *testing.T) {
	reply := &Reply{RedirectURI: redirectURI, State: "the state"}
	bare := &Reply{RedirectURI: redirectURI}
	stored := &Reply{RedirectURI: redirectURI, State: "s", StorageTarget: "_parent"}
	denied := NewAuthError(OAuthAccessDenied, lti.Refuse(lti.LearnerMismatch, "another \"learner\"\nzoë\\"))
	tests := map[string]struct{ got, want lti.Params }{
		"a token":                  {reply.Token("a.b.c"), lti.Params{{Name: "id_token", Value: "a.b.c"}, {Name: "state", Value: "the state"}}},
		"a token without state":    {bare.Token("a.b.c"), lti.Params{{Name: "id_token", Value: "a.b.c"}}},
		"a token with a frame":     {stored.Token("t"), lti.Params{{Name: "id_token", Value: "t"}, {Name: "state", Value: "s"}, {Name: "lti_storage_target", Value: "_parent"}}},
		"an error":                 {reply.Error(denied), lti.Params{{Name: "error", Value: "access_denied"}, {Name: "error_description", Value: "LearnerMismatch: another 'learner''zo''"}, {Name: "state", Value: "the state"}}},
		"an error without a state": {bare.Error(denied)[2:], lti.Params{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAStateThatCannotBeReturnedIsNot(t *testing.T) {
	for name, params := range map[string]lti.Params{
		"two":         append(authRequest(), lti.Param{Name: "state", Value: "other"}),
		"a line":      authRequest(lti.Param{Name: "state", Value: "a\r\nb"}),
		"not UTF-8":   authRequest(lti.Param{Name: "state", Value: "\xff"}),
		"far too big": authRequest(lti.Param{Name: "state", Value: strings.Repeat("s", maxState+1)}),
	} {
		reply, err := ParseReply(params, "sim", isRedirectURI)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ParseAuthRequest(params)
		var refused *AuthError
		if !errors.As(err, &refused) {
			t.Fatalf("%s: %v", name, err)
		}
		if form := reply.Error(refused); form.Count("state") != 0 || form.Get("error") != OAuthInvalidRequest {
			t.Errorf("%s: %v", name, form)
		}
	}
}
