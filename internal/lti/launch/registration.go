package launch

import (
	"errors"
	"net/url"
	"strings"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/jws"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
)

// Registration is what is configured about a platform, for LTI 1.3. It is not
// changed by anything here and may be shared.
type Registration struct {
	// Name identifies the registration among ours.
	Name string
	// Issuer and ClientID are compared as they are, byte for byte (Security
	// section 5.1.3, OpenID Connect Core section 3.1.3.7).
	Issuer, ClientID string
	// AuthenticationURL is the OIDC authorization endpoint of the platform; it
	// may have a query.
	AuthenticationURL string
	// RedirectURI is our address that the ID token is posted to.
	RedirectURI string
	// Algorithms that may sign ID tokens; RS256 alone if empty. Asymmetric
	// algorithms only: RS256, RS384, RS512, ES256, ES384, ES512.
	Algorithms []string
	// TrustedAudiences may stand beside our client ID in aud; usually none.
	TrustedAudiences []string
	// Deployments says which deployments may launch.
	Deployments Deployments
}

// Deployments says which deployments of a registration may launch.
type Deployments struct {
	// Any accepts deployments that are not listed.
	Any bool
	// Activated holds the listed deployments and whether each is activated.
	Activated map[string]bool
}

// check refuses unknown and deactivated deployments.
func (d Deployments) check(id string) *lti.Refusal {
	activated, listed := d.Activated[id]
	switch {
	case listed && !activated:
		return lti.Refuse(lti.DeploymentDeactivated, "deployment is deactivated")
	case !listed && !d.Any:
		return lti.Refuse(lti.DeploymentUnknown, "deployment is not listed")
	}
	return nil
}

// Keys are the public keys of a platform.
type Keys = jws.Keys

// LoginRequest is a third-party initiated login (Security section 5.1.1.1, Core
// section 4.1). Nothing in it is signed.
type LoginRequest struct {
	Issuer, LoginHint, TargetLinkURI string
	// MessageHint is lti_message_hint, to be returned unaltered. It is nil when
	// there was none, which is not the same as an empty one.
	MessageHint *string
	// DeploymentID and ClientID are optional.
	DeploymentID, ClientID string
	// StorageTarget is lti_storage_target, for launches without cookies.
	StorageTarget string
}

// ParseLogin reads a login initiation from the parameters of a GET or POST
// request. It refuses with LoginParameterMissing or ParameterRepeated.
func ParseLogin(params lti.Params) (*LoginRequest, error) {
	l := &LoginRequest{}
	var missing []string
	for _, f := range []struct {
		name     string
		to       *string
		required bool
	}{
		{"iss", &l.Issuer, true},
		{"login_hint", &l.LoginHint, true},
		{"target_link_uri", &l.TargetLinkURI, true},
		{"lti_deployment_id", &l.DeploymentID, false},
		{"client_id", &l.ClientID, false},
		{"lti_storage_target", &l.StorageTarget, false},
	} {
		v, _, err := params.Only(f.name)
		if err != nil {
			return nil, err
		}
		if v == "" && f.required {
			missing = append(missing, f.name)
		}
		*f.to = v
	}
	if missing != nil {
		return nil, lti.Refuse(lti.LoginParameterMissing, "missing: %s", strings.Join(missing, ", "))
	}
	hint, ok, err := params.Only("lti_message_hint")
	if err != nil {
		return nil, err
	}
	if ok {
		l.MessageHint = &hint
	}
	return l, nil
}

// Params are the parameters of the login once more, to begin it again elsewhere:
// without lti_storage_target, which is for the place that it came from.
func (l *LoginRequest) Params() lti.Params {
	params := lti.Params{{Name: "iss", Value: l.Issuer}, {Name: "login_hint", Value: l.LoginHint}, {Name: "target_link_uri", Value: l.TargetLinkURI}}
	if l.MessageHint != nil {
		params = append(params, lti.Param{Name: "lti_message_hint", Value: *l.MessageHint})
	}
	if l.DeploymentID != "" {
		params = append(params, lti.Param{Name: "lti_deployment_id", Value: l.DeploymentID})
	}
	if l.ClientID != "" {
		params = append(params, lti.Param{Name: "client_id", Value: l.ClientID})
	}
	return params
}

// Check compares a login with the registration whose address it was sent to.
// knows reports whether a target link is an address of ours; nil skips that.
// It refuses with IssuerMismatch, ClientIDMismatch, ParameterInvalid,
// DeploymentDeactivated or TargetLinkUnknown.
//
// A login proves nothing; the same is checked again in the ID token. Refusing
// here spares the learner a round trip and names the mistake while it is still
// visible.
func (l *LoginRequest) Check(reg *Registration, knows func(targetLink string) bool) error {
	if l.Issuer != reg.Issuer {
		return lti.Refuse(lti.IssuerMismatch, "iss of the login differs from the registered issuer")
	}
	if l.ClientID != "" && l.ClientID != reg.ClientID {
		return lti.Refuse(lti.ClientIDMismatch, "client_id of the login differs from the registered one")
	}
	if l.DeploymentID != "" {
		if !identifier(l.DeploymentID) {
			return lti.Refuse(lti.ParameterInvalid, "lti_deployment_id must be at most %d ASCII characters", maxIdentifier)
		}
		// An unknown one is refused when the platform has proved that it is its
		// own, and only then can status show it.
		if r := reg.Deployments.check(l.DeploymentID); r != nil && r.Code != lti.DeploymentUnknown {
			return r
		}
	}
	if knows != nil && !knows(l.TargetLinkURI) {
		return lti.Refuse(lti.TargetLinkUnknown, "target_link_uri of the login is not an address of this academy")
	}
	return nil
}

// AuthRequestURL returns where to send the browser after a login: the
// authentication request of Security section 5.1.1.2. The parameters are merged
// into a query that the registered URL has already; of that, only parameters of
// the same names are replaced.
func AuthRequestURL(reg *Registration, l *LoginRequest, state, nonce string) (string, error) {
	params := lti.Params{
		{Name: "scope", Value: "openid"},
		{Name: "response_type", Value: "id_token"},
		{Name: "response_mode", Value: "form_post"},
		{Name: "prompt", Value: "none"},
		{Name: "client_id", Value: reg.ClientID},
		{Name: "redirect_uri", Value: reg.RedirectURI},
		{Name: "login_hint", Value: l.LoginHint},
		{Name: "state", Value: state},
		{Name: "nonce", Value: nonce},
	}
	if l.MessageHint != nil {
		params = append(params, lti.Param{Name: "lti_message_hint", Value: *l.MessageHint})
	}
	merged, err := mergeQuery(reg.AuthenticationURL, params)
	if err != nil {
		return "", lti.Refuse(lti.NotRegistered, "authentication URL of the registration is not usable").Because(err)
	}
	return merged, nil
}

// mergeQuery returns an http or https URL with parameters put behind a query
// that it has already. Of that query, parameters of the same names are left out
// and the rest stays as it is spelled. A fragment disappears.
func mergeQuery(rawURL string, params lti.Params) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", err
	}
	if u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", errors.New("not an absolute http or https URL")
	}
	var b strings.Builder
	for seq := range strings.SplitSeq(u.RawQuery, "&") {
		name, _, _ := strings.Cut(seq, "=")
		if name, err := url.QueryUnescape(name); seq == "" || err == nil && params.Count(name) > 0 {
			continue
		}
		separate(&b)
		b.WriteString(seq)
	}
	for _, p := range params {
		separate(&b)
		b.WriteString(p.Name)
		b.WriteByte('=')
		b.WriteString(oauth1.Escape(p.Value))
	}
	u.RawQuery, u.Fragment, u.RawFragment = b.String(), "", ""
	return u.String(), nil
}

func separate(b *strings.Builder) {
	if b.Len() > 0 {
		b.WriteByte('&')
	}
}
