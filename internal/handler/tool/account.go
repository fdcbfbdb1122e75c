// SPDX-License-Identifier: Apache-2.0

package tool

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/identity"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/store"
)

// Account is what an academy application may change about an account here.
type Account struct {
	// Active is false for an account that is suspended: its launches are refused. It is required.
	Active *bool `json:"active"`
}

// maxAccountBytes bounds the body of a request about an account.
const maxAccountBytes = 4 << 10

// setAccount lets the academy's back end suspend an account and lift that again. Signing in by a launch must not be a
// way around a suspension in the academy (CVE-2025-67848). The client authenticates as for progress.
func (t *Tool) setAccount(rw http.ResponseWriter, r *http.Request) {
	v := &visit{Snapshot: t.snapshot.Load(), about: web.About{Role: "tool"}}
	if err := t.changeAccount(rw, r, v); err != nil {
		t.refuseClient(rw, r, v, err)
		return
	}
	rw.WriteHeader(http.StatusNoContent)
}

func (t *Tool) changeAccount(rw http.ResponseWriter, r *http.Request, v *visit) error {
	if v.Snapshot == nil {
		return lti.Refuse(lti.NotReady, "no routing table yet")
	}
	if _, err := v.caller(r, identity.ScopeAccounts, t.Now()); err != nil {
		return err
	}
	var account Account
	body := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxAccountBytes))
	body.DisallowUnknownFields()
	if err := body.Decode(&account); err != nil || account.Active == nil {
		return lti.Refuse(lti.RequestMalformed, `the body must be {"active": true} or {"active": false}`).Because(err)
	}
	err := t.Store.SetAccountActive(r.Context(), r.PathValue("subject"), *account.Active)
	if errors.Is(err, store.ErrNotFound) {
		return lti.Refuse(lti.AccountUnknown, "no account with this subject").Because(err)
	}
	if err != nil {
		return storeRefusal(err)
	}
	return nil
}
