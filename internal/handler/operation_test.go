// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/handler"
	"github.com/lti-operator/lti-operator/internal/routing"
)

func TestOpsAndControl(t *testing.T) {
	a := newAcademy(t)
	empty, err := handler.New(handler.Options{ConfigDir: t.TempDir(), Store: a.store, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	get := func(h http.Handler, path, token string) int {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		return a.serve(h, r, "").Code
	}
	for name, c := range map[string]struct{ got, want int }{
		"ready with a table":           {get(a.handler.Ops(), "/readyz", ""), 200},
		"not ready without":            {get(empty.Ops(), "/readyz", ""), 503},
		"alive without":                {get(empty.Ops(), "/livez", ""), 200},
		"control without token":        {get(a.handler.Control(), routing.PathControlTable, ""), 401},
		"control with a wrong token":   {get(a.handler.Control(), routing.PathControlTable, "x"), 401},
		"control with the token":       {get(a.handler.Control(), routing.PathControlTable, a.keys.ControlToken), 200},
		"control before any table":     {get(empty.Control(), routing.PathControlTable, a.keys.ControlToken), 401},
		"deployments without token":    {get(a.handler.Control(), routing.PathControlDeployments, ""), 401},
		"the public side has no table": {get(a.public, routing.PathControlTable, a.keys.ControlToken), 404},
		"nor deployments":              {get(a.public, routing.PathControlDeployments, a.keys.ControlToken), 404},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d instead of %d", name, c.got, c.want)
		}
	}
	served := a.report(a.handler).Hash
	a.mount(map[string][]byte{routing.ManifestFile: []byte("{")})
	for deadline := time.Now().Add(10 * time.Second); a.report(a.handler).RejectedReason == ""; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a bad table is not reported")
		}
	}
	if report := a.report(a.handler); report.Hash != served {
		t.Errorf("a bad table took the place of the good one: %+v", report)
	}
	a.enter(a.browser().launch13(moodle(), "height", nil))
	if got := get(a.handler.Ops(), "/readyz", ""); got != 200 {
		t.Errorf("a bad table made the handler unready: %d", got)
	}
}

func TestPublicKeys(t *testing.T) {
	a := newAcademy(t)
	x := a.browser().do(http.MethodGet, "/platforms/moodle/jwks.json", nil)
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(x.Body.Bytes(), &set); err != nil || len(set.Keys) != 1 || set.Keys[0]["kid"] == "" || set.Keys[0]["d"] != "" {
		t.Fatalf("%v: %s", err, x.Body)
	}
}
