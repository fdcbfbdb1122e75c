// SPDX-License-Identifier: Apache-2.0

// Package keyring finds the keys of registrations, ours and those of the other parties, in a routing table.
package keyring

import (
	"context"
	"errors"
	"sync"

	"github.com/lti-operator/lti-operator/internal/lti/jwks"
	"github.com/lti-operator/lti-operator/internal/lti/launch"
	"github.com/lti-operator/lti-operator/internal/lti/token"
	"github.com/lti-operator/lti-operator/internal/routing"
)

var errNoSigningKey = errors.New("the registration has no signing key")

// SigningKey returns what reads our private key for a registration when it is wanted first.
func SigningKey(index *routing.Index, kind, name string) func() (*token.Key, error) {
	return sync.OnceValues(func() (*token.Key, error) {
		if key := index.SigningKey(kind, name); key != nil {
			return token.ParseKey(key.KeyID, []byte(key.PrivateKeyPEM))
		}
		return nil, errNoSigningKey
	})
}

// Keys returns the public keys of another party: those at the address, or if that is empty those in the text. Keys that
// cannot be read fail when they are wanted.
func Keys(cache *jwks.Cache, address, text string) launch.Keys {
	if address != "" {
		return cache.Remote(address)
	}
	inline, err := jwks.NewInline([]byte(text))
	if err != nil {
		return unusable{err}
	}
	return inline
}

// unusable stands for a key set in the configuration that cannot be read.
type unusable struct{ err error }

// Lookup implements launch.Keys.
func (u unusable) Lookup(context.Context, string) ([]jwks.Key, error) { return nil, u.err }

// Renewed implements launch.Keys.
func (u unusable) Renewed(context.Context, string, []jwks.Key) ([]jwks.Key, error) {
	return nil, u.err
}
