// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// empty checks that nobody has anything any more.
func empty(t *testing.T, g *Gate) {
	t.Helper()
	if g.Working() != 0 || g.Waiting() != 0 || g.AtOthers() != 0 || g.bounded != 0 || g.turns.first != nil || g.turns.last != nil {
		t.Errorf("left over: %d working, %d waiting (%d bounded), %d at other systems, queues %v", g.Working(), g.Waiting(), g.bounded, g.AtOthers(), g.turns)
	}
}

// client sends requests of one party.
type client struct {
	gate  *Gate
	party *Party
	// work is how long a request needs its slot.
	work time.Duration

	mu              sync.Mutex
	served, refused int
	waits           []time.Duration
}

// ask sends one request and waits for its end.
func (c *client) ask(class Class) error {
	var ticket Ticket
	began := time.Now()
	err := c.gate.Enter(context.Background(), &ticket, c.party, class)
	waited := time.Since(began)
	c.mu.Lock()
	if err != nil {
		c.refused++
	} else {
		c.served++
		c.waits = append(c.waits, waited)
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	defer ticket.Leave()
	time.Sleep(c.work)
	return nil
}

// flood sends requests at a rate per second for a while, whether they are answered or not.
func (c *client) flood(wg *sync.WaitGroup, rate int, during time.Duration, class Class) {
	wg.Go(func() {
		var own sync.WaitGroup
		for range int(during.Seconds() * float64(rate)) {
			own.Go(func() { _ = c.ask(class) })
			time.Sleep(time.Second / time.Duration(rate))
		}
		own.Wait()
	})
}

// restart forgets what was.
func (c *client) restart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits, c.served, c.refused = nil, 0, 0
}

func (c *client) longest() time.Duration {
	if len(c.waits) == 0 {
		return 0
	}
	return slices.Max(c.waits)
}

// percentile of how long those waited who were served.
func (c *client) percentile(p float64) time.Duration {
	slices.Sort(c.waits)
	return c.waits[int(float64(len(c.waits)-1)*p)]
}

func TestWithFreeSlotsNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Slots: 4})
		a := &client{gate: g, party: &Party{}, work: time.Second}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _ = a.ask(Begin) })
		}
		synctest.Wait()
		if g.Working() != 4 || g.Waiting() != 0 {
			t.Errorf("%d working, %d waiting", g.Working(), g.Waiting())
		}
		wg.Wait()
		if a.served != 4 || a.longest() != 0 {
			t.Errorf("%d served, after %s", a.served, a.longest())
		}
		empty(t, g)
	})
}

// The rule that everything else is for: a party that sends ten times what can be done is its own problem only.
func TestAPartyThatFloodsDoesNotKeepAnotherWaiting(t *testing.T) {
	const work = 10 * time.Millisecond // so that 4 slots serve 400 a second
	for name, theirs := range map[string]Class{"with the same": Continue, "with what comes later": Begin} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := New(Options{Slots: 4})
				noisy := &client{gate: g, party: &Party{}, work: work}
				quiet := &client{gate: g, party: &Party{}, work: work}
				var wg sync.WaitGroup
				noisy.flood(&wg, 4000, 5*time.Second, Continue)
				quiet.flood(&wg, 100, 5*time.Second, theirs)
				time.Sleep(time.Second) // until the queue has been standing
				noisy.restart()
				wg.Wait()
				if quiet.refused != 0 || quiet.served != 500 {
					t.Errorf("the quiet party: %d served, %d refused; want 500 and 0, as when it is alone", quiet.served, quiet.refused)
				}
				// A slot becomes free every 2.5 ms, and the next one is its own.
				if got := quiet.longest(); got > work {
					t.Errorf("the quiet party waited %s", got)
				}
				if noisy.served < 1150 || noisy.served > 1250 {
					t.Errorf("the noisy party: %d served; want what the quiet one leaves in 4 s, 1200", noisy.served)
				}
				if got := noisy.percentile(0.99); got > 25*time.Millisecond {
					t.Errorf("whom the noisy party sends and is served waits up to %s", got)
				}
				empty(t, g)
			})
		})
	}
}

func TestPartiesThatWantMoreThanTheirShareGetTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Slots: 6})
		// What one party asks for takes longer: it is slots that are shared, not turns.
		slow := &client{gate: g, party: &Party{}, work: 50 * time.Millisecond}
		fast := &client{gate: g, party: &Party{}, work: 5 * time.Millisecond}
		var wg sync.WaitGroup
		slow.flood(&wg, 1000, 5*time.Second, Begin)
		fast.flood(&wg, 5000, 5*time.Second, Begin)
		wg.Wait()
		// 3 slots each: 60 and 600 a second.
		if slow.served < 270 || slow.served > 330 || fast.served < 2700 || fast.served > 3300 {
			t.Errorf("served %d slow requests and %d fast ones; want about 300 and 3000", slow.served, fast.served)
		}
		empty(t, g)
	})
}

func TestWhatContinuesComesBeforeWhatBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Slots: 4})
		party := &Party{}
		launches := &client{gate: g, party: party, work: 10 * time.Millisecond}
		logins := &client{gate: g, party: party, work: 10 * time.Millisecond}
		var wg sync.WaitGroup
		logins.flood(&wg, 4000, 5*time.Second, Begin)
		launches.flood(&wg, 350, 5*time.Second, Continue)
		wg.Wait()
		if launches.refused != 0 || launches.longest() > 20*time.Millisecond {
			t.Errorf("%d launches refused, one waited %s, while %d logins were served", launches.refused, launches.longest(), logins.served)
		}
		if logins.served < 200 || logins.served > 320 {
			t.Errorf("%d logins served; want the rest, 250", logins.served)
		}
		empty(t, g)
	})
}

// hold takes all slots until the returned function is called.
func hold(t *testing.T, g *Gate) (release func()) {
	t.Helper()
	tickets := make([]Ticket, g.Slots())
	party := &Party{}
	for i := range tickets {
		if err := g.Enter(t.Context(), &tickets[i], party, Begin); err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		for i := range tickets {
			tickets[i].Leave()
		}
	}
}

// The house's half: tickets and codes of all parties come there, however many parties want slots.
func TestTheHouseHasHalfOfTheSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Slots: 8})
		house := &client{gate: g, party: g.House(), work: 10 * time.Millisecond}
		var wg sync.WaitGroup
		var parties []*client
		for range 7 {
			c := &client{gate: g, party: &Party{}, work: 10 * time.Millisecond}
			parties = append(parties, c)
			c.flood(&wg, 500, 5*time.Second, Continue)
		}
		house.flood(&wg, 380, 5*time.Second, Continue)
		wg.Wait()
		if house.refused != 0 {
			t.Errorf("%d of %d are refused, with less than half of what can be served", house.refused, house.refused+house.served)
		}
		for i, c := range parties {
			// The other 420 a second.
			if c.served < 250 || c.served > 350 {
				t.Errorf("party %d: %d served; want about 300", i, c.served)
			}
		}
		empty(t, g)
	})
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Slots: 8})
		house := &client{gate: g, party: g.House(), work: 10 * time.Millisecond}
		quiet := &client{gate: g, party: &Party{}, work: 10 * time.Millisecond}
		var wg sync.WaitGroup
		house.flood(&wg, 8000, 5*time.Second, Continue)
		quiet.flood(&wg, 300, 5*time.Second, Continue)
		wg.Wait()
		if quiet.refused != 0 {
			t.Errorf("whoever floods the house's addresses keeps %d of %d others out", quiet.refused, quiet.refused+quiet.served)
		}
		empty(t, g)
	})
}

func TestHowManyWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Slots: 2, Waiting: 20, WaitingOfParty: 8, Patience: time.Hour, Standing: time.Hour})
		release := hold(t, g)
		clients := make([]*client, 5)
		var wg sync.WaitGroup
		for i := range clients {
			clients[i] = &client{gate: g, party: &Party{}}
			for range 100 {
				wg.Go(func() { _ = clients[i].ask(Begin) })
			}
			synctest.Wait()
			if got := g.Waiting(); got > 20 || clients[i].party.queue.n > 8 {
				t.Errorf("%d wait, %d of one party", got, clients[i].party.queue.n)
			}
		}
		// Who comes when all places are taken gets one of the party with most.
		var waiting []int
		for _, c := range clients {
			waiting = append(waiting, c.party.queue.n)
		}
		if slices.Max(waiting)-slices.Min(waiting) > 1 || g.Waiting() != 20 {
			t.Errorf("waiting by party: %v", waiting)
		}
		release()
		wg.Wait()
		for i, c := range clients {
			if c.served < 4 || c.served+c.refused != 100 {
				t.Errorf("party %d: %d served, %d refused", i, c.served, c.refused)
			}
		}
		empty(t, g)
	})
}

func TestAFullQueueTakesWhatContinuesInPlaceOfWhatBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Slots: 1, WaitingOfParty: 3, Patience: time.Hour, Standing: time.Hour})
		release := hold(t, g)
		party := &Party{}
		logins, launches := &client{gate: g, party: party}, &client{gate: g, party: party}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _ = logins.ask(Begin) })
		}
		synctest.Wait()
		for range 5 {
			wg.Go(func() { _ = launches.ask(Continue) })
		}
		wg.Go(func() { _ = logins.ask(Begin) })
		synctest.Wait()
		release()
		wg.Wait()
		if launches.served != 3 || launches.refused != 2 || logins.refused != 4 {
			t.Errorf("launches: %d served, %d refused; logins: %d refused", launches.served, launches.refused, logins.refused)
		}
		empty(t, g)
	})
}

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Slots: 1})
		release := hold(t, g)
		c := &client{gate: g, party: &Party{}}
		began := time.Now()
		if err := c.ask(Continue); !errors.Is(err, ErrRefused) || time.Since(began) != time.Second {
			t.Errorf("%v after %s; want a refusal after a second", err, time.Since(began))
		}
		// A queue that was full and is there for a while keeps nobody so long.
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() { _ = c.ask(Continue) })
		}
		synctest.Wait()
		if g.Waiting() != 256 {
			t.Errorf("%d wait", g.Waiting())
		}
		time.Sleep(100 * time.Millisecond)
		began = time.Now()
		if err := c.ask(Continue); !errors.Is(err, ErrRefused) || time.Since(began) != 20*time.Millisecond {
			t.Errorf("%v after %s; want a refusal after 20 ms", err, time.Since(began))
		}
		wg.Wait()
		// Neither does one that is never empty.
		for range 10 {
			wg.Go(func() { _ = c.ask(Continue) })
			time.Sleep(100 * time.Millisecond)
		}
		began = time.Now()
		if err := c.ask(Continue); !errors.Is(err, ErrRefused) || time.Since(began) != 20*time.Millisecond {
			t.Errorf("%v after %s; want a refusal after 20 ms", err, time.Since(began))
		}
		wg.Wait()
		// Once nobody was refused for a while it is patient again.
		time.Sleep(900 * time.Millisecond)
		began = time.Now()
		if err := c.ask(Continue); !errors.Is(err, ErrRefused) || time.Since(began) != 20*time.Millisecond {
			t.Errorf("%v after %s; want a refusal after 20 ms", err, time.Since(began))
		}
		time.Sleep(time.Second)
		began = time.Now()
		if err := c.ask(Continue); !errors.Is(err, ErrRefused) || time.Since(began) != time.Second {
			t.Errorf("%v after %s; want a refusal after a second", err, time.Since(began))
		}
		release()
		empty(t, g)
	})
}

// A class that opens an activity together is no overload, though all of them are there at once.
func TestABurstIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Slots: 4})
		c := &client{gate: g, party: &Party{}, work: 10 * time.Millisecond}
		var wg sync.WaitGroup
		for range 260 {
			wg.Go(func() { _ = c.ask(Continue) })
		}
		wg.Wait()
		if c.served != 260 || c.longest() > 640*time.Millisecond {
			t.Errorf("%d of 260 served, the last one after %s", c.served, c.longest())
		}
		empty(t, g)
	})
}

func TestAStandingQueueServesTheNewestFirst(t *testing.T) {
	for name, c := range map[string]struct {
		standing time.Duration
		want     []int
	}{
		"one that is new serves the oldest":       {time.Hour, []int{0, 1, 2}},
		"one that has been there serves the last": {time.Millisecond, []int{2, 1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := New(Options{Slots: 1, WaitingOfParty: 3, Patience: time.Hour, ShortPatience: time.Hour, Standing: c.standing})
				release := hold(t, g)
				party := &Party{}
				var order []int
				var wg sync.WaitGroup
				for i := range 3 {
					wg.Go(func() {
						var ticket Ticket
						if g.Enter(t.Context(), &ticket, party, Continue) == nil {
							order = append(order, i)
							time.Sleep(time.Millisecond)
							ticket.Leave()
						}
					})
					time.Sleep(time.Millisecond)
				}
				if err := (&client{gate: g, party: party}).ask(Begin); err == nil {
					t.Error("one more than there may be waits")
				}
				release()
				wg.Wait()
				if !slices.Equal(order, c.want) {
					t.Errorf("served in the order %v; want %v", order, c.want)
				}
			})
		})
	}
}

func TestUnderOverloadWhoIsServedIsServedSoonAndAfterwardsEverybodyIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Slots: 4})
		party := &Party{}
		c := &client{gate: g, party: party, work: 10 * time.Millisecond}
		var wg sync.WaitGroup
		c.flood(&wg, 4000, 10*time.Second, Continue)
		time.Sleep(time.Second)
		c.restart()
		wg.Wait()
		if c.served < 3500 {
			t.Errorf("%d served in 9 s; want what can be, 3600", c.served)
		}
		if p99 := c.percentile(0.99); p99 > 20*time.Millisecond {
			t.Errorf("p99 of the wait is %s", p99)
		}
		after := &client{gate: g, party: party, work: 10 * time.Millisecond}
		after.flood(&wg, 300, time.Second, Continue)
		wg.Wait()
		if after.refused != 0 || after.longest() > 10*time.Millisecond {
			t.Errorf("after the overload: %d refused, one waited %s", after.refused, after.longest())
		}
		empty(t, g)
	})
}

// Clients that come back when they were refused are no reason to be patient with all of them each time.
func TestThoseWhoComeBackMakeNobodyLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Slots: 4})
		c := &client{gate: g, party: &Party{}, work: 10 * time.Millisecond}
		end := time.Now().Add(20 * time.Second)
		var wg sync.WaitGroup
		for range 320 {
			wg.Go(func() {
				for time.Now().Before(end) {
					if c.ask(Continue) != nil {
						time.Sleep(500 * time.Millisecond)
					}
				}
			})
		}
		time.Sleep(2 * time.Second)
		c.restart()
		wg.Wait()
		if p99 := c.percentile(0.99); p99 > 20*time.Millisecond || c.served < 7000 {
			t.Errorf("%d served, p99 of the wait is %s; want all of 7200 that can be, within 20 ms", c.served, p99)
		}
		empty(t, g)
	})
}

func TestWhoseClientHasGoneLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Slots: 1, Patience: time.Hour})
		release := hold(t, g)
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() {
			var ticket Ticket
			gone <- g.Enter(ctx, &ticket, &Party{}, Continue)
		}()
		synctest.Wait()
		if g.Waiting() != 1 {
			t.Fatalf("%d wait", g.Waiting())
		}
		began := time.Now()
		cancel()
		if err := <-gone; !errors.Is(err, ErrRefused) || g.Waiting() != 0 || time.Since(began) != 0 {
			t.Errorf("%v after %s, %d wait", err, time.Since(began), g.Waiting())
		}
		release()
		empty(t, g)
	})
}

func TestASlotIsGivenBackWhileOutside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Slots: 1})
		var order []string
		var wg sync.WaitGroup
		party := &Party{}
		wg.Go(func() {
			var ticket Ticket
			if err := g.Enter(t.Context(), &ticket, party, Begin); err != nil {
				t.Error(err)
				return
			}
			defer ticket.Leave()
			back, err := Outside(ticket.Context(t.Context()))
			if err != nil {
				t.Error(err)
				return
			}
			time.Sleep(10 * time.Second)
			back()
			order = append(order, "back")
		})
		synctest.Wait()
		if g.Working() != 0 || g.AtOthers() != 1 {
			t.Errorf("%d working, %d outside", g.Working(), g.AtOthers())
		}
		c := &client{gate: g, party: party, work: 10*time.Second + time.Millisecond}
		wg.Go(func() { _ = c.ask(Continue) })
		synctest.Wait()
		if g.Working() != 1 {
			t.Error("the slot is not free for another one")
		}
		time.Sleep(10*time.Second - time.Millisecond)
		wg.Go(func() {
			_ = c.ask(Continue)
			order = append(order, "new")
		})
		wg.Wait()
		if !slices.Equal(order, []string{"back", "new"}) {
			t.Errorf("order %v", order)
		}
		empty(t, g)
	})
}

func TestWhoReturnsWaitsAsLongAsItTakesAndComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Slots: 1, WaitingOfParty: 1})
		party := &Party{}
		var first Ticket
		if err := g.Enter(t.Context(), &first, party, Begin); err != nil {
			t.Fatal(err)
		}
		back, err := Outside(first.Context(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		release := hold(t, g)
		var wg sync.WaitGroup
		c := &client{gate: g, party: party}
		wg.Go(func() { _ = c.ask(Continue) }) // the only place of the queue
		synctest.Wait()
		began := time.Now()
		wg.Go(func() { time.Sleep(30 * time.Second); release() })
		back()
		if time.Since(began) != 30*time.Second || g.Working() != 1 || c.served != 0 {
			t.Errorf("back after %s, %d working, %d others served", time.Since(began), g.Working(), c.served)
		}
		first.Leave()
		wg.Wait()
		empty(t, g)
	})
}

func TestPlacesOutsideAreBoundedAndNoPartyHasAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := map[Class]int{}
		g := New(Options{Slots: 1, Outside: 100, Refused: func(c Class) { refused[c]++ }})
		abroad := func(p *Party) *Ticket {
			ticket := &Ticket{}
			if err := g.Enter(t.Context(), ticket, p, Begin); err != nil {
				t.Fatal(err)
			}
			if _, err := Outside(ticket.Context(t.Context())); err != nil {
				ticket.Leave()
				return nil
			}
			return ticket
		}
		total := 0
		for i, want := range []int{50, 25, 13, 6} {
			p, got := &Party{}, 0
			for range 200 {
				if abroad(p) != nil {
					got++
				}
			}
			if got != want {
				t.Errorf("party %d has %d places; want %d, half of the rest", i, got, want)
			}
			total += got
		}
		if g.AtOthers() != total || g.Working() != 0 || refused[Begin] != 4*200-total {
			t.Errorf("%d outside, %d working, %v refused", g.AtOthers(), g.Working(), refused)
		}
	})
}

// Work of a request may be done by several goroutines, and go on when the request is over.
func TestOutsideAtOnceAndAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(Options{Slots: 2})
		var ticket Ticket
		if err := g.Enter(t.Context(), &ticket, &Party{}, Begin); err != nil {
			t.Fatal(err)
		}
		ctx := ticket.Context(t.Context())
		one, _ := Outside(ctx)
		two, _ := Outside(ctx)
		if g.Working() != 0 || g.AtOthers() != 1 {
			t.Errorf("%d working, %d outside", g.Working(), g.AtOthers())
		}
		one()
		if g.Working() != 0 {
			t.Error("it has a slot although it still waits")
		}
		two()
		if g.Working() != 1 {
			t.Errorf("%d slots", g.Working())
		}
		three, _ := Outside(ctx)
		ticket.Leave()
		ticket.Leave()
		if g.AtOthers() != 1 {
			t.Error("the place is given away although somebody is there")
		}
		three()
		empty(t, g)
		four, err := Outside(ctx)
		if err != nil || g.AtOthers() != 0 {
			t.Errorf("%v, %d outside: what goes on after the end is not concerned", err, g.AtOthers())
		}
		four()
		five, err := Outside(t.Context())
		if err != nil {
			t.Error(err)
		}
		five()
		empty(t, g)
	})
}

func TestAPanicKeepsNoSlot(t *testing.T) {
	g := New(Options{Slots: 1})
	for range 3 {
		func() {
			defer func() { _ = recover() }()
			var ticket Ticket
			if err := g.Enter(t.Context(), &ticket, &Party{}, Begin); err != nil {
				t.Fatal(err)
			}
			defer ticket.Leave()
			back, err := Outside(ticket.Context(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			defer back()
			panic("out of order")
		}()
	}
	empty(t, g)
}

// In real time, because it is about what happens in one instant.
func TestNothingIsLostInACrowd(t *testing.T) {
	var most atomic.Int64
	g := New(Options{Slots: 3, Waiting: 20, WaitingOfParty: 8, Outside: 16, Patience: 2 * time.Millisecond, ShortPatience: time.Millisecond, Standing: 3 * time.Millisecond})
	parties := []*Party{{}, {}, {}, g.House()}
	var served, refused atomic.Int64
	var working atomic.Int64
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for range 300 {
				ctx, cancel := context.WithCancel(context.Background())
				if random.IntN(4) == 0 {
					time.AfterFunc(time.Duration(random.IntN(1000))*time.Microsecond, cancel)
				}
				var ticket Ticket
				if g.Enter(ctx, &ticket, parties[random.IntN(len(parties))], Class(1+random.IntN(2))) != nil {
					refused.Add(1)
					cancel()
					continue
				}
				now := working.Add(1)
				for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
				}
				served.Add(1)
				time.Sleep(time.Duration(random.IntN(100)) * time.Microsecond)
				working.Add(-1)
				if random.IntN(3) == 0 {
					if back, err := Outside(ticket.Context(ctx)); err == nil {
						time.Sleep(time.Duration(random.IntN(100)) * time.Microsecond)
						back()
					}
				}
				ticket.Leave()
				cancel()
			}
		})
	}
	wg.Wait()
	if most.Load() > 3 || served.Load() == 0 || refused.Load() == 0 {
		t.Errorf("at most %d worked at once in 3 slots; %d served, %d refused", most.Load(), served.Load(), refused.Load())
	}
	for i, p := range parties {
		if p.working.Load() != 0 || p.outside.Load() != 0 || p.queue != nil {
			t.Errorf("party %d is left with %d slots, %d places outside, queue %v", i, p.working.Load(), p.outside.Load(), p.queue)
		}
	}
	empty(t, g)
}

func TestEnteringAllocatesNothing(t *testing.T) {
	g, p, ticket, ctx := New(Options{}), &Party{}, &Ticket{}, context.Background()
	if n := testing.AllocsPerRun(1000, func() {
		*ticket = Ticket{}
		if err := g.Enter(ctx, ticket, p, Continue); err != nil {
			t.Fatal(err)
		}
		ticket.Leave()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkEnter(b *testing.B) {
	g := New(Options{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		p, ticket, ctx := &Party{}, &Ticket{}, context.Background()
		for pb.Next() {
			*ticket = Ticket{}
			_ = g.Enter(ctx, ticket, p, Continue)
			ticket.Leave()
		}
	})
}

// BenchmarkEnterSaturated has more that want a slot than there are.
func BenchmarkEnterSaturated(b *testing.B) {
	g := New(Options{Slots: 2, Patience: time.Hour})
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		p, ctx := &Party{}, context.Background()
		for pb.Next() {
			var ticket Ticket
			_ = g.Enter(ctx, &ticket, p, Continue)
			ticket.Leave()
		}
	})
}
