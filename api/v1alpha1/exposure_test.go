// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"strings"
	"testing"
)

// Every rule of spec.exposure, from both sides. message is what a person must read; empty means accepted.
func TestRulesOfExposure(t *testing.T) {
	const (
		oneOf    = "exposure is exactly one of ingress and httpRoute"
		names    = "exposure needs host names in url and aliases"
		snippets = "must not put text into the configuration of the ingress controller"
		keys     = "annotations must have keys such as"
	)
	annotated := func(annotations string) string { return "{ingress: {annotations: {" + annotations + "}}}" }
	joins := func(parents string) string { return "{httpRoute: {parentRefs: [" + parents + "]}}" }
	for name, c := range map[string]struct{ url, aliases, exposure, message string }{
		"an Ingress":                              {exposure: "{ingress: {}}"},
		"an Ingress with everything":              {exposure: "{ingress: {className: nginx.internal, tlsSecretName: academy-tls, annotations: {cert-manager.io/cluster-issuer: letsencrypt}}}"},
		"an HTTPRoute":                            {exposure: joins("{name: public}")},
		"an HTTPRoute at a listener elsewhere":    {exposure: joins("{name: public, namespace: gateways, sectionName: https, port: 443}")},
		"neither":                                 {exposure: "{}", message: oneOf},
		"both":                                    {exposure: "{ingress: {}, httpRoute: {parentRefs: [{name: public}]}}", message: oneOf},
		"a class that is no name":                 {exposure: "{ingress: {className: 'a b'}}", message: "className may hold"},
		"a class without a name":                  {exposure: "{ingress: {className: ''}}", message: "at least 1 chars"},
		"a class in both ways":                    {exposure: "{ingress: {className: a, annotations: {kubernetes.io/ingress.class: b}}}", message: "not both"},
		"a class in the old way":                  {exposure: annotated("kubernetes.io/ingress.class: b")},
		"a Secret that is no name":                {exposure: "{ingress: {tlsSecretName: Academy}}", message: "tlsSecretName may hold"},
		"32 annotations":                          {exposure: annotated(many(32, "a%d: b"))},
		"33 annotations":                          {exposure: annotated(many(33, "a%d: b")), message: "at most 32 items"},
		"a long annotation":                       {exposure: annotated("a: " + strings.Repeat("x", 4096))},
		"an annotation that is too long":          {exposure: annotated("a: " + strings.Repeat("x", 4097)), message: "Too long"},
		"an annotation that is a number":          {exposure: annotated("a: 1"), message: "must be of type string"},
		"a key with a blank":                      {exposure: annotated("'a b': c"), message: keys},
		"a key with two slashes":                  {exposure: annotated("a/b/c: d"), message: keys},
		"a key with capitals":                     {exposure: annotated("traefik.ingress.kubernetes.io/Router_x.y: b")},
		"a key that is as long as it can be":      {exposure: annotated(strings.Repeat("a", 253) + "/" + strings.Repeat("b", 63) + ": c")},
		"a key that is too long":                  {exposure: annotated(strings.Repeat("b", 64) + ": c"), message: keys},
		"a snippet of a location":                 {exposure: annotated("nginx.ingress.kubernetes.io/configuration-snippet: x"), message: snippets},
		"a snippet of a server":                   {exposure: annotated("nginx.ingress.kubernetes.io/server-snippet: x"), message: snippets},
		"snippets of another controller":          {exposure: annotated("nginx.org/server-snippets: x"), message: snippets},
		"a snippet of HAProxy":                    {exposure: annotated("haproxy.org/backend-config-snippet: x"), message: snippets},
		"a snippet in capitals":                   {exposure: annotated("example.org/Server-SNIPPET: x"), message: snippets},
		"configuration of HAProxy":                {exposure: annotated("haproxy-ingress.github.io/config-backend: x"), message: snippets},
		"a name with config- in it":               {exposure: annotated("k8s.apisix.apache.org/plugin-config-name: x")},
		"one snippet among others":                {exposure: annotated("a: b, nginx.ingress.kubernetes.io/auth-snippet: x"), message: snippets},
		"no Gateway":                              {exposure: joins(""), message: "at least 1 items"},
		"8 Gateways":                              {exposure: joins(many(8, "{name: g%d}"))},
		"9 Gateways":                              {exposure: joins(many(9, "{name: g%d}")), message: "at most 8 items"},
		"a Gateway without a name":                {exposure: joins("{namespace: gateways}"), message: "name: Required value"},
		"a Gateway in no namespace":               {exposure: joins("{name: a, namespace: 'a.b'}"), message: "namespace may hold"},
		"a listener that is none":                 {exposure: joins("{name: a, sectionName: 'a/b'}"), message: "sectionName may hold"},
		"a port that is none":                     {exposure: joins("{name: a, port: 65536}"), message: "less than or equal to 65535"},
		"an Ingress on localhost":                 {url: "http://lti.localhost:9402", exposure: "{ingress: {}}"},
		"an Ingress with a port":                  {url: "https://LTI.acme.example:8443", exposure: "{ingress: {}}"},
		"an Ingress of an address":                {url: "https://192.0.2.7", exposure: "{ingress: {}}", message: names},
		"an Ingress of an address with a port":    {url: "http://127.0.0.1:8080", exposure: "{ingress: {}}", message: names},
		"an HTTPRoute of an IPv6 address":         {url: "https://[2001:db8::1]", exposure: joins("{name: a}"), message: names},
		"an Ingress of no name":                   {url: "https://lti..example", exposure: "{ingress: {}}", message: names},
		"an Ingress with an alias":                {aliases: "'https://brand.example'", exposure: "{ingress: {}}"},
		"an Ingress with an address as its alias": {aliases: "'https://brand.example', 'https://192.0.2.7'", exposure: "{ingress: {}}", message: names},
	} {
		t.Run(name, func(t *testing.T) {
			if c.url == "" {
				c.url = "https://lti.acme.example"
			}
			err := api.Create(t.Context(), object(t, "LTIAcademy", "", academy("'"+c.url+"'")+"\naliases: ["+c.aliases+"]\nexposure: "+c.exposure))
			switch {
			case c.message == "" && err != nil:
				t.Error(err)
			case c.message != "" && err == nil:
				t.Error("accepted")
			case c.message != "" && !strings.Contains(err.Error(), c.message):
				t.Errorf("refused without saying %q: %v", c.message, err)
			}
		})
	}
}
