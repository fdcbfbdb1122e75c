// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/lti-operator/lti-operator/internal/handler/web"
)

// A request's body is read before the request is let in, so that nobody holds a slot, or one of the places outside, by
// sending slowly. What that costs is bounded too: each connection may have commonBody, which holds any launch but an
// unusual one, and what is larger shares largeBodies. Whoever sends large bodies and never ends them is thus in the way of
// nobody but those who send large ones as well, and of them until the listener's readTimeout.
const (
	commonBody  = 8 << 10
	largeBodies = 32 << 20
	// maxBody is one byte more than anybody reads, so that whoever reads it sees that there is too much.
	maxBody = web.MaxFormBytes + 1
)

// errNoRoom reports that the bodies that are being received leave no room for another one.
var errNoRoom = errors.New("no room for a large body")

// bodies are those that are being received or worked on.
type bodies struct {
	// large is how many bytes those have that are larger than commonBody.
	large atomic.Int64
	kept  sync.Pool
}

// body is one that was received. As a reader it ends as the original did. A nil one is that of a request without.
type body struct {
	all    *bodies
	common [commonBody]byte
	data   []byte
	err    error
	read   int
	// large is what it has of bodies.large.
	large int64
}

// receive reads the body of a request, which gets it instead, at once as far as it is concerned. It must be forgotten
// when the request is over.
func (s *bodies) receive(r *http.Request) (*body, error) {
	if r.Body == nil || r.Body == http.NoBody || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil, nil //nolint:nilnil // there is none
	}
	b, ok := s.kept.Get().(*body)
	if !ok {
		b = &body{all: s}
	}
	b.data, b.err, b.read = b.common[:0], nil, 0
	for b.err == nil && len(b.data) < maxBody {
		if len(b.data) == cap(b.data) && !b.grow() {
			b.forget()
			return nil, errNoRoom
		}
		var n int
		n, b.err = r.Body.Read(b.data[len(b.data):cap(b.data)])
		b.data = b.data[:len(b.data)+n]
	}
	if b.err == nil {
		b.err = io.EOF
	}
	r.Body = b
	return b, nil
}

// grow doubles the room for the body, if there is any.
func (b *body) grow() bool {
	more := int64(min(2*cap(b.data), maxBody))
	if b.all.large.Add(more-b.large) > largeBodies {
		b.all.large.Add(b.large - more)
		return false
	}
	b.large = more
	b.data = append(make([]byte, 0, more), b.data...)
	return true
}

// forget makes room for others.
func (b *body) forget() {
	if b == nil {
		return
	}
	b.all.large.Add(-b.large)
	b.data, b.read, b.large = nil, 0, 0
	b.err = io.ErrClosedPipe // for whoever still reads, which nobody must
	b.all.kept.Put(b)
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	if b.read == len(b.data) {
		return 0, b.err
	}
	n := copy(p, b.data[b.read:])
	b.read += n
	return n, nil
}

// Close implements io.Closer. The server closes the original.
func (b *body) Close() error { return nil }
