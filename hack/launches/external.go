// SPDX-License-Identifier: Apache-2.0

package launches

import (
	"context"
	"crypto/rand"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jwks"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// Tool is another system whose activities the academy's learners open over LTI 1.3: the LTITool of that name. It keeps the
// academy's key set for as long as it knows every key, as real ones do.
type Tool struct {
	Name, RedirectURI string

	mu      sync.Mutex
	known   map[string]any
	Fetches int
}

// begin opens the link that the academy shows, signs the learner in, and returns what the browser gets then.
func (v *visit) begin(ctx context.Context, idp *Provider, who Person, activity string) (*answer, error) {
	x, err := v.send(ctx, "start", http.MethodGet, "/activities/"+activity+"/start", nil)
	if err != nil {
		return nil, err
	}
	asked, err := x.location("start")
	if err != nil {
		return nil, err
	}
	back, err := idp.SignIn(asked, who)
	if err != nil {
		return nil, err
	}
	return v.send(ctx, "sign-in", http.MethodGet, routing.PathLearnerCallback+"?"+back.Encode(), nil)
}

// Open opens an activity at the tool, and returns the claims of the ID token that the tool gets, verified.
func (t *Tool) Open(ctx context.Context, a *Academy, idp *Provider, who Person, activity string) (jwt.MapClaims, error) {
	v := a.visit()
	x, err := v.begin(ctx, idp, who, activity)
	if err != nil {
		return nil, err
	}
	location, err := x.location("sign-in")
	if err != nil {
		return nil, err
	}
	login, nonce, state := location.Query(), rand.Text(), rand.Text()
	x, err = v.send(ctx, "authorize", http.MethodPost, "/tools/"+t.Name+"/authorize", url.Values{
		"scope": {"openid"}, "response_type": {"id_token"}, "response_mode": {"form_post"}, "prompt": {"none"},
		"client_id": {login.Get("client_id")}, "redirect_uri": {t.RedirectURI},
		"login_hint": {login.Get("login_hint")}, "lti_message_hint": {login.Get("lti_message_hint")}, "state": {state}, "nonce": {nonce},
	})
	if err != nil {
		return nil, err
	}
	form, err := x.posted("authorize", t.RedirectURI)
	if err != nil {
		return nil, err
	}
	claims := jwt.MapClaims{}
	_, err = jwt.ParseWithClaims(form.Get("id_token"), claims, func(token *jwt.Token) (any, error) {
		kid, _ := token.Header["kid"].(string)
		return t.key(ctx, a, kid)
	}, jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(a.URL), jwt.WithAudience(t.Name), jwt.WithExpirationRequired())
	switch {
	case err != nil:
		return nil, fmt.Errorf("ID token: %w", err)
	case claims["nonce"] != nonce || form.Get("state") != state:
		return nil, &Unexpected{Step: "authorize", Status: x.status, Reason: "nonce or state of another launch"}
	}
	return claims, nil
}

// key is a key of the academy. The key set is fetched when it is not known.
func (t *Tool) key(ctx context.Context, a *Academy, kid string) (any, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if key, ok := t.known[kid]; ok {
		return key, nil
	}
	known, err := a.Keys(ctx, "/tools/"+t.Name+"/jwks.json")
	if err != nil {
		return nil, err
	}
	t.known = known
	t.Fetches++
	if key, ok := known[kid]; ok {
		return key, nil
	}
	return nil, &Unexpected{Step: "key set", Status: http.StatusOK, Reason: "no key " + kid}
}

// Keys are the public keys of a registration by their ID; path is that of its key set.
func (a *Academy) Keys(ctx context.Context, path string) (map[string]any, error) {
	status, body, err := a.Get(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	if status != http.StatusOK {
		return nil, &Unexpected{Step: "key set", Status: status}
	}
	set, err := jwks.Parse(body)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	known := map[string]any{}
	for _, k := range set {
		known[k.ID] = k.Public
	}
	return known, nil
}

// OpenForm opens an activity over LTI 1.2, and returns what the other system gets, with its signature verified.
func OpenForm(ctx context.Context, a *Academy, idp *Provider, who Person, activity, launchURL string, credentials Credentials) (lti.Params, error) {
	x, err := a.visit().begin(ctx, idp, who, activity)
	if err != nil {
		return nil, err
	}
	form, err := x.posted("external form", launchURL)
	if err != nil {
		return nil, err
	}
	var params lti.Params
	for name, values := range form {
		for _, value := range values {
			params = append(params, lti.Param{Name: name, Value: value})
		}
	}
	_, err = oauth1.Verify(ctx, oauth1.Request{Method: http.MethodPost, URL: launchURL, Body: params}, func(_ context.Context, key string) ([]string, error) {
		if key != credentials.ConsumerKey {
			return nil, nil
		}
		return []string{credentials.SharedSecret}, nil
	}, time.Now())
	if err != nil {
		return nil, fmt.Errorf("external form: %w", err)
	}
	return params, nil
}

var (
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
	formAction  = regexp.MustCompile(`<form [^>]*action="([^"]*)"`)
)

// posted is the form that a page makes the browser post to an address.
func (x *answer) posted(step, to string) (url.Values, error) {
	action, fields := PostedForm(x.body)
	if x.status != http.StatusOK || action != to {
		return nil, x.unexpected(step)
	}
	return fields, nil
}

// PostedForm is the form that a page makes the browser post, and where to; nowhere if there is none.
func PostedForm(page []byte) (action string, fields url.Values) {
	m := formAction.FindSubmatch(page)
	if m == nil {
		return "", nil
	}
	fields = url.Values{}
	for _, f := range hiddenField.FindAllSubmatch(page, -1) {
		fields.Add(html.UnescapeString(string(f[1])), html.UnescapeString(string(f[2])))
	}
	return html.UnescapeString(string(m[1])), fields
}
