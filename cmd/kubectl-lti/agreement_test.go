// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
)

// complaints are what one side has against an object, sorted: fields that are unknown or stand there twice, or, when
// there is none, what is wrong with values.
func complaints(strict, others []string) []string {
	out := others
	if len(strict) > 0 {
		// The API server stops there.
		out = strict
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// offline asks validate. What the operator would say is left out.
func offline(t testing.TB, text []byte) []string {
	t.Helper()
	r, err := validate(t.Context(), []source{{name: "object", text: text}}, "default", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var strict, others []string
	for _, f := range r.Findings {
		switch {
		case f.Reason != "" || f.Severity == severityWarning:
		case strings.HasPrefix(f.Message, "unknown field ") || strings.HasPrefix(f.Message, "duplicate field "):
			strict = append(strict, f.Message)
		default:
			others = append(others, f.Field+": "+f.Message)
		}
	}
	return complaints(strict, others)
}

// server sends objects to the API server, which stores none of them.
type server struct{ *rest.RESTClient }

func newServer(t testing.TB) server {
	t.Helper()
	needServer(t)
	config := rest.CopyConfig(restConfig)
	config.APIPath = "/apis"
	config.GroupVersion = &v1alpha1.GroupVersion
	config.NegotiatedSerializer = clientgoscheme.Codecs.WithoutConversion()
	config.QPS, config.Burst = 1000, 1000
	c, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return server{c}
}

var resources = map[string]string{
	v1alpha1.KindAcademy: "ltiacademies", v1alpha1.KindPlatform: "ltiplatforms", v1alpha1.KindTool: "ltitools", v1alpha1.KindActivity: "ltiactivities",
}

func (s server) complaints(t testing.TB, kind string, text []byte) []string {
	t.Helper()
	err := s.Post().Namespace("default").Resource(resources[kind]).Param("fieldValidation", "Strict").Param("dryRun", "All").
		SetHeader("Content-Type", "application/json").Body(text).Do(t.Context()).Error()
	if err == nil {
		return nil
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		t.Fatal(err)
	}
	message := status.Status().Message
	if _, list, ok := strings.Cut(message, "strict decoding error: "); ok {
		return complaints(strings.Split(list, ", "), nil)
	}
	var others []string
	if apierrors.IsInvalid(err) && status.Status().Details != nil {
		for _, c := range status.Status().Details.Causes {
			others = append(others, strings.TrimPrefix(c.Field, "<nil>")+": "+c.Message)
		}
	}
	if _, unreadable, ok := strings.Cut(message, "cannot be handled as a "+kind+": "); ok {
		others = []string{"metadata: " + unreadable}
	}
	if len(others) == 0 {
		others = []string{": " + message}
	}
	return complaints(nil, others)
}

// agree fails unless both sides say the same.
func agree(t interface {
	Helper()
	Errorf(format string, args ...any)
}, real, here []string, text []byte,
) {
	t.Helper()
	if diff := cmp.Diff(real, here); diff != "" {
		t.Errorf("-API server +validate:\n%s\n%s", diff, text)
	}
}

func manifest(t testing.TB, kind, name, spec string) []byte {
	t.Helper()
	object := map[string]any{"apiVersion": v1alpha1.GroupVersion.String(), "kind": kind, "metadata": map[string]any{"name": name}}
	var content any
	if err := yaml.Unmarshal([]byte(spec), &content); err != nil {
		t.Fatal(err)
	}
	object["spec"] = content
	text, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

const (
	goodAcademy  = "title: Acme\nurl: https://lti.acme.example\n"
	goodPlatform = "title: Moodle\nlti13: {issuer: 'https://lms.example', clientID: abc, authenticationURL: 'https://lms.example/auth', jwksURL: 'https://lms.example/jwks'}\n"
	goodTool     = "title: Lab\nlti13: {loginInitiationURL: 'https://tool.example/login', jwksURL: 'https://tool.example/jwks'}\n"
	goodForm     = "title: Fire\ntype: ELearning\nexternal: {lti12: {launchURL: 'https://tool.example', credentialsSecretRef: {name: s}, resourceLinkID: fire}}\n"
	goodExternal = "title: Fire\ntype: ELearning\nexternal: {lti13: {toolRef: {name: t}, resourceURL: 'https://tool.example/fire'}}\n"
	goodActivity = "title: Height\ntype: ELearning\nshare: {targetURL: 'https://academy.example/42', signIn: LaunchCode}\n"
)

// Every class of rule, and every object of which somebody could think that it breaks one.
func TestValidateAgreesWithTheAPIServer(t *testing.T) {
	s := newServer(t)
	long := strings.Repeat("x", 300)
	for name, c := range map[string]struct {
		kind, name, spec string
		refused          bool
	}{
		"academy":                          {v1alpha1.KindAcademy, "a", goodAcademy, false},
		"academy on a loopback host":       {v1alpha1.KindAcademy, "a", "title: A\nurl: http://lti.localhost:9402", false},
		"academy over http":                {v1alpha1.KindAcademy, "a", "title: A\nurl: http://lti.acme.example", true},
		"academy with a trailing slash":    {v1alpha1.KindAcademy, "a", "title: A\nurl: https://lti.acme.example/", true},
		"academy whose url breaks two":     {v1alpha1.KindAcademy, "a", "title: A\nurl: ftp://lti.acme.example/x", true},
		"academy without a title":          {v1alpha1.KindAcademy, "a", "url: https://lti.acme.example", true},
		"academy with an empty title":      {v1alpha1.KindAcademy, "a", "title: ''\nurl: https://lti.acme.example", true},
		"academy with a long title":        {v1alpha1.KindAcademy, "a", "title: " + long + "\nurl: https://lti.acme.example", true},
		"academy with a long name":         {v1alpha1.KindAcademy, strings.Repeat("a", 41), goodAcademy, true},
		"academy with a digit first":       {v1alpha1.KindAcademy, "1a", goodAcademy, true},
		"academy with a dotted name":       {v1alpha1.KindAcademy, "a.b", goodAcademy, true},
		"a name with capitals":             {v1alpha1.KindAcademy, "Acme", goodAcademy, true},
		"a name with a space":              {v1alpha1.KindTool, "a b", "title: A", true},
		"no name":                          {v1alpha1.KindTool, "", "title: A", true},
		"two replicas on SQLite":           {v1alpha1.KindAcademy, "a", goodAcademy + "handler: {replicas: 2}", true},
		"33 replicas":                      {v1alpha1.KindAcademy, "a", goodAcademy + "handler: {replicas: 33}", true},
		"half a replica":                   {v1alpha1.KindAcademy, "a", goodAcademy + "handler: {replicas: 0.5}", true},
		"replicas in words":                {v1alpha1.KindAcademy, "a", goodAcademy + "handler: {replicas: two}", true},
		"resources":                        {v1alpha1.KindAcademy, "a", goodAcademy + "handler: {resources: {requests: {cpu: 1, memory: 64Mi}}}", false},
		"resources that are none":          {v1alpha1.KindAcademy, "a", goodAcademy + "handler: {resources: {requests: {memory: much}}}", true},
		"a claim twice":                    {v1alpha1.KindAcademy, "a", goodAcademy + "handler: {resources: {claims: [{name: a}, {name: a}]}}", true},
		"a size":                           {v1alpha1.KindAcademy, "a", goodAcademy + "storage: {sqlite: {size: 2Gi}}", false},
		"a size that is none":              {v1alpha1.KindAcademy, "a", goodAcademy + "storage: {sqlite: {size: large}}", true},
		"networks":                         {v1alpha1.KindAcademy, "a", goodAcademy + "network: {allowPrivateCIDRs: [10.0.0.0/8, 'fd00::/8']}", false},
		"a network that is none":           {v1alpha1.KindAcademy, "a", goodAcademy + "network: {allowPrivateCIDRs: [10.0.0.1]}", true},
		"a network twice":                  {v1alpha1.KindAcademy, "a", goodAcademy + "network: {allowPrivateCIDRs: [10.0.0.0/8, 10.0.0.0/8]}", true},
		"a client twice":                   {v1alpha1.KindAcademy, "a", goodAcademy + "clients: [{clientID: a, clientSecretRef: {name: s}}, {clientID: a, clientSecretRef: {name: s}}]", true},
		"a client with a colon":            {v1alpha1.KindAcademy, "a", goodAcademy + "clients: [{clientID: 'a:b', clientSecretRef: {name: s}}]", true},
		"a client without Secret":          {v1alpha1.KindAcademy, "a", goodAcademy + "clients: [{clientID: a}]", true},
		"17 clients":                       {v1alpha1.KindAcademy, "a", goodAcademy + "clients: [" + many(17, "{clientID: c%d, clientSecretRef: {name: s}}") + "]", true},
		"an alias that is the url":         {v1alpha1.KindAcademy, "a", goodAcademy + "aliases: ['https://lti.acme.example']", true},
		"an alias with a path":             {v1alpha1.KindAcademy, "a", goodAcademy + "aliases: ['https://brand.example/lti']", true},
		"trusted domains without a list":   {v1alpha1.KindAcademy, "a", goodAcademy + "users: {linkByEmail: TrustedDomains}", true},
		"a domain with an @":               {v1alpha1.KindAcademy, "a", goodAcademy + "users: {linkByEmail: TrustedDomains, trustedEmailDomains: ['@example.org']}", true},
		"unknown activation":               {v1alpha1.KindAcademy, "a", goodAcademy + "activation: Off", true},
		"activation by a YAML 1.1 boolean": {v1alpha1.KindAcademy, "a", goodAcademy + "activation: off", true},
		"an empty spec":                    {v1alpha1.KindAcademy, "a", "{}", true},
		"a spec that is null":              {v1alpha1.KindAcademy, "a", "null", true},
		"a spec that is a list":            {v1alpha1.KindAcademy, "a", "[]", true},
		"null where nothing may be":        {v1alpha1.KindAcademy, "a", goodAcademy + "handler: null", false},
		"null for something required":      {v1alpha1.KindAcademy, "a", "title: null\nurl: https://lti.acme.example", true},
		"an unknown field":                 {v1alpha1.KindAcademy, "a", goodAcademy + "titel: A", true},
		"unknown fields, nested":           {v1alpha1.KindAcademy, "a", goodAcademy + "handler: {image: x}\nclients: [{clientID: a, clientSecretRef: {name: s, key: k}}]", true},

		"platform":                         {v1alpha1.KindPlatform, "p", goodPlatform, false},
		"platform with a title only":       {v1alpha1.KindPlatform, "p", "title: Moodle", false},
		"platform with both keysets":       {v1alpha1.KindPlatform, "p", strings.Replace(goodPlatform, "jwksURL", "jwks: '{}', jwksURL", 1), true},
		"platform with no keyset":          {v1alpha1.KindPlatform, "p", strings.Replace(goodPlatform, "jwksURL: 'https://lms.example/jwks'", "", 1), true},
		"issuer with a query":              {v1alpha1.KindPlatform, "p", strings.Replace(goodPlatform, "https://lms.example'", "https://lms.example/?x=1'", 1), true},
		"issuer with a script":             {v1alpha1.KindPlatform, "p", strings.Replace(goodPlatform, "https://lms.example'", "javascript:alert(1)'", 1), true},
		"a long clientID":                  {v1alpha1.KindPlatform, "p", strings.Replace(goodPlatform, "abc", long, 1), true},
		"listed deployments without list":  {v1alpha1.KindPlatform, "p", "title: M\ndeployments: {policy: Listed}", true},
		"a platform that registers":        {v1alpha1.KindPlatform, "p", "title: M\nregistration: {dynamic: {linkValidHours: 24, approved: 5f0c3f9a1b2d4e6f7081}}\ndeployments: {policy: Listed}", false},
		"a platform that registers twice":  {v1alpha1.KindPlatform, "p", goodPlatform + "\nregistration: {dynamic: {linkValidHours: 0, approved: x}}", true},
		"a tool that registers":            {v1alpha1.KindTool, "t", "title: Lab\nregistration: {dynamic: {registrationURL: 'https://tool.example/register'}}", false},
		"a tool that registers over http":  {v1alpha1.KindTool, "t", "title: Lab\nregistration: {dynamic: {registrationURL: 'http://tool.example', approved: 12345678901234567890}}", true},
		"any deployment with a list":       {v1alpha1.KindPlatform, "p", "title: M\ndeployments: {policy: Any, list: [{id: '1'}]}", true},
		"a deployment twice":               {v1alpha1.KindPlatform, "p", "title: M\ndeployments: {policy: Listed, list: [{id: '1'}, {id: '1'}]}", true},
		"a deployment that is a number":    {v1alpha1.KindPlatform, "p", "title: M\ndeployments: {policy: Listed, list: [{id: 1}]}", true},
		"a deployment without id":          {v1alpha1.KindPlatform, "p", "title: M\ndeployments: {policy: Listed, list: [{title: x}]}", true},
		"a frame ancestor with a path":     {v1alpha1.KindPlatform, "p", "title: M\nframeAncestors: ['https://lms.example/x']", true},
		"a frame ancestor twice":           {v1alpha1.KindPlatform, "p", "title: M\nframeAncestors: ['https://lms.example', 'https://lms.example']", true},
		"17 frame ancestors":               {v1alpha1.KindPlatform, "p", "title: M\nframeAncestors: [" + many(17, "'https://%d.example'") + "]", true},
		"platform with a long name":        {v1alpha1.KindPlatform, strings.Repeat("a", 64), "title: M", true},
		"a long name, and a bad value":     {v1alpha1.KindPlatform, strings.Repeat("a", 64), "title: M\nactivation: Off", true},
		"a realm with a slash":             {v1alpha1.KindPlatform, "p", "title: M\nusers: {realm: a/lti12}", true},
		"domains without TrustedDomains":   {v1alpha1.KindPlatform, "p", "title: M\nusers: {linkByEmail: Always, trustedEmailDomains: [example.org]}", true},
		"previous issuers":                 {v1alpha1.KindPlatform, "p", "title: M\nusers: {realm: old, previousIssuers: ['https://old.example']}", false},
		"roles that are neither":           {v1alpha1.KindPlatform, "p", "title: M\nlti12: {roles: Trust}", true},
		"everything wrong at once":         {v1alpha1.KindPlatform, "p", "lti13: {issuer: 5, jwks: ''}\ndeployments: {list: [{id: ''}, {id: ''}]}\nactivation: 1\nframeAncestors: {}", true},
		"a tool":                           {v1alpha1.KindTool, "t", "title: Lab", false},
		"a tool with a share":              {v1alpha1.KindTool, "t", "title: Lab\nshare: {}", true},
		"a tool of an academy":             {v1alpha1.KindTool, "t", "title: Lab\nacademyRef: {name: other}", false},
		"a tool of an academy by its name": {v1alpha1.KindTool, "t", "title: Lab\nacademyRef: other", true},
		"activity":                         {v1alpha1.KindActivity, "x", goodActivity, false},
		"activity without type":            {v1alpha1.KindActivity, "x", "title: Height", true},
		"activity of an unknown type":      {v1alpha1.KindActivity, "x", "title: Height\ntype: Course", true},
		"activity that takes no time":      {v1alpha1.KindActivity, "x", goodActivity + "durationMinutes: 0", true},
		"activity for all platforms":       {v1alpha1.KindActivity, "x", strings.Replace(goodActivity, "LaunchCode", "LaunchCode, platforms: {matchLabels: {}}", 1), true},
		"activity for many labels":         {v1alpha1.KindActivity, "x", strings.Replace(goodActivity, "LaunchCode", "LaunchCode, platforms: {matchLabels: {"+many(17, "l%d: x")+"}}", 1), true},
		"a label that is a number":         {v1alpha1.KindActivity, "x", strings.Replace(goodActivity, "LaunchCode", "LaunchCode, platforms: {matchLabels: {a: 1}}", 1), true},
		"a tool that is registered":        {v1alpha1.KindTool, "t", goodTool, false},
		"a tool with both keysets":         {v1alpha1.KindTool, "t", strings.Replace(goodTool, "jwksURL", "jwks: '{}', jwksURL", 1), true},
		"a tool with 65 redirect URIs":     {v1alpha1.KindTool, "t", strings.Replace(goodTool, "jwksURL", "redirectURIs: ["+many(65, "'https://%d.example'")+"], jwksURL", 1), true},
		"a tool that may do what is none":  {v1alpha1.KindTool, "t", goodTool + "services: {assignmentAndGrade: All}\nprivacy: {name: No}", true},
		"a webhook that is not signed":     {v1alpha1.KindAcademy, "a", goodAcademy + "results: {webhook: {url: 'https://a.example'}}", true},
		"external by a form":               {v1alpha1.KindActivity, "x", goodForm, false},
		"external at a tool":               {v1alpha1.KindActivity, "x", goodExternal, false},
		"external in both ways":            {v1alpha1.KindActivity, "x", strings.Replace(goodForm, "lti12", "lti13: {toolRef: {name: t}, resourceURL: 'https://tool.example'}, lti12", 1), true},
		"external and shared":              {v1alpha1.KindActivity, "x", goodExternal + "share: {targetURL: 'https://academy.example/42', signIn: LaunchCode}", true},
		"an exam that is shared":           {v1alpha1.KindActivity, "x", strings.Replace(goodActivity, "ELearning", "Exam", 1), true},
		"an exam":                          {v1alpha1.KindActivity, "x", strings.Replace(goodExternal, "ELearning", "Exam", 1) + "minimumScore: 70", false},
		"an exam that nobody passes":       {v1alpha1.KindActivity, "x", strings.Replace(goodExternal, "ELearning", "Exam", 1) + "minimumScore: 101", true},
		"parameters that are not allowed":  {v1alpha1.KindActivity, "x", strings.Replace(goodForm, "fire}", "fire, parameters: [{name: a}, {name: custom_a}, {name: Roles}, {name: b c}]}", 1), true},
		"a resource link with a line end":  {v1alpha1.KindActivity, "x", strings.Replace(goodForm, "fire}", `"a\nb"}`, 1), true},
		"a resource link beyond ASCII":     {v1alpha1.KindActivity, "x", strings.Replace(goodExternal, "lti13: {", "lti13: {resourceLinkID: brød, ", 1), true},
		"activity with a long name":        {v1alpha1.KindActivity, strings.Repeat("a", 201), goodActivity, true},
	} {
		t.Run(name, func(t *testing.T) {
			text := manifest(t, c.kind, c.name, c.spec)
			want := s.complaints(t, c.kind, text)
			if refused := len(want) > 0; refused != c.refused {
				t.Errorf("the API server refuses: %v: %q", refused, want)
			}
			agree(t, want, offline(t, text), text)
		})
	}
}

// What is around the spec.
func TestValidateAgreesAboutMetadata(t *testing.T) {
	s := newServer(t)
	for name, text := range map[string]string{
		"labels":                     `"metadata": {"name": "t", "labels": {"a/b": "c"}}, "spec": {"title": "T"}`,
		"a label that is none":       `"metadata": {"name": "t", "labels": {"a b": "c"}}, "spec": {"title": "T"}`,
		"a label value that is none": `"metadata": {"name": "t", "labels": {"a": "c d"}}, "spec": {"title": "T"}`,
		"a label that is a number":   `"metadata": {"name": "t", "labels": {"a": 1}}, "spec": {"title": "T"}`,
		"an unknown field":           `"metadata": {"name": "t", "lables": {"a": "b"}}, "spec": {"title": "T"}`,
		"a field of another place":   `"metadata": {"name": "t"}, "title": "T", "spec": {"title": "T"}`,
		"generateName":               `"metadata": {"generateName": "t-"}, "spec": {"title": "T"}`,
		"a long generateName":        `"metadata": {"generateName": "` + strings.Repeat("a", 70) + `"}, "spec": {"title": "T"}`,
		"an empty namespace":         `"metadata": {"name": "t", "namespace": ""}, "spec": {"title": "T"}`,
		"neither name":               `"metadata": {}, "spec": {"title": "T"}`,
		"no metadata":                `"spec": {"title": "T"}`,
		"metadata that is text":      `"metadata": "t", "spec": {"title": "T"}`,
		"no spec":                    `"metadata": {"name": "t"}`,
		"status":                     `"metadata": {"name": "t"}, "spec": {"title": "T"}, "status": {"observedGeneration": -5, "keys": [{}]}`,
		"an unknown field in status": `"metadata": {"name": "t"}, "spec": {"title": "T"}, "status": {"ready": true}`,
		"a field twice":              `"metadata": {"name": "t"}, "spec": {"title": "T", "title": "U"}`,
		"fields twice and unknown":   `"metadata": {"name": "t"}, "spec": {"title": "T", "title": "U", "name": "T", "academyRef": {"name": "a", "name": "b", "names": []}}`,
		"an emoji":                   `"metadata": {"name": "t", "annotations": {"a": "\ud83d\ude00"}}, "spec": {"title": "\ud83d\ude00", "title": "\ud83d\ude01"}`,
		"a finalizer that is none":   `"metadata": {"name": "t", "finalizers": ["a b"]}, "spec": {"title": "T"}`,
		"an owner without a name":    `"metadata": {"name": "t", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod"}]}, "spec": {"title": "T"}`,
		"an annotation that is none": `"metadata": {"name": "t", "annotations": {"a/b/c": ""}}, "spec": {"title": "T"}`,
		"what the API server writes": `"metadata": {"name": "t", "creationTimestamp": "2026-01-01T00:00:00Z", "uid": "u", "generation": 3, "managedFields": []}, "spec": {"title": "T"}`,
		"a time that is none":        `"metadata": {"name": "t", "creationTimestamp": "yesterday"}, "spec": {"title": "T"}`,
	} {
		t.Run(name, func(t *testing.T) {
			text := []byte(`{"apiVersion": "lti-operator.io/v1alpha1", "kind": "LTITool", ` + text + `}`)
			agree(t, s.complaints(t, v1alpha1.KindTool, text), offline(t, text), text)
		})
	}
}

// Objects with everything in them, damaged at random: whatever that does, both say the same.
func TestValidateAgreesAboutDamagedObjects(t *testing.T) {
	s := newServer(t)
	specs := map[string]string{
		v1alpha1.KindAcademy: goodAcademy + `
aliases: ['https://brand.example']
activation: Activated
handler: {replicas: 1, nodeSelector: {a: b}, priorityClassName: high, resources: {limits: {memory: 64Mi}}}
storage: {sqlite: {size: 1Gi, storageClassName: fast}}
users: {linkByEmail: TrustedDomains, trustedEmailDomains: [example.org]}
clients: [{clientID: app, clientSecretRef: {name: s}}]
results: {webhook: {url: 'https://a.example/results', signingSecretRef: {name: s}}}
network: {allowPrivateCIDRs: [10.0.0.0/8]}`,
		v1alpha1.KindPlatform: goodPlatform + `
academyRef: {name: default}
activation: Activated
lti12: {credentialsSecretRef: {name: s}, roles: Accept, realm: Shared}
users: {realm: old, previousIssuers: ['https://old.example'], linkByEmail: Never}
deployments: {policy: Listed, list: [{id: '1', title: One, activation: Activated}, {id: '2'}]}
frameAncestors: ['https://lms.example']`,
		v1alpha1.KindTool: `
title: Lab
academyRef: {name: default}
activation: Deactivated
lti13: {loginInitiationURL: 'https://tool.example/login', jwksURL: 'https://tool.example/jwks', launchURL: 'https://tool.example', deepLinkingURL: 'https://tool.example/c', redirectURIs: ['https://tool.example/a']}
privacy: {name: Withhold, email: Share}
services: {assignmentAndGrade: Grades, namesAndRoles: Disabled, deepLinking: Disabled}`,
		v1alpha1.KindActivity: `
title: Height
description: How to
type: ELearning
durationMinutes: 45
share:
  targetURL: https://academy.example/42
  signIn: LaunchCode
  presentation: Embedded
  lti12: {credentialsSecretRef: {name: s}, platformRef: {name: p}, roles: Ignore}
  platforms: {matchLabels: {a: b}}`,
	}
	damage := []string{
		`null`, `true`, `-1`, `0`, `1`, `1.5`, `1e6`, `""`, `"x"`, `"X y"`, `"https://a.example"`, `"https://a.example/p?q#f"`, `"http://a.example"`,
		`"` + strings.Repeat("y", 3000) + `"`, `[]`, `["x", "x"]`, `[{"id": "1"}, {"id": "1"}]`, `{}`, `{"name": ""}`,
	}
	// A kind has several specs where one cannot have everything.
	const byForm, atTool = "activity by a form", "activity at a tool"
	specs[byForm] = `
title: Aid
type: ELearning
external:
  presentation: Embedded
  returnURL: https://academy.example
  lti12: {launchURL: 'https://tool.example', credentialsSecretRef: {name: s}, resourceLinkID: x, parameters: [{name: a, value: b}, {name: c}], privacy: {email: Withhold}}`
	specs[atTool] = `
title: Fire
type: Exam
minimumScore: 70
external:
  lti13: {toolRef: {name: t}, resourceURL: 'https://tool.example', resourceLinkID: x, parameters: [{name: a, value: b}, {name: c}]}`
	kindOf := func(spec string) string {
		if spec == byForm || spec == atTool {
			return v1alpha1.KindActivity
		}
		return spec
	}
	all := slices.Sorted(maps.Keys(specs))
	rapid.Check(t, func(r *rapid.T) {
		spec := rapid.SampledFrom(all).Draw(r, "spec")
		kind := kindOf(spec)
		var object map[string]any
		if err := json.Unmarshal(manifest(t, kind, "damaged", specs[spec]), &object); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 3).Draw(r, "damages") {
			places := places(object, "")
			at := places[rapid.IntRange(0, len(places)-1).Draw(r, "place")]
			switch rapid.IntRange(0, 3).Draw(r, "how") {
			case 0:
				at.remove()
			case 1:
				at.unknown()
			default:
				var value any
				if err := json.Unmarshal([]byte(rapid.SampledFrom(damage).Draw(r, "value")), &value); err != nil {
					t.Fatal(err)
				}
				at.set(value)
			}
		}
		text, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		agree(r, s.complaints(t, kind, text), offline(t, text), text)
	})
}

// place is a value in a spec.
type place struct {
	set     func(any)
	remove  func()
	unknown func()
}

func places(content any, key string) (out []place) {
	if key == "" {
		object, _ := content.(map[string]any)
		return append(places(object["spec"], "spec"), place{
			set: func(v any) { object["spec"] = v }, remove: func() { delete(object, "spec") }, unknown: func() { object["unknown"] = 1 },
		})
	}
	switch content := content.(type) {
	case map[string]any:
		keys := make([]string, 0, len(content))
		for k := range content {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			out = append(out, place{
				set: func(v any) { content[k] = v }, remove: func() { delete(content, k) }, unknown: func() { content["unknown"] = 1 },
			})
			out = append(out, places(content[k], k)...)
		}
	case []any:
		for i := range content {
			out = append(out, place{
				set: func(v any) { content[i] = v }, remove: func() { content[i] = nil }, unknown: func() { content[i] = map[string]any{"unknown": 1} },
			})
			out = append(out, places(content[i], key)...)
		}
	}
	return out
}

// The samples of the repository, as they stand in their files.
func TestValidateAgreesAboutTheSamples(t *testing.T) {
	s := newServer(t)
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "samples", "*", "*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	checked := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range (source{name: file, text: text}).read() {
			kind, _ := d.object["kind"].(string)
			if resources[kind] == "" {
				continue
			}
			asJSON, err := json.Marshal(d.object)
			if err != nil {
				t.Fatal(err)
			}
			if want := s.complaints(t, kind, asJSON); want != nil {
				t.Errorf("%s:%d: %q", file, d.line, want)
			}
			if got := offline(t, asJSON); got != nil {
				t.Errorf("%s:%d: %q", file, d.line, got)
			}
			checked++
		}
	}
	if checked < 8 {
		t.Errorf("only %d resources", checked)
	}
}

// Every kind that the API server has must be known here, with its version.
func TestEveryKindIsKnown(t *testing.T) {
	s, err := newSchemas()
	if err != nil {
		t.Fatal(err)
	}
	for kind := range resources {
		if k, err := s.find(v1alpha1.GroupVersion.WithKind(kind)); k == nil || err != nil {
			t.Errorf("%s: %v, %v", kind, k, err)
		}
	}
	if len(s.definitions) != len(resources) {
		t.Errorf("definitions of %d kinds", len(s.definitions))
	}
	if k, err := s.find(schema.GroupVersionKind{Group: v1alpha1.GroupVersion.Group, Version: "v1", Kind: v1alpha1.KindTool}); k != nil || err != nil {
		t.Errorf("a version that does not exist: %v, %v", k, err)
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
