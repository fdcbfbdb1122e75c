package lti

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// A Nonce is a number used once, still to be spent.
//
// Verifying a message does not spend its nonce. The caller does that last, when
// nothing else can refuse the message any more, with one atomic insert shared
// by all replicas; an insert that finds the nonce there already is refused with
// [Replayed].
type Nonce struct {
	// Protocol is "oauth1", "oidc" or "assertion" (the jti of a client
	// assertion).
	Protocol string
	// Party is who made the nonce, or for whom we made it: the consumer key
	// (oauth1), the name of the platform (oidc) or the client ID (assertion).
	Party string
	// Timestamp is oauth_timestamp, and 0 for the others. By RFC 5849 section 3.3 a
	// nonce is unique among requests with the same timestamp and key.
	Timestamp int64
	// Value is the nonce as sent.
	Value string
	// ExpiresAt is when the nonce may be forgotten: from then on the message is
	// refused for its age.
	ExpiresAt time.Time
}

// Key returns a digest of everything that identifies the nonce, 43 characters
// of base64url. Stores keep this and not the nonce itself: it has a fixed
// length whatever the other party sent.
func (n Nonce) Key() string {
	h := sha256.New()
	var length [8]byte
	for _, s := range []string{n.Protocol, n.Party, n.Value} {
		// Lengths keep ("ab","c") and ("a","bc") apart.
		binary.BigEndian.PutUint64(length[:], uint64(len(s)))
		h.Write(length[:])
		h.Write([]byte(s))
	}
	binary.BigEndian.PutUint64(length[:], uint64(n.Timestamp)) //nolint:gosec // a digest: the same bits are enough
	h.Write(length[:])
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
