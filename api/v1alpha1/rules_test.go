// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

var api client.Client

func TestMain(m *testing.M) {
	os.Exit(func() int {
		ctrl.SetLogger(logr.Discard())
		environment := &envtest.Environment{CRDDirectoryPaths: []string{crds}, ErrorIfCRDPathMissing: true}
		config, err := environment.Start()
		if err != nil {
			fmt.Fprintln(os.Stderr, "start the API server (make test builds it; or set KUBEBUILDER_ASSETS):", err)
			return 1
		}
		defer func() { _ = environment.Stop() }()
		if api, err = client.New(config, client.Options{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

var crds = filepath.Join("..", "..", "config", "crd")

// object builds a resource from the YAML of its spec.
func object(t *testing.T, kind, name, spec string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{}}}
	if err := yaml.Unmarshal([]byte("spec:\n"+indent(spec)), &o.Object); err != nil {
		t.Fatal(err)
	}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	o.SetNamespace("default")
	if name == "" {
		o.SetGenerateName("x-")
	} else {
		o.SetName(name)
	}
	return o
}

func indent(spec string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  ")
}

func academy(url string) string { return "title: Acme\nurl: " + url }

func platform(issuer, more string) string {
	return fmt.Sprintf("title: Moodle\nlti13:\n  issuer: %q\n  clientID: abc\n  authenticationURL: https://lms.example/auth\n%s", issuer, more)
}

const jwksURL = "  jwksURL: https://lms.example/jwks\n"

func activity(more string) string {
	return "title: Height\ntype: ELearning\nshare:\n  targetURL: https://academy.example/courses/42\n  signIn: LaunchCode\n" + more
}

// form and atTool are external activities; more continues lti12 or lti13.
func form(more string) string {
	return "title: Fire\ntype: ELearning\nexternal:\n  lti12:\n    launchURL: https://tool.example/launch\n    credentialsSecretRef: {name: s}\n" + more
}

func atTool(more string) string {
	return "title: Fire\ntype: ELearning\nexternal:\n  lti13:\n    toolRef: {name: lab}\n    resourceURL: https://tool.example/fire\n" + more
}

const formLink = "    resourceLinkID: fire\n"

// parameter is one parameter of a form.
func parameter(name string) string {
	return form(formLink + fmt.Sprintf("    parameters: [{name: %q, value: x}]\n", name))
}

func tool(more string) string {
	return "title: Lab\nlti13:\n  loginInitiationURL: https://tool.example/login\n" + more
}

const toolJWKS = "  jwksURL: https://tool.example/jwks\n"

// Every rule of the resources, from both sides. message is what a person must read; empty means accepted.
func TestRules(t *testing.T) {
	const (
		urlForm   = "url must be scheme://host or scheme://host:port"
		urlHTTPS  = "url must be https (http is allowed on loopback hosts only)"
		peerURL   = "must be an absolute https URL without user name and fragment"
		oneJWKS   = "give exactly one of jwksURL and jwks"
		ancestors = "frameAncestors must be origins"
		reserved  = "parameters must not be called user_id, roles"
		blanks    = "the name of a parameter must not hold blanks"
		oneWay    = "give exactly one of lti12 and lti13"
		exams     = "minimumScore is required for type Exam, and for no other type"
		learners  = "\nlearners: {oidc: {issuerURL: 'https://id.a.example', clientID: lti, clientSecretRef: {name: s}}}"
		webhook   = "\nresults: {webhook: {url: 'https://a.example/results', signingSecretRef: {name: s}}}"
	)
	for name, c := range map[string]struct{ kind, name, spec, message string }{
		"academy with https":                     {kind: "LTIAcademy", spec: academy("https://lti.acme.example")},
		"academy with a port":                    {kind: "LTIAcademy", spec: academy("https://lti.acme.example:8443")},
		"academy on localhost over http":         {kind: "LTIAcademy", spec: academy("http://lti.localhost:9402")},
		"academy on 127.0.0.1 over http":         {kind: "LTIAcademy", spec: academy("http://127.0.0.1:9402")},
		"academy on [::1] over http":             {kind: "LTIAcademy", spec: academy(`"http://[::1]:9402"`)},
		"academy over http elsewhere":            {kind: "LTIAcademy", spec: academy("http://lti.acme.example"), message: urlHTTPS},
		"academy on a host that ends like one":   {kind: "LTIAcademy", spec: academy("http://evil-localhost.example"), message: urlHTTPS},
		"academy url with a trailing slash":      {kind: "LTIAcademy", spec: academy("https://lti.acme.example/"), message: urlForm},
		"academy url with a path":                {kind: "LTIAcademy", spec: academy("https://lti.acme.example/lti"), message: urlForm},
		"academy url with a query":               {kind: "LTIAcademy", spec: academy("https://lti.acme.example?x=1"), message: urlForm},
		"academy url with a user name":           {kind: "LTIAcademy", spec: academy("https://me@lti.acme.example"), message: urlForm},
		"academy without title":                  {kind: "LTIAcademy", spec: "url: https://lti.acme.example", message: "spec.title"},
		"academy with a name that is too long":   {kind: "LTIAcademy", name: strings.Repeat("a", 41), spec: academy("https://a.example"), message: "at most 40 characters"},
		"academy with a name that starts with 1": {kind: "LTIAcademy", name: "1a", spec: academy("https://a.example"), message: "starts with a letter"},
		"academy with a dot in its name":         {kind: "LTIAcademy", name: "a.b", spec: academy("https://a.example"), message: "lower-case letters, digits and - only"},
		"two replicas on SQLite":                 {kind: "LTIAcademy", spec: academy("https://a.example") + "\nhandler: {replicas: 2}", message: "at most 1 with SQLite"},
		"many replicas on PostgreSQL":            {kind: "LTIAcademy", spec: academy("https://a.example") + "\nhandler: {replicas: 3}\nstorage: {postgres: {connectionSecretRef: {name: db}}}"},
		"PostgreSQL without a Secret":            {kind: "LTIAcademy", spec: academy("https://a.example") + "\nstorage: {postgres: {}}", message: "connectionSecretRef"},
		"two storages":                           {kind: "LTIAcademy", spec: academy("https://a.example") + "\nstorage: {sqlite: {}, postgres: {connectionSecretRef: {name: db}}}", message: "storage is either sqlite or postgres"},
		"one replica on SQLite":                  {kind: "LTIAcademy", spec: academy("https://a.example") + "\nhandler: {replicas: 1}"},
		"a network":                              {kind: "LTIAcademy", spec: academy("https://a.example") + "\nnetwork: {allowPrivateCIDRs: [10.0.0.0/8, 'fd00::/8']}"},
		"a network that is none":                 {kind: "LTIAcademy", spec: academy("https://a.example") + "\nnetwork: {allowPrivateCIDRs: [10.0.0.1]}", message: "must be networks such as"},
		"a client":                               {kind: "LTIAcademy", spec: academy("https://a.example") + "\nclients: [{clientID: app-1, clientSecretRef: {name: s}}]"},
		"a client with a colon":                  {kind: "LTIAcademy", spec: academy("https://a.example") + "\nclients: [{clientID: 'a:b', clientSecretRef: {name: s}}]", message: "clientID may hold letters"},
		"a client that signs people in":          {kind: "LTIAcademy", spec: academy("https://a.example") + "\nclients: [{clientID: app-1, clientSecretRef: {name: s}, initiateLoginURI: 'https://app.example/sign-in?tenant=1', redirectURIs: ['https://app.example/callback']}]"},
		"a client without redirect URIs":         {kind: "LTIAcademy", spec: academy("https://a.example") + "\nclients: [{clientID: app-1, clientSecretRef: {name: s}, initiateLoginURI: 'https://app.example/sign-in'}]", message: "initiateLoginURI and redirectURIs belong together"},
		"a client with redirect URIs only":       {kind: "LTIAcademy", spec: academy("https://a.example") + "\nclients: [{clientID: app-1, clientSecretRef: {name: s}, redirectURIs: ['https://app.example/callback']}]", message: "initiateLoginURI and redirectURIs belong together"},
		"a client with a redirect URI over http": {kind: "LTIAcademy", spec: academy("https://a.example") + "\nclients: [{clientID: app-1, clientSecretRef: {name: s}, initiateLoginURI: 'https://app.example/sign-in', redirectURIs: ['http://app.example/callback']}]", message: peerURL},
		"a client with a script":                 {kind: "LTIAcademy", spec: academy("https://a.example") + "\nclients: [{clientID: app-1, clientSecretRef: {name: s}, initiateLoginURI: 'javascript:alert(1)', redirectURIs: ['https://app.example/callback']}]", message: peerURL},
		"learners":                               {kind: "LTIAcademy", spec: academy("https://a.example") + "\nlearners: {oidc: {issuerURL: 'https://id.a.example/realms/x', clientID: lti, clientSecretRef: {name: s}, subjectClaim: scim_id}}"},
		"learners without a secret":              {kind: "LTIAcademy", spec: academy("https://a.example") + "\nlearners: {oidc: {issuerURL: 'https://id.a.example', clientID: lti}}", message: "clientSecretRef"},
		"learners of an issuer over http":        {kind: "LTIAcademy", spec: academy("https://a.example") + "\nlearners: {oidc: {issuerURL: 'http://id.a.example', clientID: lti, clientSecretRef: {name: s}}}", message: peerURL},
		"authors":                                {kind: "LTIAcademy", spec: academy("https://a.example") + learners + "\nauthors: {claim: groups, values: [Course authors, /staff/authors]}"},
		"authors without learners":               {kind: "LTIAcademy", spec: academy("https://a.example") + "\nauthors: {claim: groups, values: [a]}", message: "authors needs learners"},
		"authors without a claim":                {kind: "LTIAcademy", spec: academy("https://a.example") + learners + "\nauthors: {values: [a]}", message: "authors.claim"},
		"authors without values":                 {kind: "LTIAcademy", spec: academy("https://a.example") + learners + "\nauthors: {claim: groups, values: []}", message: "at least 1 items"},
		"authors of an empty value":              {kind: "LTIAcademy", spec: academy("https://a.example") + learners + "\nauthors: {claim: groups, values: ['']}", message: "at least 1 chars"},
		"authors of one value twice":             {kind: "LTIAcademy", spec: academy("https://a.example") + learners + "\nauthors: {claim: groups, values: [a, a]}", message: "Duplicate value"},
		"a directory":                            {kind: "LTIAcademy", spec: academy("https://a.example") + "\nprovisioning: {scim: {url: 'https://a.example/scim/v2', tokenSecretRef: {name: s}, linkFilter: 'userType eq \"Learner\"'}}"},
		"a directory with a query":               {kind: "LTIAcademy", spec: academy("https://a.example") + "\nprovisioning: {scim: {url: 'https://a.example/scim?x=1', tokenSecretRef: {name: s}}}", message: "url must not have a query"},
		"a directory without a token":            {kind: "LTIAcademy", spec: academy("https://a.example") + "\nprovisioning: {scim: {url: 'https://a.example/scim'}}", message: "tokenSecretRef"},
		"unknown activation":                     {kind: "LTIAcademy", spec: academy("https://a.example") + "\nactivation: Off", message: "Unsupported value"},

		"platform with a title only":            {kind: "LTIPlatform", spec: "title: Moodle"},
		"platform without title":                {kind: "LTIPlatform", spec: "activation: Activated", message: "spec.title"},
		"platform with a jwksURL":               {kind: "LTIPlatform", spec: platform("https://lms.example", jwksURL)},
		"platform with a jwks":                  {kind: "LTIPlatform", spec: platform("https://lms.example/path/", "  jwks: '{\"keys\": []}'\n")},
		"platform with neither":                 {kind: "LTIPlatform", spec: platform("https://lms.example", ""), message: oneJWKS},
		"platform with both":                    {kind: "LTIPlatform", spec: platform("https://lms.example", jwksURL+"  jwks: '{}'\n"), message: oneJWKS},
		"issuer over http":                      {kind: "LTIPlatform", spec: platform("http://lms.example", jwksURL), message: peerURL},
		"issuer over http on localhost":         {kind: "LTIPlatform", spec: platform("http://lms.localhost:9401", jwksURL)},
		"issuer with a user name":               {kind: "LTIPlatform", spec: platform("https://me@lms.example", jwksURL), message: peerURL},
		"issuer with a fragment":                {kind: "LTIPlatform", spec: platform("https://lms.example/#x", jwksURL), message: peerURL},
		"issuer with a query":                   {kind: "LTIPlatform", spec: platform("https://lms.example/?x=1", jwksURL), message: "issuer must not have a query"},
		"issuer that is no URL":                 {kind: "LTIPlatform", spec: platform("moodle", jwksURL), message: peerURL},
		"issuer with a script":                  {kind: "LTIPlatform", spec: platform("javascript:alert(1)", jwksURL), message: peerURL},
		"platform with an access token URL":     {kind: "LTIPlatform", spec: platform("https://lms.example", jwksURL+"  accessTokenURL: https://lms.example/token\n  accessTokenAudience: lms\n")},
		"an audience of nothing":                {kind: "LTIPlatform", spec: platform("https://lms.example", jwksURL+"  accessTokenAudience: lms\n"), message: "accessTokenAudience needs accessTokenURL"},
		"activity that enrols":                  {kind: "LTIActivity", spec: activity("  enrolment: {group: Safety}")},
		"activity that enrols in nothing":       {kind: "LTIActivity", spec: activity("  enrolment: {}"), message: "enrolment.group"},
		"activity that signs in":                {kind: "LTIActivity", spec: "title: Height\ntype: ELearning\nshare: {targetURL: 'https://academy.example/courses/42', signIn: OpenIDConnect, clientID: app-1}"},
		"activity that signs in by password":    {kind: "LTIActivity", spec: "title: Height\ntype: ELearning\nshare: {targetURL: 'https://academy.example/courses/42', signIn: Password}", message: "Unsupported value"},
		"activity with a grade":                 {kind: "LTIActivity", spec: activity("  grade: Progress\n  lti13: {lineItem: FromPlatform}")},
		"activity with a grade of its own kind": {kind: "LTIActivity", spec: activity("  grade: Stars"), message: "Unsupported value"},
		"activity with an unknown line item":    {kind: "LTIActivity", spec: activity("  lti13: {lineItem: Sometimes}"), message: "Unsupported value"},
		"listed deployments":                    {kind: "LTIPlatform", spec: "title: M\ndeployments: {policy: Listed, list: [{id: '1'}]}"},
		"listed deployments without a list":     {kind: "LTIPlatform", spec: "title: M\ndeployments: {policy: Listed}", message: "needs at least one entry"},
		"any deployment with a list":            {kind: "LTIPlatform", spec: "title: M\ndeployments: {policy: Any, list: [{id: '1'}]}", message: "policy Any takes no list"},
		"the same deployment twice":             {kind: "LTIPlatform", spec: "title: M\ndeployments: {policy: Listed, list: [{id: '1'}, {id: '1'}]}", message: "Duplicate value"},
		"frame ancestors":                       {kind: "LTIPlatform", spec: "title: M\nframeAncestors: ['https://lms.example', 'https://*.example', 'http://lms.localhost:9401']"},
		"a frame ancestor with a path":          {kind: "LTIPlatform", spec: "title: M\nframeAncestors: ['https://lms.example/x']", message: ancestors},
		"a frame ancestor that adds a rule":     {kind: "LTIPlatform", spec: "title: M\nframeAncestors: ['https://a.example; script-src *']", message: ancestors},
		"platform with a name that is too long": {kind: "LTIPlatform", name: strings.Repeat("a", 64), spec: "title: M", message: "at most 63 characters"},

		"aliases":                                   {kind: "LTIAcademy", spec: academy("https://a.example") + "\naliases: ['https://brand.example', 'https://brand.example:8443', 'http://lti.localhost:9402']"},
		"an alias over http":                        {kind: "LTIAcademy", spec: academy("https://a.example") + "\naliases: ['http://brand.example']", message: "aliases must be https://host"},
		"an alias with a path":                      {kind: "LTIAcademy", spec: academy("https://a.example") + "\naliases: ['https://brand.example/lti']", message: "aliases must be https://host"},
		"an alias that is the url":                  {kind: "LTIAcademy", spec: academy("https://a.example") + "\naliases: ['https://a.example']", message: "aliases must not repeat url"},
		"trusted domains":                           {kind: "LTIAcademy", spec: academy("https://a.example") + "\nusers: {linkByEmail: TrustedDomains, trustedEmailDomains: [example.org]}"},
		"trusted domains without a list":            {kind: "LTIAcademy", spec: academy("https://a.example") + "\nusers: {linkByEmail: TrustedDomains}", message: "needs at least one entry"},
		"a list of domains for nothing":             {kind: "LTIPlatform", spec: "title: M\nusers: {trustedEmailDomains: [example.org]}", message: "for linkByEmail TrustedDomains only"},
		"a list of domains for all":                 {kind: "LTIPlatform", spec: "title: M\nusers: {linkByEmail: Always, trustedEmailDomains: [example.org]}", message: "for linkByEmail TrustedDomains only"},
		"a domain with an @":                        {kind: "LTIPlatform", spec: "title: M\nusers: {linkByEmail: TrustedDomains, trustedEmailDomains: ['@example.org']}", message: "lower-case domains"},
		"an unknown way of linking":                 {kind: "LTIPlatform", spec: "title: M\nusers: {linkByEmail: Sometimes}", message: "Unsupported value"},
		"a realm and previous issuers":              {kind: "LTIPlatform", spec: "title: M\nusers: {realm: old-moodle, previousIssuers: ['https://old.example'], linkByEmail: Never}"},
		"a realm with a slash":                      {kind: "LTIPlatform", spec: "title: M\nusers: {realm: a/lti12}", message: "realm may hold"},
		"a realm with a colon":                      {kind: "LTIPlatform", spec: "title: M\nusers: {realm: 'lti12:x'}", message: "realm may hold"},
		"a key for the platform":                    {kind: "LTIPlatform", spec: "title: M\nlti12: {roles: Accept, realm: Shared, credentialsSecretRef: {name: s}}"},
		"a key for the platform, generated":         {kind: "LTIPlatform", spec: "title: M\nlti12: {}"},
		"roles that are neither":                    {kind: "LTIPlatform", spec: "title: M\nlti12: {roles: Trust}", message: "Unsupported value"},
		"activity with a key of a platform":         {kind: "LTIActivity", spec: activity("  lti12: {platformRef: {name: moodle}, roles: Ignore}")},
		"a signing key of one's own":                {kind: "LTIPlatform", spec: "title: M\nsigningKeySecretRef: {name: mine}\ndeletionPolicy: Delete"},
		"a tool with a signing key of one's own":    {kind: "LTITool", spec: "title: M\nsigningKeySecretRef: {name: mine}\ndeletionPolicy: Retain"},
		"a signing key without a name":              {kind: "LTITool", spec: "title: M\nsigningKeySecretRef: {name: ''}", message: "at least 1 chars"},
		"an unknown deletion policy":                {kind: "LTITool", spec: "title: M\ndeletionPolicy: Orphan", message: "Unsupported value"},
		"activity whose Secret goes with it":        {kind: "LTIActivity", spec: activity("") + "\ndeletionPolicy: Delete"},
		"keys that are rotated":                     {kind: "LTIAcademy", spec: academy("https://lti.acme.example") + "\nkeys: {rotation: Automatic, rotateAfterDays: 30, overlapDays: 3}"},
		"keys that are rotated, as usual":           {kind: "LTIAcademy", spec: academy("https://lti.acme.example") + "\nkeys: {rotation: Automatic}"},
		"keys that are rotated by hand":             {kind: "LTIAcademy", spec: academy("https://lti.acme.example") + "\nkeys: {overlapDays: 100}"},
		"an age for keys that are rotated by hand":  {kind: "LTIAcademy", spec: academy("https://lti.acme.example") + "\nkeys: {rotateAfterDays: 30}", message: "rotateAfterDays is for rotation Automatic only"},
		"an overlap longer than the age":            {kind: "LTIAcademy", spec: academy("https://lti.acme.example") + "\nkeys: {rotation: Automatic, rotateAfterDays: 7}", message: "overlapDays (left out: 7) must be less than rotateAfterDays"},
		"an overlap longer than the usual age":      {kind: "LTIAcademy", spec: academy("https://lti.acme.example") + "\nkeys: {rotation: Automatic, overlapDays: 90}", message: "overlapDays (left out: 7) must be less than rotateAfterDays"},
		"no overlap":                                {kind: "LTIAcademy", spec: academy("https://lti.acme.example") + "\nkeys: {overlapDays: 0}", message: "greater than or equal to 1"},
		"tool with a title only":                    {kind: "LTITool", spec: "title: Lab"},
		"tool with a name that is too long":         {kind: "LTITool", name: strings.Repeat("a", 64), spec: "title: M", message: "at most 63 characters"},
		"activity that is shared":                   {kind: "LTIActivity", spec: activity("")},
		"activity that is not shared":               {kind: "LTIActivity", spec: "title: Height\ntype: Microlearning"},
		"activity without type":                     {kind: "LTIActivity", spec: "title: Height", message: "spec.type"},
		"activity of an unknown type":               {kind: "LTIActivity", spec: "title: Height\ntype: Course", message: "Unsupported value"},
		"activity with a target over http":          {kind: "LTIActivity", spec: strings.Replace(activity(""), "https://academy", "http://academy", 1), message: peerURL},
		"activity that takes no time":               {kind: "LTIActivity", spec: "title: Height\ntype: ELearning\ndurationMinutes: 0", message: "greater than or equal to 1"},
		"activity for labelled platforms":           {kind: "LTIActivity", spec: activity("  platforms: {matchLabels: {a: b}}")},
		"activity for platforms without labels":     {kind: "LTIActivity", spec: activity("  platforms: {matchLabels: {}}"), message: "at least 1 properties"},
		"tool with a registration":                  {kind: "LTITool", spec: tool(toolJWKS + "  launchURL: https://tool.example/launch\n  redirectURIs: ['https://tool.example/a', 'https://tool.example/b?c=d']")},
		"tool with a jwks":                          {kind: "LTITool", spec: tool("  jwks: '{\"keys\": []}'\n")},
		"tool with neither":                         {kind: "LTITool", spec: tool(""), message: oneJWKS},
		"tool with both":                            {kind: "LTITool", spec: tool(toolJWKS + "  jwks: '{}'\n"), message: oneJWKS},
		"tool without a login URL":                  {kind: "LTITool", spec: "title: Lab\nlti13:\n" + toolJWKS, message: "loginInitiationURL"},
		"tool with a login URL over http":           {kind: "LTITool", spec: strings.Replace(tool(toolJWKS), "https://tool.example/login", "http://tool.example/login", 1), message: peerURL},
		"tool with a launch URL over http":          {kind: "LTITool", spec: tool(toolJWKS + "  launchURL: http://tool.example/launch"), message: peerURL},
		"tool with a deep linking URL":              {kind: "LTITool", spec: tool(toolJWKS + "  deepLinkingURL: https://tool.example/choose\nservices: {deepLinking: Disabled}")},
		"tool with a deep linking URL over http":    {kind: "LTITool", spec: tool(toolJWKS + "  deepLinkingURL: http://tool.example/choose"), message: peerURL},
		"tool with deep linking of its own kind":    {kind: "LTITool", spec: "title: Lab\nservices: {deepLinking: Sometimes}", message: "Unsupported value"},
		"tool with a redirect URI over http":        {kind: "LTITool", spec: tool(toolJWKS + "  redirectURIs: ['http://tool.example/launch']"), message: peerURL},
		"tool with a redirect URI that is a script": {kind: "LTITool", spec: tool(toolJWKS + "  redirectURIs: ['javascript:alert(1)']"), message: peerURL},
		"tool with a redirect URI twice":            {kind: "LTITool", spec: tool(toolJWKS + "  redirectURIs: ['https://tool.example/a', 'https://tool.example/a']"), message: "Duplicate value"},
		"tool with no redirect URI":                 {kind: "LTITool", spec: tool(toolJWKS + "  redirectURIs: []"), message: "at least 1 items"},
		"tool with 64 redirect URIs":                {kind: "LTITool", spec: tool(toolJWKS + "  redirectURIs: [" + many(64, "'https://tool.example/%d'") + "]")},
		"tool with 65 redirect URIs":                {kind: "LTITool", spec: tool(toolJWKS + "  redirectURIs: [" + many(65, "'https://tool.example/%d'") + "]"), message: "at most 64 items"},
		"tool that is told and may do little":       {kind: "LTITool", spec: "title: Lab\nprivacy: {name: Withhold, email: Withhold}\nservices: {assignmentAndGrade: Disabled, namesAndRoles: Disabled}"},
		"tool that is told and may do everything":   {kind: "LTITool", spec: "title: Lab\nprivacy: {name: Share, email: Share}\nservices: {assignmentAndGrade: GradesAndLineItems, namesAndRoles: Enabled, deepLinking: Enabled}"},
		"tool that may send grades":                 {kind: "LTITool", spec: "title: Lab\nprivacy: {}\nservices: {assignmentAndGrade: Grades}"},
		"tool with half a name":                     {kind: "LTITool", spec: "title: Lab\nprivacy: {name: Initials}", message: "Unsupported value"},
		"tool with half an address":                 {kind: "LTITool", spec: "title: Lab\nprivacy: {email: Domain}", message: "Unsupported value"},
		"tool with unknown rights to grades":        {kind: "LTITool", spec: "title: Lab\nservices: {assignmentAndGrade: Enabled}", message: "Unsupported value"},
		"tool with unknown rights to names":         {kind: "LTITool", spec: "title: Lab\nservices: {namesAndRoles: Names}", message: "Unsupported value"},
		"a webhook":                                 {kind: "LTIAcademy", spec: academy("https://a.example") + webhook},
		"a webhook over http":                       {kind: "LTIAcademy", spec: academy("https://a.example") + strings.Replace(webhook, "https:", "http:", 1), message: peerURL},
		"a webhook that is not signed":              {kind: "LTIAcademy", spec: academy("https://a.example") + "\nresults: {webhook: {url: 'https://a.example/results'}}", message: "signingSecretRef"},
		"results that go nowhere":                   {kind: "LTIAcademy", spec: academy("https://a.example") + "\nresults: {}", message: "results.webhook"},
		"activity by a form":                        {kind: "LTIActivity", spec: form(formLink + "    privacy: {name: Withhold}\n    parameters: [{name: colour, value: red}, {name: custom_shade}, {name: 'user', value: $User.id}]\n  presentation: Embedded\n  returnURL: https://academy.example/courses")},
		"activity at a tool":                        {kind: "LTIActivity", spec: atTool("    resourceLinkID: fire 1\n    parameters: [{name: lti_x, value: ''}]\n  presentation: NewWindow")},
		"activity at a tool, as usual":              {kind: "LTIActivity", spec: atTool("")},
		"external by neither":                       {kind: "LTIActivity", spec: "title: Fire\ntype: ELearning\nexternal: {presentation: NewWindow}", message: oneWay},
		"external by both":                          {kind: "LTIActivity", spec: form(formLink + "  lti13: {toolRef: {name: lab}, resourceURL: 'https://tool.example'}"), message: oneWay},
		"external in a way that is none":            {kind: "LTIActivity", spec: atTool("  presentation: Popup"), message: "Unsupported value"},
		"external that returns over http":           {kind: "LTIActivity", spec: atTool("  returnURL: http://academy.example"), message: peerURL},
		"shared and external":                       {kind: "LTIActivity", spec: atTool("share: {targetURL: 'https://academy.example/42', signIn: LaunchCode}"), message: "give share or external, not both"},
		"an exam":                                   {kind: "LTIActivity", spec: strings.Replace(atTool(""), "ELearning", "Exam\nminimumScore: 70", 1)},
		"an exam for nobody":                        {kind: "LTIActivity", spec: "title: Fire\ntype: Exam\nminimumScore: 100"},
		"an exam without a minimum":                 {kind: "LTIActivity", spec: "title: Fire\ntype: Exam", message: exams},
		"an exam that everybody passes":             {kind: "LTIActivity", spec: "title: Fire\ntype: Exam\nminimumScore: 0", message: "greater than or equal to 1"},
		"an exam that nobody passes":                {kind: "LTIActivity", spec: "title: Fire\ntype: Exam\nminimumScore: 101", message: "less than or equal to 100"},
		"a minimum for what is no exam":             {kind: "LTIActivity", spec: "title: Fire\ntype: ELearning\nminimumScore: 70", message: exams},
		"an exam that is shared":                    {kind: "LTIActivity", spec: strings.Replace(activity(""), "ELearning", "Exam\nminimumScore: 70", 1), message: "type Exam cannot be shared"},
		"a playlist that is shared":                 {kind: "LTIActivity", spec: strings.Replace(activity(""), "ELearning", "LearningPlaylist", 1)},
		"a playlist that is external":               {kind: "LTIActivity", spec: strings.Replace(atTool(""), "ELearning", "LearningPlaylist", 1), message: "cannot be external; ELearning and Exam can"},
		"a microlearning that is external":          {kind: "LTIActivity", spec: strings.Replace(atTool(""), "ELearning", "Microlearning", 1), message: "cannot be external; ELearning and Exam can"},
		"a form without a Secret":                   {kind: "LTIActivity", spec: "title: Fire\ntype: ELearning\nexternal: {lti12: {launchURL: 'https://tool.example', resourceLinkID: x}}", message: "credentialsSecretRef"},
		"a form over http":                          {kind: "LTIActivity", spec: strings.Replace(form(formLink), "https://tool", "http://tool", 1), message: peerURL},
		"a form without a resource link":            {kind: "LTIActivity", spec: form(""), message: "resourceLinkID"},
		"a form with an empty resource link":        {kind: "LTIActivity", spec: form("    resourceLinkID: ''\n"), message: "at least 1 chars"},
		"a form with any resource link":             {kind: "LTIActivity", spec: form("    resourceLinkID: ' Brød & <ost> '\n")},
		"a form with a long resource link":          {kind: "LTIActivity", spec: form("    resourceLinkID: " + strings.Repeat("ø", 255) + "\n")},
		"a form with a resource link too long":      {kind: "LTIActivity", spec: form("    resourceLinkID: " + strings.Repeat("ø", 256) + "\n"), message: "Too long"},
		"a form with a line end in its link":        {kind: "LTIActivity", spec: form("    resourceLinkID: \"a\\nb\"\n"), message: "resourceLinkID must not hold control characters"},
		"a form with a C1 control in its link":      {kind: "LTIActivity", spec: form("    resourceLinkID: \"a\\u0085b\"\n"), message: "resourceLinkID must not hold control characters"},
		"a tool with an empty name":                 {kind: "LTIActivity", spec: strings.Replace(atTool(""), "lab", "''", 1), message: "at least 1 chars"},
		"a resource URL over http":                  {kind: "LTIActivity", spec: strings.Replace(atTool(""), "https://tool", "http://tool", 1), message: peerURL},
		"a resource link beyond ASCII":              {kind: "LTIActivity", spec: atTool("    resourceLinkID: brød"), message: "printable ASCII characters only"},
		"a resource link with a line end":           {kind: "LTIActivity", spec: atTool("    resourceLinkID: \"a\\n\""), message: "printable ASCII characters only"},
		"an empty resource link":                    {kind: "LTIActivity", spec: atTool("    resourceLinkID: ''"), message: "at least 1 chars"},
		"64 parameters":                             {kind: "LTIActivity", spec: form(formLink + "    parameters: [" + many(64, "{name: p%d}") + "]\n")},
		"65 parameters":                             {kind: "LTIActivity", spec: form(formLink + "    parameters: [" + many(65, "{name: p%d}") + "]\n"), message: "at most 64 items"},
		"65 parameters for a tool":                  {kind: "LTIActivity", spec: atTool("    parameters: [" + many(65, "{name: p%d}") + "]\n"), message: "at most 64 items"},
		"a parameter twice":                         {kind: "LTIActivity", spec: form(formLink + "    parameters: [{name: a}, {name: a}]\n"), message: "Duplicate value"},
		"a parameter with and without custom_":      {kind: "LTIActivity", spec: form(formLink + "    parameters: [{name: custom_a}, {name: b}, {name: a}]\n"), message: "both with and without custom_"},
		"a parameter with custom_ twice":            {kind: "LTIActivity", spec: form(formLink + "    parameters: [{name: custom_custom_a}, {name: custom_a}]\n")},
		"a parameter with and without, for a tool":  {kind: "LTIActivity", spec: atTool("    parameters: [{name: custom_a}, {name: a}]\n")},
		"a parameter without a name":                {kind: "LTIActivity", spec: parameter(""), message: "at least 1 chars"},
		"a parameter with a blank":                  {kind: "LTIActivity", spec: parameter("a b"), message: blanks},
		"a parameter with a wide blank":             {kind: "LTIActivity", spec: parameter("a\u00a0b"), message: blanks},
		"a parameter with a tab":                    {kind: "LTIActivity", spec: parameter("a\t"), message: blanks},
		"a parameter with a control character":      {kind: "LTIActivity", spec: parameter("a\x7f"), message: blanks},
		"a parameter with a blank, for a tool":      {kind: "LTIActivity", spec: atTool("    parameters: [{name: a b}]\n"), message: blanks},
		"a parameter with a long name":              {kind: "LTIActivity", spec: parameter(strings.Repeat("a", 128))},
		"a parameter with a name too long":          {kind: "LTIActivity", spec: parameter(strings.Repeat("a", 129)), message: "Too long"},
		"a parameter with a value too long":         {kind: "LTIActivity", spec: form(formLink + "    parameters: [{name: a, value: " + strings.Repeat("x", 2049) + "}]\n"), message: "Too long"},
		"a parameter that signs":                    {kind: "LTIActivity", spec: parameter("oauth_signature"), message: reserved},
		"a parameter that signs, in capitals":       {kind: "LTIActivity", spec: parameter("OAuth_nonce"), message: reserved},
		"a parameter that signs, with custom_":      {kind: "LTIActivity", spec: parameter("custom_oauth_nonce"), message: reserved},
		"a parameter that is a version":             {kind: "LTIActivity", spec: parameter("lti_version"), message: reserved},
		"a parameter that is a version in custom_":  {kind: "LTIActivity", spec: parameter("Custom_LTI_version"), message: reserved},
		"a parameter that is a user":                {kind: "LTIActivity", spec: parameter("User_ID"), message: reserved},
		"a parameter that is a user in custom_":     {kind: "LTIActivity", spec: parameter("custom_custom_user_id"), message: reserved},
		"a parameter that is a role":                {kind: "LTIActivity", spec: parameter("ROLES"), message: reserved},
		"a parameter that begins like a role":       {kind: "LTIActivity", spec: parameter("roles_of_all")},
		"a parameter that ends like a user":         {kind: "LTIActivity", spec: parameter("my_user_id")},
		"a parameter that begins with lti":          {kind: "LTIActivity", spec: parameter("ltix")},
		"activity with a name that is too long":     {kind: "LTIActivity", name: strings.Repeat("a", 201), spec: activity(""), message: "at most 200 characters"},
	} {
		t.Run(name, func(t *testing.T) { try(t, object(t, c.kind, c.name, c.spec), c.message) })
	}
}

// try creates an object, which must be refused with a message; accepted if that is empty.
func try(t *testing.T, o client.Object, message string) {
	t.Helper()
	err := api.Create(t.Context(), o)
	switch {
	case message == "" && err != nil:
		t.Error(err)
	case message != "" && err == nil:
		t.Error("accepted")
	case message != "" && !strings.Contains(err.Error(), message):
		t.Errorf("refused without saying %q: %v", message, err)
	}
}

// many joins n copies of a text with their number in it.
func many(n int, format string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(all, ", ")
}

func TestTheURLOfAnAcademyCannotChange(t *testing.T) {
	a := object(t, "LTIAcademy", "immutable", academy("https://lti.acme.example"))
	if err := api.Create(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedField(a.Object, "https://other.example", "spec", "url"); err != nil {
		t.Fatal(err)
	}
	if err := api.Update(t.Context(), a); err == nil || !strings.Contains(err.Error(), "url cannot be changed") {
		t.Error(err)
	}
}

func TestTheRealmOfAPlatformCannotChange(t *testing.T) {
	const message = "users.realm cannot be changed"
	for name, c := range map[string]struct{ before, after, message string }{
		"set to the name that it had":         {"title: M", "title: M\nusers: {realm: NAME}", ""},
		"left out after it was the name":      {"title: M\nusers: {realm: NAME}", "title: M", ""},
		"set to another one":                  {"title: M", "title: M\nusers: {realm: other}", message},
		"changed":                             {"title: M\nusers: {realm: one}", "title: M\nusers: {realm: two}", message},
		"left out after it was another one":   {"title: M\nusers: {realm: one}", "title: M\nusers: {linkByEmail: Never}", message},
		"other settings of the users changed": {"title: M\nusers: {realm: one}", "title: M\nusers: {realm: one, linkByEmail: Always}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			id := "realm-" + strings.ReplaceAll(name, " ", "-")
			o := object(t, "LTIPlatform", id, strings.ReplaceAll(c.before, "NAME", id))
			if err := api.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			o.Object["spec"] = object(t, "LTIPlatform", id, strings.ReplaceAll(c.after, "NAME", id)).Object["spec"]
			switch err := api.Update(t.Context(), o); {
			case c.message == "" && err != nil:
				t.Error(err)
			case c.message != "" && (err == nil || !strings.Contains(err.Error(), c.message)):
				t.Error(err)
			}
		})
	}
}

// Without a condition kstatus would take a new object for ready.
func TestANewObjectIsNotReady(t *testing.T) {
	for kind, spec := range map[string]string{
		"LTIAcademy": academy("https://lti.acme.example"), "LTIPlatform": "title: M", "LTITool": "title: M", "LTIActivity": activity(""),
	} {
		o := object(t, kind, "", spec)
		if err := api.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		conditions, _, err := unstructured.NestedSlice(o.Object, "status", "conditions")
		if err != nil || len(conditions) != 1 {
			t.Fatalf("%s: %v, %v", kind, conditions, err)
		}
		c, ok := conditions[0].(map[string]any)
		if !ok || c["type"] != v1alpha1.ConditionReady || c["status"] != string(metav1.ConditionUnknown) || c["reason"] != v1alpha1.ReasonPending {
			t.Errorf("%s is born with %v", kind, c)
		}
	}
}

// What a GitOps tool applies is what is stored: no default, no controller and no second apply changes it.
func TestSamplesApplyWithoutADifference(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "samples", "*", "*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// Each folder is one installation.
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "samples-" + filepath.Base(filepath.Dir(file))}}
		if err := api.Create(t.Context(), namespace); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		for document := range strings.SplitSeq(string(text), "\n---\n") {
			applied := map[string]any{}
			if err := yaml.Unmarshal([]byte(document), &applied); err != nil {
				t.Fatal(file, err)
			}
			created := apply(t, namespace.Name, applied)
			// The API server itself tidies its record of field owners once, in the apply after the one that creates.
			first, second := apply(t, namespace.Name, applied), apply(t, namespace.Name, applied)
			if first.GetResourceVersion() != second.GetResourceVersion() || created.GetGeneration() != second.GetGeneration() {
				t.Errorf("%s: %s is written again although nothing changed", file, first.GetName())
			}
			if want, got := applied["spec"], second.Object["spec"]; fmt.Sprint(want) != fmt.Sprint(got) {
				t.Errorf("%s: stored is\n%v, not\n%v", file, got, want)
			}
		}
	}
}

func apply(t *testing.T, namespace string, content map[string]any) *unstructured.Unstructured {
	t.Helper()
	o := (&unstructured.Unstructured{Object: content}).DeepCopy()
	o.SetNamespace(namespace)
	if err := api.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("gitops"), client.ForceOwnership); err != nil {
		t.Fatal(err)
	}
	stored := &unstructured.Unstructured{}
	stored.SetGroupVersionKind(o.GroupVersionKind())
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(o), stored); err != nil {
		t.Fatal(err)
	}
	return stored
}

// Client-side apply keeps a copy in an annotation, which may have 256 KiB.
func TestCRDsAreSmall(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(crds, "*.yaml"))
	if err != nil || len(files) != 4 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.Size() > 256<<10 {
			t.Errorf("%s: %v, %v", file, info, err)
		}
	}
}
