// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
	platforms "github.com/lti-operator/lti-operator/hack/launches"
	"github.com/lti-operator/lti-operator/hack/table"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store/postgres/pgtest"
)

const (
	startTimeout = time.Minute
	// poolConnections is the launch handler's own default; the others get as many.
	poolConnections = 10
	// paceShare is the part of what a subject can do that the paced pass asks for.
	paceShare = 0.6
	// pacedAtMost is how long a step of the paced pass may take, unless that leaves too few launches.
	pacedAtMost = 3 * time.Second
)

// bench is everything that runs, and what was found out.
type bench struct {
	flags *flags
	root  string // of the repository
	dir   string // for everything temporary of the scenario that runs, removed at the end
	// scenario is the name of the one that runs.
	scenario string
	// eachRound is measured in each round besides its subjects; nil for nothing.
	eachRound func(context.Context) error
	progress  io.Writer
	began     time.Time
	load      string
	// cores is their number.
	cores int

	procs    *measure.Processes
	database *pgtest.Server
	// settings are those of the database that matter for durability.
	settings string
	platform *platforms.Platform
	keySet   *served
	// secret is that of the academy's application.
	secret string
	// handler is the launch handler's program.
	handler string
	// launched is how many launches there were by people whom nobody knew, with --fresh.
	launched int
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.progress, "%7.1f s  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

func (b *bench) databaseCore() int {
	if b.flags.DatabaseCore < 0 {
		return b.flags.DriverCore
	}
	return b.flags.DatabaseCore
}

// run measures every scenario that is wanted.
func (b *bench) run(ctx context.Context) (*Result, error) {
	if err := b.start(ctx); err != nil {
		return nil, err
	}
	r := b.newResult()
	for _, s := range scenarios {
		if len(b.flags.Scenarios) > 0 && !slices.Contains(b.flags.Scenarios, s.name) {
			continue
		}
		found, err := b.runScenario(ctx, &s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		r.add(s.name, found)
	}
	return r, nil
}

func (b *bench) stop() error {
	b.procs.StopAll()
	if b.keySet != nil {
		b.keySet.close()
	}
	if b.database != nil {
		return b.database.Close()
	}
	return nil
}

// start brings up what all scenarios share.
func (b *bench) start(ctx context.Context) (err error) {
	if b.cores < 2 || max(b.flags.ServerCore, b.flags.DriverCore, b.databaseCore()) >= b.cores {
		return fmt.Errorf("there are %d cores; see --server-core and the others", b.cores)
	}
	if b.root, err = measure.FindRoot(); err != nil {
		return err
	}
	b.platform = &platforms.Platform{Name: platformName, Issuer: issuer, ClientID: clientID, DeploymentID: deploymentID}
	if b.platform.Key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return err
	}
	b.secret = rand.Text()
	if err := b.buildHandler(ctx); err != nil {
		return err
	}
	if err := b.startDatabase(ctx); err != nil {
		return err
	}
	return b.keepToDriverCore()
}

// watchMemory reads how much memory servers take before the first launch.
func (b *bench) watchMemory(ctx context.Context, subjects []*subject) error {
	return b.watchMemoryAfter(ctx, 2*time.Second, subjects)
}

// watchMemoryAfter reads it when they had so long to come to rest.
func (b *bench) watchMemoryAfter(ctx context.Context, rest time.Duration, subjects []*subject) error {
	const watched = 2 * time.Second
	b.say("watching memory for %s", rest+watched)
	rested := time.Now().Add(rest)
	if err := measure.Sleep(ctx, rest+watched); err != nil {
		return err
	}
	for _, s := range subjects {
		for _, server := range s.servers() {
			s.idle += server.process.Memory(rested)
		}
	}
	return nil
}

// startDatabase starts PostgreSQL as in production: what is committed is on the disk.
func (b *bench) startDatabase(ctx context.Context) (err error) {
	b.say("starting PostgreSQL")
	if err := measure.Pin(b.databaseCore()); err != nil {
		return err
	}
	if b.database, err = pgtest.Run(pgtest.Durable); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, b.database.AdminURL("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	const query = `SELECT string_agg(name || '=' || setting || coalesce(unit, ''), ', ' ORDER BY name) FROM pg_settings
		WHERE name IN ('server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'wal_sync_method', 'shared_buffers')`
	return conn.QueryRow(ctx, query).Scan(&b.settings)
}

// table is what the operator would make of one activity, which is opened in a window of its own, and of one platform and
// any others.
func (b *bench) table(others ...*platforms.Platform) (*routing.Table, error) {
	academyKeys, err := table.AcademyKeys(table.Client(applicationID, b.secret))
	if err != nil {
		return nil, err
	}
	t := &routing.Table{
		Academy:     routing.Academy{Name: "default", Title: "Acme Academy", URL: academyURL, Active: true},
		AcademyKeys: academyKeys,
		Activities:  []routing.Activity{shared(activity{activityName, targetURL})},
	}
	for _, p := range append([]*platforms.Platform{b.platform}, others...) {
		signs, err := table.SigningKey(routing.KindPlatform, p.Name, p.Key)
		if err != nil {
			return nil, err
		}
		t.SigningKeys = append(t.SigningKeys, signs)
		t.Platforms = append(t.Platforms, routing.Platform{
			Name: p.Name, Title: "University", Active: true, Realm: p.Name,
			Deployments: []routing.Deployment{{ID: p.DeploymentID, Active: true}},
			PublicKeys:  []routing.JWK{keys.PublicJWK(&p.Key.PublicKey)},
			LTI13: &routing.PlatformLTI13{
				Issuer: p.Issuer, ClientID: p.ClientID, AuthenticationURL: p.Issuer + authenticationPath, AccessTokenURL: p.Issuer + accessTokenPath, JWKS: p.JWKS(),
			},
		})
	}
	return t, nil
}

// shared is an activity as it stands in a routing table.
func shared(a activity) routing.Activity {
	return routing.Activity{Name: a.name, Title: resourceTitle, Type: "ELearning", Share: &routing.Share{
		TargetURL: a.targetURL, Presentation: routing.PresentationNewWindow, SignIn: routing.SignInLaunchCode, ClientID: applicationID,
	}}
}

// backEndFields are those of a request of the academy's application.
func (b *bench) backEndFields() string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(applicationID+":"+b.secret)) + "\r\nAccept: application/json\r\n"
}

// file is a path in the temporary folder.
func (b *bench) file(name string) string { return filepath.Join(b.dir, name) }

// startSubject starts a server on its core, and waits until it answers. The command has neither name nor cores yet.
func (b *bench) startSubject(ctx context.Context, s *subject, c *measure.Command, ready func(*connection) error) (err error) {
	b.say("starting %s", s.name)
	c.Name, c.Cores = s.name, []int{b.flags.ServerCore}
	if s.process, err = b.procs.Start(*c); err != nil {
		return err
	}
	err = measure.Until(ctx, startTimeout, 20*time.Millisecond, func() error {
		conn, err := dial(s.address)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		return ready(conn)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// newDatabase makes a database for a subject, and returns a file with its address.
func (b *bench) newDatabase(s *subject) (address, file string, err error) {
	if address, err = b.database.CreateDatabase(); err != nil {
		return "", "", err
	}
	file = b.file(s.name + ".uri")
	return address, file, os.WriteFile(file, []byte(address), 0o600)
}

// startHandler starts a launch handler with the routing table in the folder config, on PostgreSQL or on SQLite.
func (b *bench) startHandler(ctx context.Context, s *subject, sqlite bool) error {
	where := "sqlite:" + b.file(s.name+".db")
	if !sqlite {
		_, file, err := b.newDatabase(s)
		if err != nil {
			return err
		}
		where = "postgres-file:" + file
	}
	return b.startHandlerOn(ctx, s, where)
}

// startHandlerOn starts one on the store that its flag names in that way.
func (b *bench) startHandlerOn(ctx context.Context, s *subject, where string) error {
	free, err := measure.FreeAddresses(1)
	if err != nil {
		return err
	}
	s.address = free[0]
	c := &measure.Command{Path: b.handler, Args: b.handlerFlags(s, where, free[0], "127.0.0.1:0")}
	if b.flags.Profile != "" {
		s.profile = b.file(s.name + ".pprof")
		c.Env = []string{"CPU_PROFILE=" + s.profile}
	}
	return b.startSubject(ctx, s, c, func(conn *connection) error {
		a, err := conn.exchange(request(http.MethodGet, routing.PathOpenAPI, "", nil, ""))
		if err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("answered with %d", a.status)
		}
		return err
	})
}

// handlerFlags are those of a handler with the subject's routing table, that serves launches and /readyz at these addresses.
func (b *bench) handlerFlags(s *subject, where, public, operations string) []string {
	return []string{
		"--config-dir=" + b.file(cmp.Or(s.config, "config")), "--store=" + where,
		"--public-address=" + public, "--ops-address=" + operations, "--control-address=127.0.0.1:0",
	}
}

// peerCommand is a program of hack/peers with a configuration in JSON, in production.
func (b *bench) peerCommand(s *subject, program string, config any, env ...string) (c measure.Command, err error) {
	content, err := json.Marshal(config)
	if err != nil {
		return c, err
	}
	file := b.file(s.name + ".json")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return c, err
	}
	if c.Path, err = exec.LookPath("node"); err != nil {
		return c, fmt.Errorf("%w: see hack/tools/ensure.sh", err)
	}
	_, port, err := net.SplitHostPort(s.address)
	c.Args = []string{filepath.Join(b.root, "hack", "peers", program), file}
	c.Env = append(env, "NODE_ENV=production", "TOOL_PORT="+port)
	return c, err
}

// makeFolders makes folders that only this user may look into.
func makeFolders(paths ...string) error {
	for _, path := range paths {
		if err := os.MkdirAll(path, 0o700); err != nil {
			return fmt.Errorf("make a folder: %w", err)
		}
	}
	return nil
}

// build compiles a program of this repository.
func (b *bench) build(ctx context.Context, path, what string, flags ...string) error {
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", path}, flags...), what)...)
	cmd.Dir = b.root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", what, err, out)
	}
	return nil
}

// buildHandler compiles the launch handler, so that what is measured is what is in the checkout.
func (b *bench) buildHandler(ctx context.Context) error {
	b.say("building the launch handler")
	b.handler = b.file("launch-handler")
	if b.flags.Profile == "" {
		return b.build(ctx, b.handler, "./cmd/launch-handler")
	}
	if err := makeFolders(b.flags.Profile); err != nil {
		return err
	}
	return b.build(ctx, b.handler, "./cmd/launch-handler", "-tags=cpuprofile")
}

// warmUp lets everybody launch once, so that all are known, and finds the paces.
func (b *bench) warmUp(ctx context.Context, subjects []*subject) error {
	for _, s := range subjects {
		b.say("%s: everybody's first launch", s.name)
		known := b.known
		if s.known != nil {
			known = s.known
		}
		if _, err := b.pass(ctx, s, known(), 0, ""); err != nil {
			return err
		}
		passed, err := b.pass(ctx, s, b.next(s, s.launches), 0, "")
		if err != nil {
			return err
		}
		s.pace = b.flags.Pace[s.name]
		if s.pace == 0 {
			slowest := slices.MinFunc(passed.Phases, func(p, q *Phase) int { return cmp.Compare(p.PerSecond, q.PerSecond) })
			s.pace = paceShare * slowest.PerSecond
		}
	}
	return nil
}

// runRounds measures all subjects in each round, in this order and the other in turn: what changes slowly on the machine
// changes for all of them.
func (b *bench) runRounds(ctx context.Context, subjects []*subject) error {
	for n := range b.flags.Rounds {
		order := slices.Clone(subjects)
		if n%2 == 1 {
			slices.Reverse(order)
		}
		for _, s := range order {
			r, err := b.round(ctx, s, n+1)
			if err != nil {
				return err
			}
			s.rounds = append(s.rounds, r)
		}
		if b.eachRound != nil {
			if err := b.eachRound(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// Round is what was measured of a subject in one round.
type Round struct {
	// Closed is the pass in which every connection sends its next request at once, Paced the one with a pace, if there is one.
	Closed *Pass `json:"closed"`
	Paced  *Pass `json:"paced,omitempty"`
}

func (b *bench) round(ctx context.Context, s *subject, n int) (r *Round, err error) {
	r = &Round{}
	if r.Closed, err = b.pass(ctx, s, b.next(s, s.launches), 0, strconv.Itoa(n)); err != nil {
		return nil, err
	}
	if !s.unpaced {
		// Enough for a percentile, and no more: it takes its time.
		paced := max(100, min(s.launches/3, int(pacedAtMost.Seconds()*s.pace)))
		if r.Paced, err = b.pass(ctx, s, b.next(s, paced), s.pace, ""); err != nil {
			return nil, err
		}
	}
	var steps []string
	for _, p := range r.Closed.Phases {
		steps = append(steps, fmt.Sprintf("%s %.0f µs, %.0f/s", p.Step, p.ServerCPU, p.PerSecond))
	}
	b.say("round %d, %s: %.0f µs of the server for a launch (%s)", n, s.name, r.Closed.Total.ServerCPU, strings.Join(steps, "; "))
	return r, nil
}

// known are the learners, all of them once.
func (b *bench) known() []*launch { return b.people(b.flags.Learners, false) }

// next are the next launches of a subject.
func (b *bench) next(s *subject, n int) []*launch {
	if s.people != nil {
		return s.people(n)
	}
	return b.people(n, b.flags.Fresh)
}

// people are those of the next launches.
func (b *bench) people(n int, fresh bool) []*launch {
	launches := make([]*launch, n)
	for i := range launches {
		who := i % b.flags.Learners
		if fresh {
			who = b.flags.Learners + b.launched
			b.launched++
		}
		launches[i] = &launch{who: newPerson(who)}
	}
	return launches
}

// Pass is a number of complete launches, step by step.
type Pass struct {
	Phases []*Phase `json:"phases"`
	// Total is the sum over the steps; its latencies are those of sums over the steps of one launch each.
	Total *Phase `json:"total"`
}

// pass does launches. A profile is written of each phase if there is a round to name it by.
func (b *bench) pass(ctx context.Context, s *subject, launches []*launch, pace float64, round string) (*Pass, error) {
	p := &Pass{}
	for _, l := range launches {
		l.latency = make([]float64, len(s.steps))
	}
	for n, step := range s.steps {
		if step.before != nil {
			if err := step.before(ctx, launches); err != nil {
				return nil, err
			}
		}
		requests := make([][]byte, len(launches))
		for i, l := range launches {
			requests[i] = step.request(l)
		}
		if err := b.beginProfile(s, round); err != nil {
			return nil, err
		}
		phase, err := b.send(ctx, s, n, requests, launches, pace)
		if err != nil {
			return nil, err
		}
		if err := b.keepProfile(ctx, s, step.name, round); err != nil {
			return nil, err
		}
		for i, l := range launches {
			if err := step.check(l); err != nil {
				return nil, fmt.Errorf("%s, %s %d of %d: %w", s.name, step.name, i+1, len(launches), err)
			}
		}
		p.Phases = append(p.Phases, phase)
	}
	p.Total = sum(p.Phases, launches)
	return p, nil
}

// sum adds phases up, as if one launch came after the other.
func sum(phases []*Phase, launches []*launch) *Phase {
	n := len(launches)
	total := &Phase{Step: stepComplete, Requests: n * len(phases), Pace: phases[0].Pace}
	for _, p := range phases {
		total.Seconds += p.Seconds
		total.ServerCPU += p.ServerCPU
		total.DatabaseCPU += p.DatabaseCPU
		total.DriverCPU += p.DriverCPU
		total.Saturated = total.Saturated || p.Saturated
		for _, part := range []struct {
			sum  *float64
			part float64
		}{
			{&total.ServerIdle, p.ServerIdle},
			{&total.DriverIdle, p.DriverIdle},
			{&total.ServerOthers, p.ServerOthers},
			{&total.DriverOthers, p.DriverOthers},
		} {
			*part.sum += part.part * p.Seconds
		}
	}
	for _, share := range []*float64{&total.ServerIdle, &total.DriverIdle, &total.ServerOthers, &total.DriverOthers} {
		*share /= total.Seconds
	}
	total.PerSecond = float64(n) / total.Seconds
	latencies := make([]float64, n)
	for i, l := range launches {
		for step := range phases {
			latencies[i] += l.latency[step]
		}
	}
	total.Latency = newLatency(latencies)
	return total
}

// beginProfile begins a profile, if profiles are wanted and there is a round to name it by.
func (b *bench) beginProfile(s *subject, round string) error {
	if s.profile == "" || round == "" {
		return nil
	}
	return s.process.Signal(syscall.SIGUSR1)
}

// keepProfile ends the profile that was begun, and moves it to where it was wanted.
func (b *bench) keepProfile(ctx context.Context, s *subject, step, round string) error {
	if s.profile == "" || round == "" {
		return nil
	}
	if err := s.process.Signal(syscall.SIGUSR1); err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%s-%s-%s.pprof", b.scenario, s.name, step, round)
	return measure.Until(ctx, startTimeout, 10*time.Millisecond, func() error {
		content, err := os.ReadFile(s.profile)
		if err != nil {
			return err
		}
		// Not renamed: the folder may be on another disk.
		return errors.Join(os.WriteFile(filepath.Join(b.flags.Profile, name), content, 0o600), os.Remove(s.profile))
	})
}
