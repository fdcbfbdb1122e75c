// SPDX-License-Identifier: Apache-2.0

package results

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/store"
	"github.com/lti-operator/lti-operator/internal/store/sqlite"
)

// clinic is a store on disk, in which learners open activities. Its clock runs faster than the real one, so that pauses
// are short.
type clinic struct {
	*sqlite.Store
	t     *testing.T
	began time.Time
}

func (c *clinic) now() time.Time { return c.began.Add(20 * time.Since(c.began)) }

func newClinic(t *testing.T) *clinic {
	c := &clinic{t: t, began: time.Now()}
	opened, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"), c.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	c.Store = opened
	return c
}

func (c *clinic) open(realm, activity, learner string) store.ResultKey {
	c.t.Helper()
	_, err := c.MeetLearner(c.t.Context(), store.Learner{Realm: realm, ID: learner, Subject: "subject of " + learner})
	if err != nil {
		c.t.Fatal(err)
	}
	r := store.Result{Key: store.ResultKey{Realm: realm, Activity: activity, LearnerID: learner}}
	if realm == store.FormRealm {
		r.OutcomeID = "outcome of " + learner
	}
	if _, err := c.BeginResult(c.t.Context(), nil, r); err != nil {
		c.t.Fatal(err)
	}
	return r.Key
}

func TestARealStore(t *testing.T) {
	c := newClinic(t)
	b := Book{Store: c, Now: c.now}
	key := c.open(store.ToolRealm("t"), "exam", "u1")
	c.open(store.FormRealm, "other", "u2")
	full, soon := dec(t, "1"), c.now().Add(time.Hour)
	m := ags.Score{
		UserID: "u1", Timestamp: c.now(), ActivityProgress: ags.Completed, GradingProgress: ags.FullyGraded, Comment: "\x00fine",
		Points: &ags.Points{Given: dec(t, "59.9999999999999999999"), Maximum: dec(t, "100")},
	}
	v, err := b.Score(t.Context(), key, exam(60), m, &store.Nonce{Scope: "t", Value: "1", ExpiresAt: soon})
	if err != nil || v.Status != Failed || v.Score.Given != m.Points.Given || v.Subject != "subject of u1" || v.Comment != "fine" {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := b.Score(t.Context(), key, exam(60), m, &store.Nonce{Scope: "t", Value: "1", ExpiresAt: soon}); lti.CodeOf(err) != lti.Replayed {
		t.Error(err)
	}
	quiz := key
	quiz.LineItem = "quiz"
	if _, err := b.Score(t.Context(), quiz, exam(60), m, nil); lti.CodeOf(err) != lti.LineItemUnknown {
		t.Error(err)
	}
	for name, learner := range map[string]string{"unknown": "u9", "no text": "\x00", "nobody": ""} {
		key.LearnerID, quiz.LearnerID = learner, learner
		for _, k := range []store.ResultKey{key, quiz} {
			if _, err := b.Score(t.Context(), k, exam(60), m, nil); lti.CodeOf(err) != lti.LearnerUnknown {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for _, n := range []string{"1", "2"} {
		v, err := b.Replace(t.Context(), "outcome of u2", anybody, course(), &full, &store.Nonce{Scope: "key", Value: n, ExpiresAt: soon})
		if err != nil || v.Status != Completed || v.Version != 1 {
			t.Errorf("%+v, %v", v, err)
		}
	}
	if _, err := b.Replace(t.Context(), "outcome of u2", anybody, course(), &full, &store.Nonce{Scope: "key", Value: "1", ExpiresAt: soon}); lti.CodeOf(err) != lti.Replayed {
		t.Error(err)
	}
	for _, id := range []string{"", "\x00", "outcome of u3"} {
		if _, err := b.Read(t.Context(), id, anybody, nil); lti.CodeOf(err) != lti.OutcomeUnknown {
			t.Errorf("%q: %v", id, err)
		}
	}
	if history, err := b.History(t.Context(), v.ID, 10); err != nil || len(history) != 1 || history[0].Status != Failed {
		t.Errorf("%+v, %v", history, err)
	}
}

// Two replicas with one store on disk, and tools that all talk at once.
func TestEveryResultArrivesFromARealStore(t *testing.T) {
	const learners, scores = 12, 15
	c, a := newClinic(t), newAcademy(t)
	a.now = c.now
	n := 0
	a.behave = func() (int, time.Duration, bool, bool) {
		n++
		return 200, time.Millisecond, n%7 != 0, n%5 != 0
	}
	b := &Book{Store: c, Now: c.now, Told: func() bool { return true }}
	stops := make([]func(), 2)
	for i := range stops {
		w := newWorker(t, c, a)
		w.Now = c.now
		stops[i] = run(t, w)
	}
	base := c.now()
	var telling sync.WaitGroup
	for i := range learners {
		key := c.open(store.ToolRealm("t"), "exam", fmt.Sprint("u", i))
		for sender := range 3 {
			telling.Go(func() {
				for at := range scores {
					m := ags.Score{
						UserID: key.LearnerID, Timestamp: base.Add(time.Duration(at) * time.Second), ActivityProgress: ags.Completed,
						GradingProgress: ags.FullyGraded,
						Points:          &ags.Points{Given: decimal.FromInt(int64(at*10 + sender)), Maximum: decimal.FromInt(100)},
					}
					if _, err := b.Score(t.Context(), key, exam(60), m, nil); err != nil && lti.CodeOf(err) != lti.ScoreOutdated {
						t.Error(err)
					}
				}
			})
		}
	}
	telling.Wait()
	told := func() (all bool) {
		views, err := b.List(t.Context(), store.ResultFilter{Activity: "exam", Limit: learners})
		if err != nil || len(views) != learners {
			t.Fatal(len(views), err)
		}
		all = true
		for i := range views {
			all = all && views[i].Delivery.State == DeliveryDelivered
		}
		return all
	}
	for deadline := time.Now().Add(time.Minute); !told() && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	for _, stop := range stops {
		stop()
	}
	a.knows(c)
	for result, e := range a.newest {
		if given := e.data["score"].(map[string]any)["given"].(float64); given < (scores-1)*10 {
			t.Errorf("%s: the last score is %v", result, given)
		}
	}
}
