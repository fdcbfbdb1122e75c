// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/store"
)

// NonceMargin is how much longer a nonce is remembered than the message can be valid, for clocks of replicas that differ.
const NonceMargin = 5 * time.Minute

// NonceOf is a nonce as the store spends it.
func NonceOf(n lti.Nonce) store.Nonce {
	return store.Nonce{Scope: n.Protocol, Value: n.Key(), ExpiresAt: n.ExpiresAt.Add(NonceMargin)}
}

// BearerToken returns the access token of a request (RFC 6750 section 2.1), and whether there is one.
func BearerToken(r *http.Request) (token string, ok bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return token, strings.EqualFold(scheme, "Bearer")
}
