package storetest

import (
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/store"
)

// BenchmarkLaunches measures what launches of known people cost a store, and the codes
// that they are collected with: alone, and many at once.
func BenchmarkLaunches(b *testing.B, s store.Store) {
	const people = 200
	var launches atomic.Int64
	next := func() (store.NewLaunch, string) {
		i := launches.Add(1)
		id, user := fmt.Sprintf("launch-%d", i), fmt.Sprintf("user-%d", i%people)
		n := launch(user, func(n *store.NewLaunch) {
			n.ID, n.Nonce.Value, n.CandidateSubject = id, id, user
			n.Profile.Email = user + "@example.edu"
			n.Grade = &store.NewGrade{
				Key: store.GradeKey{Link: store.Link{Registration: "platform", ResourceLinkID: "1"}, LTIUserID: user},
				Join: func(_ json.RawMessage, g *store.Grade) error {
					g.Address, g.State = json.RawMessage(`{"lineItemURL":"https://lms.example/item"}`), json.RawMessage(`{"row":{}}`)
					return nil
				},
			}
			n.Nonce.ExpiresAt = time.Now().Add(time.Hour)
			n.Ticket = store.NewTicket{Kind: store.TicketCode, Hash: store.HashToken(id), ExpiresAt: n.Nonce.ExpiresAt}
		})
		return n, id
	}
	accept := func(b *testing.B) {
		n, id := next()
		if _, err := s.AcceptLaunch(b.Context(), n); err != nil {
			b.Fatal(err)
		}
		if _, err := s.RedeemCode(b.Context(), store.HashToken(id)); err != nil {
			b.Fatal(err)
		}
	}
	for range people {
		accept(b)
	}
	b.Run("alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			accept(b)
		}
	})
	b.Run("32 at once", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				accept(b)
			}
		})
	})
}
