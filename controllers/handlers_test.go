// SPDX-License-Identifier: Apache-2.0

package controllers_test

import (
	"crypto/rand"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/controllers"
	"github.com/lti-operator/lti-operator/internal/keys"
)

// What a handler answers on its control port, word for word.
func TestRegistrationsComeFromTheControlPort(t *testing.T) {
	academy, err := keys.NewAcademy(rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.X509KeyPair(academy.ControlCertificatePEM, academy.ControlPrivateKeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	token := academy.ControlToken
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/v1/registrations" || r.Header.Get("Authorization") != "Bearer "+token {
			http.Error(w, "not this", http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte(`{"items": [{"id": "` + registration("moodle", 1).ID + `", "kind": "platform", "name": "moodle", "registeredAt": "2026-03-01T01:00:00Z",
			"platform": {"issuer": "https://lms.example", "clientID": "1", "authenticationURL": "https://lms.example/auth",
				"accessTokenURL": "https://lms.example/token", "jwksURL": "https://lms.example/jwks", "deploymentID": "d1", "product": "moodle", "version": "4.5",
				"clientConfigurationURL": "https://lms.example/register/1", "clientConfigurationToken": "` + canaryToken + `"}}]}`))
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}
	server.StartTLS()
	defer server.Close()
	handlers := &controllers.ExternalHandlers{ControlURLs: []string{server.URL}}
	endpoints, err := handlers.Endpoints(t.Context(), controllers.AcademyKey{})
	if err != nil || len(endpoints) != 1 {
		t.Fatal(endpoints, err)
	}
	got, err := handlers.Registrations(t.Context(), endpoints[0], academy)
	if want := registration("moodle", 1); err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("%+v: %v", got, err)
	}
	// As of a handler of before there were registrations.
	academy.ControlToken = "another"
	if _, err := handlers.Registrations(t.Context(), endpoints[0], academy); err == nil {
		t.Error("an answer of 404 is an answer")
	}
}
