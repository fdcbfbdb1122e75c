// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
	platforms "github.com/lti-operator/lti-operator/hack/launches"
	"github.com/lti-operator/lti-operator/hack/table"
	"github.com/lti-operator/lti-operator/internal/lti"
)

const (
	// overloadPlatforms is how many platforms launch. The first one is the noisy one: during the overload it sends noisyShare
	// of everything, and the others share the rest.
	overloadPlatforms = 8
	noisyShare        = 0.9
	// calmShare is the part of its capacity that the handler gets before and after.
	calmShare = 0.3
	calmFor   = 10 * time.Second
	settleFor = 2 * time.Second
	// loopPatience is how long a request waits for one of them: not at all, but for what the driver needs to read the answers
	// that have come already.
	loopPatience = 20 * time.Millisecond
	// window is how much of the time after the overload has to be as it was before it.
	window = time.Second
)

// The parts of the schedule.
const (
	partSettle = iota // not measured
	partCalm
	partOverload
	partAfter
	parts
)

var partNames = [parts]string{"settling", "unloaded", "overload", "after it"}

// part is a part of the schedule.
type part struct {
	begins, lasts time.Duration
	// rate is in arrivals per second.
	rate float64
}

// Overload is what a handler does that is asked for more than it can do.
type Overload struct {
	// Capacity is in launches per second, each a login and a launch, over connections that send one request after the other:
	// as many as those that the handler has to its database.
	Capacity values `json:"capacity"`
	// Multiple of the capacity was wanted, Arrived came, and Offered of it was sent: the rest found no connection, because the
	// handler had not answered on them yet.
	Multiple float64 `json:"multiple"`
	Arrived  float64 `json:"arrived"`
	// Connections is how many there were at most.
	Connections int     `json:"connections"`
	Offered     float64 `json:"offered"`
	// Parts are by name. Platforms are the launch requests of the overload by platform, the noisy one first.
	Parts     map[string]*OverloadPart `json:"parts"`
	Platforms []*OverloadCount         `json:"platforms"`
	// Others are answers, or reasons of having none, that are neither success nor the refusal that is wanted.
	Others map[string]int `json:"others"`
	// Late is how many seconds of the 99th percentile requests were sent after they were due, in the overload.
	Late float64 `json:"late"`
	// UsedUp is how many launches were logins instead, because those that had been prepared were used up.
	UsedUp int `json:"usedUp"`
	// Recovery is how many seconds after the overload the first window begins that is as before it; -1 for none.
	Recovery float64 `json:"recovery"`
	// Acknowledged is how many launches were accepted, Lost how many of these the academy's back end could not redeem.
	Acknowledged int `json:"acknowledged"`
	Lost         int `json:"lost"`
	// Memory in bytes: idle, at most before the overload, in the two halves of the overload, and at most at all.
	IdleMemory     int64    `json:"idleMemory"`
	CalmMemory     int64    `json:"calmMemory"`
	OverloadMemory [2]int64 `json:"overloadMemory"`
	PeakMemory     int64    `json:"peakMemory"`
	// ServerIdle and DriverIdle are parts of the time of the overload in which the cores had nothing to do, and the others
	// the parts of it that the server, the driver and PostgreSQL were running.
	ServerIdle   float64 `json:"serverIdle"`
	DriverIdle   float64 `json:"driverIdle"`
	ServerBusy   float64 `json:"serverBusy"`
	DriverBusy   float64 `json:"driverBusy"`
	DatabaseBusy float64 `json:"databaseBusy"`
	// Seconds is how long the overload lasted.
	Seconds float64 `json:"seconds"`
}

// OverloadPart is what was measured in a part of the schedule.
type OverloadPart struct {
	Login  *OverloadCount `json:"login"`
	Launch *OverloadCount `json:"launch"`
	// Complete has the latencies of a login and a launch together, where each launch began with a login.
	Complete *Latency `json:"complete,omitempty"`
}

// OverloadCount is what became of some of the requests. Those that were sent are Accepted, Refused and Failed.
type OverloadCount struct {
	Accepted int `json:"accepted"`
	Refused  int `json:"refused"`
	Failed   int `json:"failed"`
	Unsent   int `json:"unsent"`
	// Latency is that of the accepted ones.
	Latency Latency `json:"latency"`
	// RefusedP99 is that of the refused ones, in milliseconds.
	RefusedP99 float64 `json:"refusedP99"`
}

func (c *OverloadCount) sent() int { return c.Accepted + c.Refused + c.Failed }

// share is the part of what was sent that was accepted, shareOfAll that of what would have been sent.
func (c *OverloadCount) share() float64 { return float64(c.Accepted) / float64(max(1, c.sent())) }

func (c *OverloadCount) shareOfAll() float64 {
	return float64(c.Accepted) / float64(max(1, c.sent()+c.Unsent))
}

// crowd is what the scenario needs while it runs.
type crowd struct {
	*bench
	*Overload
	// views are the handler as each platform sees it.
	views []*subject
	parts [parts]part
	// logins are requests by platform, and ready launches, the one that waits for longest first.
	logins [][][]byte
	ready  [][]*prepared
	// random is the same in every run.
	random *rand.Rand
	turn   int
	// all are the arrivals that are over, began when the loop did.
	all   []*arrival
	began time.Time
	// before and after are what was used until the overload began, and until it ended.
	before, after usage
	usageErr      error
}

// overload measures a handler as it is shipped, with arrivals that do not wait for each other: at a part of its capacity, at a
// multiple of it, mostly from one of several platforms, and at that part again. During the overload one half of the requests
// are logins, and the other half launches whose logins were done and whose ID tokens were signed before; what is refused
// of those is sent again later.
func overload(ctx context.Context, b *bench) (outcome, error) {
	c := &crowd{bench: b, random: rand.New(rand.NewPCG(1, 2)), Overload: &Overload{
		Multiple: b.flags.Overload, Connections: b.flags.OverloadConnections, Parts: map[string]*OverloadPart{}, Others: map[string]int{}, Recovery: -1,
	}}
	for _, part := range []func(context.Context) error{c.start, c.findCapacity, c.prepare, c.offer, c.redeem} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	var err error
	c.PeakMemory, err = c.server().process.PeakMemory()
	return c.Overload, err
}

// server is the handler as the noisy platform sees it.
func (c *crowd) server() *subject { return c.views[0] }

func (c *crowd) start(ctx context.Context) error {
	all := []*platforms.Platform{c.platform}
	for i := 1; i < overloadPlatforms; i++ {
		n := strconv.Itoa(i + 1)
		all = append(all, &platforms.Platform{
			Name: platformName + "-" + n, Issuer: "https://moodle-" + n + ".university.example", ClientID: clientID + n,
			DeploymentID: deploymentID, Key: c.platform.Key,
		})
	}
	t, err := c.table(all[1:]...)
	if err != nil {
		return err
	}
	if err := table.Write(c.file("config"), t); err != nil {
		return err
	}
	for _, p := range all {
		view := c.newOurs(ours, p)
		// So many are no overload yet.
		view.connections = poolConnections
		c.views = append(c.views, view)
	}
	s := c.server()
	if err := c.startHandler(ctx, s, false); err != nil {
		return err
	}
	if err := c.watchMemory(ctx, c.views[:1]); err != nil {
		return err
	}
	c.IdleMemory = s.idle
	c.say("everybody's first launch")
	for i, view := range c.views {
		view.address, view.process = s.address, s.process
		if _, err := c.pass(ctx, view, c.learners(i, c.flags.Learners/overloadPlatforms), 0, ""); err != nil {
			return err
		}
	}
	return nil
}

// learners are the next launches from a platform, which has learners of its own.
func (c *crowd) learners(platform, n int) []*launch {
	each := c.flags.Learners / overloadPlatforms
	launches := make([]*launch, n)
	for i := range launches {
		launches[i] = &launch{who: newPerson(platform*each + i%each)}
	}
	return launches
}

func (c *crowd) findCapacity(ctx context.Context) error {
	s := *c.server()
	s.steps = s.steps[:2]
	for range 3 {
		p, err := c.pass(ctx, &s, c.learners(0, c.flags.Launches), 0, "")
		if err != nil {
			return err
		}
		c.Capacity = append(c.Capacity, p.Total.PerSecond)
	}
	capacity := c.Capacity.median()
	c.say("capacity: %.0f launches per second", capacity)
	begins := time.Duration(0)
	for n, p := range [parts]part{
		partSettle: {lasts: settleFor, rate: calmShare * capacity}, partCalm: {lasts: calmFor, rate: calmShare * capacity},
		partOverload: {lasts: c.flags.OverloadFor, rate: 2 * c.Multiple * capacity}, partAfter: {lasts: calmFor, rate: calmShare * capacity},
	} {
		p.begins = begins
		begins += p.lasts
		c.parts[n] = p
	}
	return nil
}

// prepare does logins and signs the answers to them. There are as many as can be accepted: all that the quiet platforms
// send, and of the noisy one what the handler can do, and those that are being refused.
func (c *crowd) prepare(ctx context.Context) error {
	over := &c.parts[partOverload]
	for i, view := range c.views {
		n := 0.0
		for _, p := range c.parts {
			if p.rate < over.rate {
				n += 1.2 * p.rate * p.lasts.Seconds() / overloadPlatforms
			}
		}
		if i == 0 {
			n += 1.2*c.Capacity.median()*over.lasts.Seconds() + float64(c.flags.OverloadConnections)
		} else {
			n += 1.1 * over.rate / 2 * (1 - noisyShare) * over.lasts.Seconds() / (overloadPlatforms - 1)
		}
		launches := c.learners(i, int(n)+100)
		c.say("%s: preparing %d launches", view.platform.Name, len(launches))
		login, launchStep := view.steps[0], view.steps[1]
		if _, err := c.pass(ctx, &subject{name: view.name, address: view.address, process: view.process, connections: view.connections, steps: []step{login}}, launches, 0, ""); err != nil {
			return err
		}
		if err := launchStep.before(ctx, launches); err != nil {
			return err
		}
		var logins [][]byte
		ready := make([]*prepared, len(launches))
		for n, l := range launches {
			if n < c.flags.Learners/overloadPlatforms {
				logins = append(logins, login.request(l))
			}
			ready[n] = &prepared{launch: l, request: launchStep.request(l)}
			l.token, l.state, l.answer = "", "", answer{}
		}
		c.logins, c.ready = append(c.logins, logins), append(c.ready, ready)
	}
	return nil
}

// offer sends everything.
func (c *crowd) offer(ctx context.Context) error {
	c.say("%.0f launches per second; for %s %.1f times the capacity", c.parts[partCalm].rate, c.parts[partOverload].lasts, c.Multiple)
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	if err := measure.Sleep(ctx, time.Second); err != nil {
		return err
	}
	part, due := 0, time.Duration(0)
	loop := &openLoop{
		address: c.server().address, connections: c.flags.OverloadConnections, patience: loopPatience,
		next:    func() *arrival { return c.next(&part, &due) },
		request: c.request, answered: c.answered,
		unsent: func(a *arrival) {
			a.fate = unsent
			c.all = append(c.all, a)
		},
	}
	c.began = time.Now()
	if err := loop.run(ctx); err != nil {
		return err
	}
	if c.usageErr != nil {
		return c.usageErr
	}
	c.evaluate()
	return nil
}

// next is the next arrival: arrivals are independent of each other (a Poisson process).
func (c *crowd) next(part *int, due *time.Duration) *arrival {
	*due += time.Duration(c.random.ExpFloat64() / c.parts[*part].rate * float64(time.Second))
	for p := c.parts[*part]; *due >= p.begins+p.lasts; p = c.parts[*part] {
		*part++
		switch *part {
		case partOverload:
			c.before, c.usageErr = c.usageBefore(c.server())
		case partAfter:
			after, err := c.usageAfter(c.server())
			if c.after = after; err != nil {
				c.usageErr = err
			}
		case parts:
			return nil
		}
		// What is left of the gap was drawn for another rate.
		next := c.parts[*part]
		*due = next.begins + time.Duration(c.random.ExpFloat64()/next.rate*float64(time.Second))
	}
	a := &arrival{due: *due, part: *part}
	if *part != partOverload {
		a.platform, a.complete = c.random.IntN(overloadPlatforms), true
		return a
	}
	if c.random.Float64() >= noisyShare {
		a.platform = 1 + c.random.IntN(overloadPlatforms-1)
	}
	a.launches = c.random.IntN(2) == 0
	return a
}

// request implements openLoop.request.
func (c *crowd) request(a *arrival) []byte {
	if a.launches {
		if ready := c.ready[a.platform]; len(ready) > 0 {
			a.prepared, c.ready[a.platform] = ready[0], ready[1:]
			return a.prepared.request
		}
		a.launches = false
		c.UsedUp++
	}
	c.turn++
	logins := c.logins[a.platform]
	return logins[c.turn%len(logins)]
}

// answered implements openLoop.answered.
func (c *crowd) answered(a *arrival, got *answer, err error) (goesOn bool) {
	a.fate, a.reason = c.fateOf(a, got, err)
	switch {
	case a.fate == accepted && a.complete && !a.launches && len(c.ready[a.platform]) > 0:
		a.login, a.launches, a.due = a.latency(), true, a.answeredAt
		return true
	case a.fate == accepted && a.launches:
		a.prepared.request = nil
	case a.fate == refused && a.launches:
		c.ready[a.platform] = append(c.ready[a.platform], a.prepared)
		a.prepared = nil
	}
	c.all = append(c.all, a)
	return false
}

func (c *crowd) fateOf(a *arrival, got *answer, err error) (f fate, reasonOfIt string) {
	if err != nil {
		return failed, err.Error()
	}
	wanted := c.views[a.platform].platform.Issuer + authenticationPath + "?"
	if a.launches {
		wanted = targetURL + "?lti_launch_code="
	}
	code, ok := strings.CutPrefix(got.location, wanted)
	switch {
	case got.status == http.StatusSeeOther && ok:
		if a.launches {
			a.prepared.next, _, _ = strings.Cut(code, "&")
		}
		return accepted, ""
	case got.status == http.StatusServiceUnavailable && got.retryAfter != "" && bytes.Contains(got.body, reasonOnPage(lti.Overloaded)):
		return refused, ""
	}
	return failed, fmt.Sprintf("%d %s", got.status, reason.FindAll(got.body, 2))
}

// evaluate reads what there is to know from the arrivals.
func (c *crowd) evaluate() {
	of := func(p int) (these []*arrival) {
		for _, a := range c.all {
			if a.part == p {
				these = append(these, a)
			}
		}
		return these
	}
	for p := partCalm; p < parts; p++ {
		var logins, launches tally
		var complete []float64
		for _, a := range of(p) {
			switch {
			case !a.launches:
				logins.add(a)
			case !a.complete:
				launches.add(a)
			default:
				logins.add(&arrival{answeredAt: a.login})
				launches.add(a)
				if a.fate == accepted {
					complete = append(complete, milliseconds(a.login+a.latency()))
				}
			}
			if a.fate == failed {
				c.Others[a.reason]++
			}
		}
		found := &OverloadPart{Login: logins.count(), Launch: launches.count()}
		if len(complete) > 0 {
			latency := newLatency(complete)
			found.Complete = &latency
		}
		c.Parts[partNames[p]] = found
	}

	platforms := make([]tally, overloadPlatforms)
	var late []float64
	sent := 0
	for _, a := range of(partOverload) {
		if a.launches {
			platforms[a.platform].add(a)
		}
		if a.fate != unsent {
			late = append(late, (a.sentAt - a.due).Seconds())
			sent++
		}
	}
	for i := range platforms {
		c.Platforms = append(c.Platforms, platforms[i].count())
	}
	c.Late = measure.Percentile(late, 99)
	over := c.parts[partOverload]
	c.Seconds = over.lasts.Seconds()
	c.Offered = float64(sent) / 2 / c.Seconds / c.Capacity.median()
	c.Arrived = float64(len(of(partOverload))) / 2 / c.Seconds / c.Capacity.median()
	if calm := c.Parts[partNames[partCalm]].Complete; calm != nil {
		c.Recovery = recovery(of(partAfter), c.parts[partAfter], calm.P99)
	}

	at := func(d time.Duration) time.Time { return c.began.Add(d) }
	process, half := c.server().process, over.begins+over.lasts/2
	c.CalmMemory = process.MostMemory(at(0), at(over.begins))
	c.OverloadMemory = [2]int64{process.MostMemory(at(over.begins), at(half)), process.MostMemory(at(half), at(over.begins+over.lasts))}
	whole := float64(c.after.at.Sub(c.before.at))
	c.ServerIdle = c.after.cores[c.flags.ServerCore].IdleSince(c.before.cores[c.flags.ServerCore])
	c.DriverIdle = c.after.cores[c.flags.DriverCore].IdleSince(c.before.cores[c.flags.DriverCore])
	c.ServerBusy = float64(c.after.server-c.before.server) / whole
	c.DriverBusy = float64(c.after.driver-c.before.driver) / whole
	c.DatabaseBusy = float64(c.after.database-c.before.database) / whole
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// tally counts arrivals.
type tally struct {
	counts            OverloadCount
	latencies, others []float64 // of those accepted, and of those refused
}

func (t *tally) add(a *arrival) {
	switch a.fate {
	case accepted:
		t.counts.Accepted++
		t.latencies = append(t.latencies, milliseconds(a.latency()))
	case refused:
		t.counts.Refused++
		t.others = append(t.others, milliseconds(a.latency()))
	case failed:
		t.counts.Failed++
	case unsent:
		t.counts.Unsent++
	}
}

func (t *tally) count() *OverloadCount {
	t.counts.Latency, t.counts.RefusedP99 = newLatency(t.latencies), measure.Percentile(t.others, 99)
	return &t.counts
}

// recovery is how many seconds after the overload the first window begins in which nothing is refused and the launches that
// began in it took at most half as long again as before; -1 for none. Windows begin every tenth of a second.
func recovery(after []*arrival, p part, calmP99 float64) float64 {
	for begins := time.Duration(0); begins+window <= p.lasts; begins += window / 10 {
		var complete []float64
		bad := false
		for _, a := range after {
			// Of a launch, due is when its login was answered.
			began := a.due - a.login - p.begins
			switch {
			case began < begins || began >= begins+window:
			case a.fate == accepted && a.launches:
				complete = append(complete, milliseconds(a.login+a.latency()))
			default:
				bad = true
			}
		}
		if !bad && len(complete) > 0 && measure.Percentile(complete, 99) <= 1.5*calmP99 {
			return begins.Seconds()
		}
	}
	return -1
}

// redeem lets the academy's back end redeem the code of each launch that was accepted, the oldest first: they live for a
// minute.
func (c *crowd) redeem(ctx context.Context) error {
	var launches []*launch
	for _, a := range c.all {
		if a.fate == accepted && a.launches {
			launches = append(launches, a.prepared.launch)
		}
	}
	c.Acknowledged = len(launches)
	if c.Acknowledged == 0 {
		return fmt.Errorf("no launch was accepted at all; others: %v", c.Others)
	}
	c.say("redeeming the codes of %d launches", len(launches))
	s := *c.server()
	arrive := s.steps[2]
	s.steps = []step{{name: arrive.name, request: arrive.request, check: func(l *launch) error {
		if err := arrive.check(l); err != nil {
			c.Lost++
			c.Others["of a code: "+err.Error()]++
		}
		return nil
	}}}
	_, err := c.pass(ctx, &s, launches, 0, "")
	return err
}

// write implements outcome.
func (o *Overload) write(out io.Writer) error {
	fmt.Fprintf(out, "LTI 1.3 launches of %d platforms at a handler with the flags that it has by default. Arrivals do not wait for each other: %s at %.0f %% of "+
		"the capacity, then %s times the capacity, %.0f %% of it from one platform, then as before. One half of the overload are logins, "+
		"the other one launches that were prepared. There are at most %d connections.\n\n",
		overloadPlatforms, calmFor, 100*calmShare, measure.Number(o.Multiple), 100*noisyShare, o.Connections)
	cells := [][]string{{"", partNames[partCalm], partNames[partOverload], partNames[partAfter]}}
	line := func(what string, cell func(*OverloadPart) string) {
		row := []string{what}
		for _, name := range partNames[partCalm:] {
			row = append(row, cell(o.Parts[name]))
		}
		cells = append(cells, row)
	}
	for _, step := range []struct {
		name string
		of   func(*OverloadPart) *OverloadCount
	}{
		{stepLogin, func(p *OverloadPart) *OverloadCount { return p.Login }}, {stepLaunch, func(p *OverloadPart) *OverloadCount { return p.Launch }},
	} {
		for _, count := range []struct {
			name string
			of   func(*OverloadCount) int
		}{
			{"sent", (*OverloadCount).sent},
			{"accepted", func(c *OverloadCount) int { return c.Accepted }},
			{"refused as wanted", func(c *OverloadCount) int { return c.Refused }},
			{"answered otherwise, or not at all", func(c *OverloadCount) int { return c.Failed }},
			{"not sent, for want of a connection", func(c *OverloadCount) int { return c.Unsent }},
		} {
			line(step.name+": "+count.name, func(p *OverloadPart) string { return strconv.Itoa(count.of(step.of(p))) })
		}
		for _, p := range percentiles {
			line(step.name+": "+p.name+" of accepted ones, ms", func(part *OverloadPart) string {
				c := step.of(part)
				if c.Accepted == 0 {
					return ""
				}
				return measure.Number(p.of(&c.Latency))
			})
		}
		line(step.name+": p99 of refused ones, ms", func(p *OverloadPart) string {
			c := step.of(p)
			if c.Refused == 0 {
				return ""
			}
			return measure.Number(c.RefusedP99)
		})
	}
	for _, p := range percentiles {
		line("login and launch: "+p.name+", ms", func(part *OverloadPart) string {
			if part.Complete == nil {
				return ""
			}
			return measure.Number(p.of(part.Complete))
		})
	}
	if err := measure.WriteTable(out, "lrrr", cells); err != nil {
		return err
	}
	fmt.Fprintln(out)
	return o.report().Write(out)
}

// report is what is wanted of a handler under overload.
func (o *Overload) report() *measure.Report {
	r := &measure.Report{}
	calm, over, after := o.Parts[partNames[partCalm]], o.Parts[partNames[partOverload]], o.Parts[partNames[partAfter]]
	r.Tell("capacity, launches per second", o.Capacity.median(), "")
	r.Tell("arrivals in the overload / capacity", o.Arrived, "×")
	r.Tell("… of which there was a connection for", o.Offered, "×")
	r.Tell("accepted launches per second in the overload", o.perSecond(over.Launch.Accepted), "")
	r.Tell("… / capacity", o.perSecond(over.Launch.Accepted)/o.Capacity.median(), "×")
	if calm.Complete != nil {
		r.Add("p99, overload / unloaded: login and launch", (over.Login.Latency.P99+over.Launch.Latency.P99)/calm.Complete.P99, 5, "×")
	}
	r.Tell("… login", over.Login.Latency.P99/calm.Login.Latency.P99, "×")
	r.Tell("… launch", over.Launch.Latency.P99/calm.Launch.Latency.P99, "×")
	others := 0
	for _, p := range []*OverloadPart{calm, over, after} {
		others += p.Login.Failed + p.Launch.Failed
	}
	r.Add("answers that are neither success nor the refusal", float64(others), 0, "")
	r.Add("refused while unloaded", float64(calm.Login.Refused+calm.Launch.Refused), 0, "")

	noisy, quiet := o.Platforms[0], o.Platforms[1:]
	r.Tell("launches of the noisy platform: accepted, of those sent", 100*noisy.share(), "%")
	r.Tell("… of all", 100*noisy.shareOfAll(), "%")
	r.Tell("… p99", noisy.Latency.P99, "ms")
	least := slices.MinFunc(quiet, func(a, b *OverloadCount) int { return a.Accepted - b.Accepted })
	r.Tell("launches of the quiet platform with the fewest: accepted, of those sent", 100*least.share(), "%")
	r.Tell("… of all", 100*least.shareOfAll(), "%")
	slowest := slices.MaxFunc(quiet, func(a, b *OverloadCount) int { return int(1000 * (a.Latency.P99 - b.Latency.P99)) })
	r.Tell("… p99 of the slowest quiet platform", slowest.Latency.P99, "ms")
	// Who asks for less than an equal share of what was accepted can have all of it.
	equal := min(float64(over.Launch.Accepted)/overloadPlatforms, float64(least.sent()+least.Unsent))
	r.Tell("… accepted / an equal share", float64(least.Accepted)/max(1, equal), "×")

	recovered := o.Recovery
	if recovered < 0 {
		recovered = calmFor.Seconds()
		r.Note("it did not recover while it was watched")
	}
	r.Add("recovery", recovered, 5, "s")
	r.Add(fmt.Sprintf("launches lost, of %d acknowledged", o.Acknowledged), float64(o.Lost), 0, "")
	r.Tell("memory idle", float64(o.IdleMemory)/measure.MiB, "MiB")
	r.Tell("memory at most, unloaded", float64(o.CalmMemory)/measure.MiB, "MiB")
	r.Tell("memory at most, overload", float64(o.PeakMemory)/measure.MiB, "MiB")
	r.Tell("… second half of it / first half", float64(o.OverloadMemory[1])/float64(max(1, o.OverloadMemory[0])), "×")
	o.explain(r)
	return r
}

// perSecond is a number of the overload in a second.
func (o *Overload) perSecond(n int) float64 { return float64(n) / o.Seconds }

func (o *Overload) explain(r *measure.Report) {
	over := o.Parts[partNames[partOverload]]
	r.Note("capacity: %s complete launches per second in 3 passes, a login and a launch each, over %d connections that send one request after the other", o.Capacity, poolConnections)
	r.Note("latencies are from when a request was due; of a launch that began with its login, from the answer to that. In the overload the sum of the two " +
		"percentiles stands for the percentile of the sum, which is less")
	r.Note("recovery: when the first second begins, of those at every tenth of a second after the overload, in which nothing is refused " +
		"and the p99 of login and launch is at most 1.5 times the unloaded one")
	r.Note("in the overload %d of %d logins were accepted, and %d of %d launches", over.Login.Accepted, over.Login.sent(), over.Launch.Accepted, over.Launch.sent())
	r.Note("in the overload the server's core had %.0f %% idle and the driver's %.0f %%; of a core, the server took %.0f %%, the driver %.0f %% and "+
		"PostgreSQL %.0f %%. 99 %% of requests were sent at most %s ms late", 100*o.ServerIdle, 100*o.DriverIdle,
		100*o.ServerBusy, 100*o.DriverBusy, 100*o.DatabaseBusy, measure.Number(1000*o.Late))
	if others := 1 - o.ServerIdle - o.ServerBusy; others > 0.1 {
		r.Note("%.0f %% of the server's core went to other programs, or to the kernel for nobody: the machine is too busy for this", 100*others)
	}
	r.Note("what finds no connection is not sent: the handler has not answered on those that there may be, %d, which holds back what an ingress "+
		"would refuse then", o.Connections)
	if o.DriverIdle < saturated {
		r.Note("the driver's core was saturated: latencies and rates of the overload are worse than the server's. --overload lowers what is offered")
	}
	if o.UsedUp > 0 {
		r.Note("%d launches were logins instead, because those prepared were used up", o.UsedUp)
	}
	for _, reason := range slices.Sorted(maps.Keys(o.Others)) {
		r.Note("%d times: %s", o.Others[reason], reason)
	}
}
