// SPDX-License-Identifier: Apache-2.0

package rounds

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Runner
		began := time.Now()
		var at []time.Duration
		waits := []time.Duration{time.Minute, 0, 0, time.Hour, time.Second, time.Hour}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.Run(ctx, func(context.Context) time.Duration {
				at = append(at, time.Since(began))
				return waits[len(at)-1]
			})
		}()
		time.Sleep(2 * time.Minute)
		r.Wake()
		time.Sleep(time.Minute)
		cancel()
		<-done
		want := []time.Duration{0, time.Minute, time.Minute, time.Minute, 2 * time.Minute, 2*time.Minute + time.Second}
		if !slices.Equal(at, want) {
			t.Errorf("rounds at %v, want %v", at, want)
		}
	})
}

func TestAWakeBeforeTheFirstRoundIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Runner
		r.Wake()
		n := 0
		ctx, cancel := context.WithCancel(t.Context())
		go r.Run(ctx, func(context.Context) time.Duration { n++; return time.Hour })
		time.Sleep(time.Minute)
		cancel()
		synctest.Wait()
		if n == 0 {
			t.Error("no round")
		}
	})
}

func TestPause(t *testing.T) {
	for name, tt := range map[string]struct {
		before  int
		atLeast time.Duration
		jitter  float64
		want    time.Duration
	}{
		"the first, at its shortest":            {0, 0, 0, time.Second},
		"the first, at its longest":             {0, 0, 1, 2 * time.Second},
		"doubled":                               {3, 0, 1, 16 * time.Second},
		"the longest":                           {11, 0, 1, time.Hour},
		"the longest still":                     {1 << 40, 0, 1, time.Hour},
		"half of the longest":                   {1000, 0, 0, 30 * time.Minute},
		"what the other side asked for":         {0, time.Minute, 0.5, time.Minute},
		"more than what the other one asked":    {8, time.Minute, 1, 512 * time.Second},
		"the other side asked for a whole week": {0, 7 * 24 * time.Hour, 0, time.Hour},
	} {
		if got := Pause(tt.before, tt.atLeast, tt.jitter); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
