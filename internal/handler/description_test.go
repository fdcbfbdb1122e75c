// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/results"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// description is the OpenAPI document that we serve.
type description struct{ root map[string]any }

func (a *academy) description() *description {
	a.t.Helper()
	d := &description{}
	if err := yaml.Unmarshal(a.asAcademy(routing.PathOpenAPI).Body.Bytes(), &d.root); err != nil {
		a.t.Fatal(err)
	}
	return d
}

// at returns what is at a path of member names; nil for nothing.
func (d *description) at(path ...string) any {
	var found any = d.root
	for _, name := range path {
		members, ok := found.(map[string]any)
		if !ok {
			return nil
		}
		found = members[name]
	}
	return found
}

func (d *description) schema(name string) map[string]any {
	schema, _ := d.at("components", "schemas", name).(map[string]any)
	return schema
}

// parts are the schemas that a value must fit at once.
func (d *description) parts(schema map[string]any) (parts []map[string]any, err error) {
	if ref, ok := schema["$ref"].(string); ok {
		found := d.schema(strings.TrimPrefix(ref, "#/components/schemas/"))
		if found == nil {
			return nil, fmt.Errorf("nothing is at %s", ref)
		}
		return d.parts(found)
	}
	all, _ := schema["allOf"].([]any)
	if all == nil {
		return []map[string]any{schema}, nil
	}
	for _, one := range all {
		more, err := d.parts(one.(map[string]any))
		if err != nil {
			return nil, err
		}
		parts = append(parts, more...)
	}
	return parts, nil
}

// check tells what in a value is not as its schema says, or not in it at all.
func (d *description) check(where string, schema map[string]any, value any) (problems []string) {
	parts, err := d.parts(schema)
	if err != nil {
		return []string{where + ": " + err.Error()}
	}
	properties := map[string]map[string]any{}
	members, _ := value.(map[string]any)
	for _, part := range parts {
		want := part["type"]
		if got := map[bool]string{true: "object"}[members != nil]; got != "" && got != want {
			problems = append(problems, fmt.Sprintf("%s: an object instead of %v", where, want))
		}
		if allowed, ok := part["enum"].([]any); ok && !slices.Contains(allowed, value) {
			problems = append(problems, fmt.Sprintf("%s: %v is not one of %v", where, value, allowed))
		}
		if only, ok := part["const"]; ok && only != value {
			problems = append(problems, fmt.Sprintf("%s: %v is not %v", where, value, only))
		}
		required, _ := part["required"].([]any)
		for _, name := range required {
			if _, ok := members[name.(string)]; !ok {
				problems = append(problems, fmt.Sprintf("%s: %v is missing", where, name))
			}
		}
		described, _ := part["properties"].(map[string]any)
		for name, schema := range described {
			properties[name] = schema.(map[string]any)
		}
		if list, ok := value.([]any); ok {
			items, _ := part["items"].(map[string]any)
			for i, element := range list {
				problems = append(problems, d.check(fmt.Sprint(where, "[", i, "]"), items, element)...)
			}
		}
	}
	for name, member := range members {
		if properties[name] == nil {
			problems = append(problems, where+"."+name+": not described")
			continue
		}
		problems = append(problems, d.check(where+"."+name, properties[name], member)...)
	}
	return problems
}

// fits checks a document against a schema.
func (d *description) fits(t *testing.T, document []byte, schema string) {
	t.Helper()
	var value any
	if err := json.Unmarshal(document, &value); err != nil {
		t.Fatalf("%v: %s", err, document)
	}
	if d.schema(schema) == nil {
		t.Fatalf("there is no schema %s", schema)
	}
	if problems := d.check(schema, d.schema(schema), value); problems != nil {
		t.Errorf("%s\n%s", strings.Join(problems, "\n"), document)
	}
}

// received is a request that the academy's webhook got.
type received struct {
	header http.Header
	body   []byte
}

// webhook makes results be told to the academy, and returns where they arrive.
func (a *externalAcademy) webhook() <-chan received {
	a.t.Helper()
	events := make(chan received, 16)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		events <- received{r.Header.Clone(), body}
	}))
	a.t.Cleanup(server.Close)
	a.republish(func(table *routing.Table) {
		table.Academy.ResultsWebhook = server.URL
		table.AcademyKeys.WebhookSecrets = []string{webhookSecret}
	})
	return events
}

// What the academy's back end is answered with, and is told, is what the description says.
func TestTheDescriptionFitsWhatTheAcademyGets(t *testing.T) {
	a := newExternalAcademy(t)
	events := a.webhook()
	d := a.description()
	for _, activity := range []string{"simulation", "exam"} {
		sub, _ := a.learner(zoe()).launch(activity)["sub"].(string)
		if activity == "simulation" {
			continue // of which nothing is reported
		}
		for i, m := range [][2]string{{"Submitted", "PendingManual"}, {"Completed", "FullyGraded"}} {
			given := []string{"", "70"}[i]
			maximum := []string{"", "100"}[i]
			if x := a.lab().score(activity, sub, a.clock.now().Add(time.Duration(i)*time.Second), m[0], m[1], given, maximum); x.Code != http.StatusOK {
				t.Fatal(x.Code, x.Body)
			}
		}
	}
	a.learner(zoe()).begin("partner-exam")
	d.fits(t, a.asAcademy(routing.PathResults).Body.Bytes(), "ResultsPage")
	d.fits(t, a.asAcademy(routing.PathResults+"?limit=1").Body.Bytes(), "ResultsPage")
	found := a.results(url.Values{"activity": {"exam"}})
	d.fits(t, a.asAcademy(routing.PathResults+"/"+found[0].ID).Body.Bytes(), "ResultWithHistory")

	var event received
	for last := false; !last; {
		select {
		case event = <-events:
			last = bytes.Contains(event.body, []byte(`"Passed"`))
		case <-time.After(10 * time.Second):
			t.Fatal("the academy was not told that the exam is passed")
		}
	}
	d.fits(t, event.body, "ResultEvent")
	operation := []string{"webhooks", "resultChanged", "post"}
	if d.at(append(operation, "requestBody", "content", event.header.Get("Content-Type"))...) == nil {
		t.Errorf("%s is not described", event.header.Get("Content-Type"))
	}
	parameters, _ := d.at(append(operation, "parameters")...).([]any)
	for _, name := range []string{results.HeaderID, results.HeaderTimestamp, results.HeaderSignature} {
		described := slices.ContainsFunc(parameters, func(p any) bool {
			described, _ := p.(map[string]any)["name"].(string)
			return strings.EqualFold(described, name)
		})
		if !described || event.header.Get(name) == "" {
			t.Errorf("%s: described %t, sent %q", name, described, event.header.Get(name))
		}
	}
}

// Every address in the description is served, to those with the scope that it names.
func TestTheDescriptionNamesWhatIsServed(t *testing.T) {
	a := newExternalAcademy(t)
	d := a.description()
	scopes, _ := d.at("components", "securitySchemes", "token", "flows", "clientCredentials", "scopes").(map[string]any)
	for _, scope := range identity.ClientScopes() {
		if _, ok := scopes[scope]; !ok {
			t.Errorf("the scope %s is not described", scope)
		}
	}
	if len(scopes) != len(identity.ClientScopes()) {
		t.Errorf("scopes %v instead of %v", scopes, identity.ClientScopes())
	}
	paths, _ := d.at("paths").(map[string]any)
	for _, path := range []string{routing.PathProgress, routing.PathResults, routing.PathResults + "/{id}"} {
		if paths[path] == nil {
			t.Errorf("%s is not described", path)
		}
	}
	for path, operations := range paths {
		for method := range operations.(map[string]any) {
			r := httptest.NewRequest(strings.ToUpper(method), academyURL+strings.ReplaceAll(path, "{id}", "x"), nil)
			if w := a.serve(a.public, r, ""); w.Code != http.StatusUnauthorized {
				t.Errorf("%s %s without a client: %d instead of 401", method, path, w.Code)
			}
		}
	}
	statuses, _ := d.schema("Status")["enum"].([]any)
	for _, s := range []results.Status{
		results.Started, results.InProgress, results.Completed, results.Passed, results.Failed, results.AwaitingGrading, results.Withdrawn,
	} {
		if !slices.Contains(statuses, any(string(s))) {
			t.Errorf("the status %s is not described", s)
		}
	}
}
