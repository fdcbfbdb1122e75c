// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// approvedField is where a registration is approved.
const approvedField = "spec.registration.dynamic.approved"

// dynamic is what has become of the dynamic registration of one object; the zero value is that of an object without.
type dynamic struct {
	asked bool
	// link is in the table, linkStatus in status. linkVerdict says why there is no link.
	link        *routing.RegistrationLink
	linkStatus  v1alpha1.RegistrationLinkStatus
	linkVerdict verdict
	known       []routing.Registration
	// approved is the registration that spec approves, if it can be used; verdict says why not.
	approved *routing.Registration
	verdict  verdict
	// reason and message say how far it has come.
	reason, message string
}

// dynamic reads the registration link of an object, and what has registered by it, from their Secrets.
func (c *compiler) dynamic(kind, name string, spec *v1alpha1.DynamicRegistration) dynamic {
	if spec == nil {
		return dynamic{}
	}
	out := dynamic{asked: true}
	linkName, registeredName := v1alpha1.RegistrationSecretNames(kind, name)
	out.linkStatus.LinkSecretName = linkName
	out.link, out.linkVerdict = c.registrationLink(linkName)
	if out.link != nil {
		out.linkStatus.LinkExpiresAt = timestamp(out.link.ExpiresAt)
	}
	if secret := c.in.Secrets[registeredName]; secret != nil {
		out.known = keepRegistrations(decodeRegistrations(registrationKind(kind), secret.Data), spec.Approved)
	}
	out.approve(kind, name, c.in.Namespace, spec.Approved)
	return out
}

// approve finds the approved registration among the known ones, and says what else is to be done.
func (d *dynamic) approve(kind, name, namespace, id string) {
	var waiting []string
	for i := range d.known {
		if r := &d.known[i]; r.ID == id {
			d.approved = r
		} else {
			waiting = append(waiting, r.ID)
		}
	}
	switch {
	case id == "" && len(waiting) == 0:
		d.reason, d.message = v1alpha1.ReasonAwaitingRegistration, fmt.Sprintf(
			"hand the registration link over to the other party's administrator; it is in Secret %s, and printed by: "+
				"kubectl lti registration link %s/%s -n %s",
			d.linkStatus.LinkSecretName, registrationKind(kind), name, namespace)
		return
	case id == "":
		// In quotes: of an ID that happens to be all digits YAML makes a number.
		d.reason, d.message = v1alpha1.ReasonRegistrationPending, fmt.Sprintf(
			"registration %[1]s waits for approval. If its values in status.registration.known are those of the other party, put into the resource: "+
				"%[2]s: \"%[1]s\" — or run: "+
				"kubectl patch %[3]s %[4]s -n %[5]s --type merge -p '{\"spec\":{\"registration\":{\"dynamic\":{\"approved\":\"%[1]s\"}}}}'%[6]s",
			waiting[0], approvedField, strings.ToLower(kind), name, namespace, more(waiting[1:]))
		return
	case d.approved == nil:
		known := "none is known yet"
		if len(waiting) > 0 {
			known = "known are " + strings.Join(waiting, ", ")
		}
		d.verdict = refused(v1alpha1.ReasonRegistrationNotFound, fmt.Sprintf("%s: there is no registration %s; %s", approvedField, id, known))
	default:
		d.reason, d.message = v1alpha1.ReasonRegistered, fmt.Sprintf("registration %s is approved and used", id)
		if d.known[0].ID != id {
			d.message += fmt.Sprintf("; registration %s came later, and is not", d.known[0].ID)
		}
		d.verdict = checkRegistration(d.approved)
	}
	if !d.verdict.ok() {
		d.approved, d.reason, d.message = nil, d.verdict.reason, d.verdict.message
	}
}

// more names registrations that wait besides.
func more(ids []string) string {
	if len(ids) == 0 {
		return ""
	}
	return ". Older ones wait too: " + strings.Join(ids, ", ")
}

// registrationLink reads a link. Only the hash of its token gets into the table.
func (c *compiler) registrationLink(secretName string) (*routing.RegistrationLink, verdict) {
	secret := c.in.Secrets[secretName]
	if secret == nil {
		return nil, pending(secretName, fmt.Sprintf("the registration link (Secret %s) is being made", secretName))
	}
	bad := func(key string) verdict {
		return refused(v1alpha1.ReasonSecretInvalid, fmt.Sprintf(
			"Secret %s: %s is not what the operator wrote; restore it, or delete the Secret to have a new link made", secretName, key))
	}
	token := string(secret.Data[v1alpha1.SecretKeyRegistrationToken])
	if raw, err := base64.RawURLEncoding.Strict().DecodeString(token); err != nil || len(raw) != sha256.Size {
		return nil, bad(v1alpha1.SecretKeyRegistrationToken)
	}
	expires, err := time.Parse(time.RFC3339, string(secret.Data[v1alpha1.SecretKeyExpiresAt]))
	if err != nil {
		return nil, bad(v1alpha1.SecretKeyExpiresAt)
	}
	sum := sha256.Sum256([]byte(token))
	return &routing.RegistrationLink{TokenSHA256: sum[:], ExpiresAt: expires.UTC()}, verdict{}
}

// platform are the values of the approved registration of a platform; nil while there is none.
func (d *dynamic) platform() *routing.RegisteredPlatform {
	if d.approved == nil {
		return nil
	}
	return d.approved.Platform
}

// tool are the values of the approved registration of a tool; nil while there is none.
func (d *dynamic) tool() *routing.RegisteredTool {
	if d.approved == nil {
		return nil
	}
	return d.approved.Tool
}

// report writes into a result how far a registration has come. served tells whether its values are in the table; verdict
// why not, if not for the registration itself.
func (d *dynamic) report(r *Result, served bool, v verdict) {
	if !d.asked {
		return
	}
	r.Registered, r.RegistrationReason, r.RegistrationMessage = served, d.reason, d.message
	if d.approved != nil && !v.ok() {
		r.RegistrationReason, r.RegistrationMessage = v.reason, v.message
	}
}

// checkRegistration applies to an approved registration the rules that the API server applies to spec.lti13. Its values
// come from whoever opened the link.
func checkRegistration(r *routing.Registration) verdict {
	var bad string
	if p := r.Platform; p != nil {
		bad = badPlatform(p)
	} else {
		bad = badTool(r.Tool)
	}
	if bad == "" {
		return verdict{}
	}
	return refused(v1alpha1.ReasonRegistrationInvalid, fmt.Sprintf(
		"%s: registration %s cannot be used: %s; have the other party mend it and register again", approvedField, r.ID, bad))
}

// Limits of what the API server does not check, as those of spec.
const (
	maxIDLength     = 255
	maxURLLength    = 2048
	maxKeysetLength = 64 << 10
	maxRedirectURIs = 64
)

func badPlatform(p *routing.RegisteredPlatform) string {
	switch {
	case strings.Contains(p.Issuer, "?"):
		return "its issuer has a query"
	case !isID(p.ClientID) || p.ClientID == "":
		return "its clientID is missing, too long or not text"
	case !isID(p.DeploymentID):
		return "its deploymentID is too long or not text"
	case p.AccessTokenAudience != "" && p.AccessTokenURL == "":
		return "it has an accessTokenAudience without an accessTokenURL"
	case len(p.AccessTokenAudience) > maxURLLength || !isText(p.AccessTokenAudience):
		return "its accessTokenAudience is too long or not text"
	}
	if bad := badAddress("its issuer", p.Issuer, true); bad != "" {
		return bad
	}
	if bad := badAddress("its authenticationURL", p.AuthenticationURL, true); bad != "" {
		return bad
	}
	if bad := badAddress("its accessTokenURL", p.AccessTokenURL, false); bad != "" {
		return bad
	}
	return badKeyset(p.JWKSURL, p.JWKS)
}

func badTool(t *routing.RegisteredTool) string {
	if len(t.RedirectURIs) > maxRedirectURIs {
		return fmt.Sprintf("it has more than %d redirectURIs", maxRedirectURIs)
	}
	if bad := badAddress("its loginInitiationURL", t.LoginInitiationURL, true); bad != "" {
		return bad
	}
	for _, uri := range t.RedirectURIs {
		if bad := badAddress("one of its redirectURIs", uri, true); bad != "" {
			return bad
		}
	}
	if bad := badAddress("its launchURL", t.LaunchURL, false); bad != "" {
		return bad
	}
	if bad := badAddress("its deepLinkingURL", t.DeepLinkingURL, false); bad != "" {
		return bad
	}
	return badKeyset(t.JWKSURL, t.JWKS)
}

func badAddress(what, address string, required bool) string {
	if !required && address == "" || v1alpha1.PeerURL(address).Valid() {
		return ""
	}
	return fmt.Sprintf("%s is not an absolute https URL without fragment of at most %d characters", what, maxURLLength)
}

func badKeyset(address, inline string) string {
	switch {
	case (address == "") == (inline == ""):
		return "it must have exactly one of jwksURL and jwks"
	case inline == "":
		return badAddress("its jwksURL", address, true)
	case len(inline) > maxKeysetLength:
		return "its jwks is too long"
	}
	if bad := badInlineJWKS(inline); bad != "" {
		return "its jwks: " + bad
	}
	return ""
}

func isID(text string) bool { return utf8.RuneCountInString(text) <= maxIDLength && isText(text) }

func isText(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsGraphic(r) })
}

// platformRegistration is what status says of the registration of a platform.
func (d *dynamic) platformRegistration(spec *v1alpha1.DynamicRegistration) *v1alpha1.PlatformRegistrationStatus {
	if !d.asked {
		return nil
	}
	out := &v1alpha1.PlatformRegistrationStatus{RegistrationLinkStatus: d.linkStatus}
	for i := range d.known {
		p := d.known[i].Platform
		out.Known = append(out.Known, v1alpha1.KnownPlatformRegistration{
			KnownRegistration:   knownRegistration(&d.known[i], spec.Approved),
			Issuer:              fit(p.Issuer, maxURLLength),
			ClientID:            fit(p.ClientID, maxIDLength),
			AuthenticationURL:   fit(p.AuthenticationURL, maxURLLength),
			AccessTokenURL:      fit(p.AccessTokenURL, maxURLLength),
			AccessTokenAudience: fit(p.AccessTokenAudience, maxURLLength),
			JWKSURL:             fit(p.JWKSURL, maxURLLength),
			DeploymentID:        fit(p.DeploymentID, maxIDLength),
			Product:             fit(strings.TrimSpace(p.Product+" "+p.Version), maxNameLength),
		})
	}
	return out
}

// toolRegistration is what status says of the registration of a tool.
func (d *dynamic) toolRegistration(spec *v1alpha1.DynamicRegistration) *v1alpha1.ToolRegistrationStatus {
	if !d.asked {
		return nil
	}
	out := &v1alpha1.ToolRegistrationStatus{RegistrationLinkStatus: d.linkStatus}
	for i := range d.known {
		t := d.known[i].Tool
		out.Known = append(out.Known, v1alpha1.KnownToolRegistration{
			KnownRegistration:  knownRegistration(&d.known[i], spec.Approved),
			Name:               fit(t.Name, maxNameLength),
			LoginInitiationURL: fit(t.LoginInitiationURL, maxURLLength),
			JWKSURL:            fit(t.JWKSURL, maxURLLength),
			RedirectURIs:       fitAll(t.RedirectURIs, maxRedirectURIs, maxURLLength),
			LaunchURL:          fit(t.LaunchURL, maxURLLength),
			DeepLinkingURL:     fit(t.DeepLinkingURL, maxURLLength),
			Scopes:             fitAll(t.Scopes, maxShown, maxIDLength),
		})
	}
	return out
}

func knownRegistration(r *routing.Registration, approved string) v1alpha1.KnownRegistration {
	state := v1alpha1.RegistrationPending
	if r.ID == approved {
		state = v1alpha1.RegistrationApproved
	}
	return v1alpha1.KnownRegistration{ID: r.ID, RegisteredAt: metav1.NewTime(r.RegisteredAt.Truncate(time.Second)), State: state}
}

// Limits of what status shows. Of what a launch relies on it shows everything, since that is what is approved.
const (
	maxNameLength = 200
	maxShown      = 16
)

func fitAll(in []string, count, most int) []string {
	var out []string
	for _, text := range in[:min(len(in), count)] {
		out = append(out, fit(text, most))
	}
	return out
}

// fit makes what a stranger wrote fit for status: nothing that a terminal acts on, and no more than a number of
// characters.
func fit(text string, most int) string {
	visible := []rune(strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "")))
	if len(visible) > most {
		return string(visible[:most-1]) + "…"
	}
	return string(visible)
}
