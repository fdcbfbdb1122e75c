// SPDX-License-Identifier: Apache-2.0

package handler_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lti-operator/lti-operator/internal/handler"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// slowStore takes its time for launches, and keeps those that occupy it until it is released.
type slowStore struct {
	store.Store
	takes    time.Duration
	occupied chan struct{} // one for each launch that is held; nil for none
	released chan struct{}
}

// occupier is the user whose launch is held.
const occupier = "occupier"

func (s *slowStore) AcceptLaunch(ctx context.Context, n store.NewLaunch) (store.Launch, error) {
	if s.released != nil && n.LTIUserID == occupier {
		s.occupied <- struct{}{}
		<-s.released
	}
	time.Sleep(s.takes)
	return s.Store.AcceptLaunch(ctx, n)
}

// occupied makes the browser use a handler with one slot, which a launch has until release is called.
func (b *browser) occupied() (release func()) {
	b.t.Helper()
	s := &slowStore{Store: b.store, occupied: make(chan struct{}, 1), released: make(chan struct{})}
	b.public = b.startAnother(s, func(o *handler.Options) { o.Working = 1 })
	other := b.browser()
	other.public = b.public
	form := other.form12("ladder", "ladder-key", param("user_id", occupier))
	done := make(chan struct{})
	go func() {
		defer close(done)
		other.post12("ladder", form)
	}()
	<-s.occupied
	return sync.OnceFunc(func() { close(s.released); <-done })
}

func TestOverloadSaysSo(t *testing.T) {
	a := newExternalAcademy(t).academy
	b := a.browser()
	release := b.occupied()
	defer release()
	retries := map[string]bool{}
	retry := func(x answer) {
		t.Helper()
		after := x.Header().Get("Retry-After")
		if n, err := strconv.Atoi(after); err != nil || n < 2 || n > 6 {
			t.Errorf("Retry-After %q", after)
		}
		retries[after] = true
	}
	button := func(x answer) bool {
		return strings.Contains(x.Body.String(), `<a class="button" href="" data-testid="retry">`)
	}

	began := time.Now()
	x := b.do(http.MethodGet, "/platforms/moodle/login?"+loginForm(moodle(), "height").Encode(), nil)
	a.refused(x, lti.Overloaded)
	retry(x)
	// A second in the queue, and then not at once: who asks again at once must not take the CPU.
	if took := time.Since(began); took < 1250*time.Millisecond {
		t.Errorf("it is told after %s", took)
	}
	if !button(x) {
		t.Error("the page of a GET has no button")
	}
	x = b.do(http.MethodPost, "/platforms/moodle/login", loginForm(moodle(), "height"))
	a.refused(x, lti.Overloaded)
	retry(x)
	if button(x) {
		t.Error("the page of a POST has a button, which would lead to a GET")
	}
	x = b.do(http.MethodPost, "/tools/lab/token", url.Values{"grant_type": {"client_credentials"}})
	if got := a.refusedJSON(x, lti.Overloaded); got != "temporarily_unavailable" {
		t.Errorf("error %q", got)
	}
	retry(x)
	x = b.send(http.MethodPost, "/activities/partner/outcomes", "application/xml", pox("readResult", "x", ""))
	if e := x.envelope(); x.Code != http.StatusServiceUnavailable || e.Header.Code != "failure" || e.Header.Description != lti.Overloaded.Reason().Summary {
		t.Errorf("outcome: %d %s", x.Code, x.Body)
	}
	retry(x)
	x = b.do(http.MethodGet, "/nothing", nil)
	a.refused(x, lti.Overloaded)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			a.serve(b.public, httptest.NewRequest(http.MethodGet, academyURL+"/activities/height", nil), "")
		})
	}
	for deadline := time.Now().Add(5 * time.Second); !strings.Contains(a.metrics(), "lti_requests_waiting 20\n"); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("the metrics do not say that 20 wait")
			break
		}
	}
	wg.Wait()
	if len(retries) < 3 {
		t.Errorf("all are asked to come back at once: %v", retries)
	}
	for _, want := range []string{`lti_requests_refused_total{class="begin"} 23`, `lti_requests_refused_total{class="continue"} 2`} {
		if !strings.Contains(a.metrics(), want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
	// Probes and the operator are never refused, whatever happens at the public listener.
	for path, h := range map[string]http.Handler{"/livez": a.handlers[1].Ops(), "/readyz": a.handlers[1].Ops()} {
		if y := a.serve(h, httptest.NewRequest(http.MethodGet, path, nil), ""); y.Code != http.StatusOK {
			t.Errorf("%s: %d", path, y.Code)
		}
	}
	if a.report(a.handlers[1]).Hash == "" {
		t.Error("the control port does not answer")
	}
	release()
	b.launch13(moodle(), "height", nil).location()

	// The log has a line a second about them at most, which says how many there were.
	total, lines := 0, 0
	deadline := time.Now().Add(5 * time.Second)
	for total < 25 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
		total, lines = 0, 0
		for line := range strings.Lines(a.log.String()) {
			var entry struct {
				Msg, Reason, Level, Path string
				Status, Count            int
			}
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatal(err)
			}
			if entry.Reason == string(lti.Overloaded) {
				total += entry.Count
				lines++
			}
			if entry.Msg == "request" && entry.Status == http.StatusServiceUnavailable {
				t.Fatalf("the access log has a line of its own: %s", line)
			}
		}
	}
	if seconds := int(time.Since(began).Seconds()); total != 25 || lines > seconds {
		t.Errorf("the log tells of %d refusals, in %d lines within %d s", total, lines, seconds)
	}
}

// poster posts a form again and again until it is told to stop, and keeps what was acknowledged.
type poster struct {
	b                           *browser
	accepted, refused, replayed atomic.Int64
	mu                          sync.Mutex
	codes                       []string
}

var codeInAddress = regexp.MustCompile(`lti_launch_code=([^&]+)`)

// post posts and returns the reason of a refusal.
func (p *poster) post(path string, form url.Values) (reason lti.Code) {
	r := httptest.NewRequest(http.MethodPost, academyURL+path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Dest", "document")
	w := httptest.NewRecorder()
	p.b.public.ServeHTTP(w, r)
	x := answer{w, p.b.t}
	switch reason = x.reason(); reason {
	case "":
		p.accepted.Add(1)
		code := codeInAddress.FindStringSubmatch(w.Header().Get("Location"))
		if code == nil {
			p.b.t.Errorf("%d %s", w.Code, text(w.Body.String()))
			return reason
		}
		p.mu.Lock()
		p.codes = append(p.codes, code[1])
		p.mu.Unlock()
	case lti.Overloaded:
		p.refused.Add(1)
	case lti.Replayed:
		p.replayed.Add(1)
	default:
		p.b.t.Errorf("refused with %s", reason)
	}
	return reason
}

// flood posts from n goroutines without a pause, until it is stopped; each makes its own post.
func flood(n int, poster func() (post func())) (stop func()) {
	end := make(chan struct{})
	var wg sync.WaitGroup
	for range n {
		post := poster()
		wg.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
					post()
				}
			}
		})
	}
	return sync.OnceFunc(func() { close(end); wg.Wait() })
}

// A system that sends far more than can be done keeps neither others out nor the handler from being itself again, and what
// it was told is accepted is.
func TestAnOverloadIsThatOfWhoMakesIt(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	// 40 launches a second at most. It is the store that is slow, so that the flood needs no more CPU than there is on a busy
	// machine: who posts is in this process too, and would have it before those who are served.
	s := &slowStore{Store: a.store, takes: 50 * time.Millisecond}
	b.public = a.startAnother(s, func(o *handler.Options) { o.Working = 2 })
	loud := &poster{b: b}
	launch := func() time.Duration {
		t.Helper()
		began := time.Now()
		quiet := a.browser()
		quiet.public = b.public
		quiet.redeem(quiet.launch13(moodle(), "height", nil).code())
		return time.Since(began)
	}
	measure := func(launches int) (all []time.Duration) {
		t.Helper()
		for range launches {
			all = append(all, launch())
		}
		slices.Sort(all)
		return all
	}
	alone := measure(10)

	began := a.clock.now()
	stop := flood(100, func() (post func()) {
		form := a.form12("ladder", "ladder-key", nil)
		return func() {
			if loud.post("/activities/ladder/launch", form) == "" {
				form = a.form12("ladder", "ladder-key", nil)
			}
		}
	})
	defer stop()
	a.until("an overload", func() bool { return loud.refused.Load() > 0 })
	crowded := measure(30) // fails when one is refused
	stop()
	t.Logf("a launch takes %s (%s at most) alone, and %s (%s) beside a system of which %d launches were accepted and %d refused",
		alone[len(alone)/2], alone[len(alone)-1], crowded[len(crowded)/2], crowded[len(crowded)-1], loud.accepted.Load(), loud.refused.Load())
	if loud.refused.Load() < loud.accepted.Load() || loud.accepted.Load() == 0 {
		t.Errorf("it was no overload: %d accepted, %d refused", loud.accepted.Load(), loud.refused.Load())
	}

	// At once, not after a while.
	for range 5 {
		if reason := loud.post("/activities/ladder/launch", a.form12("ladder", "ladder-key", nil)); reason != "" {
			t.Errorf("after the overload a launch is refused with %s", reason)
		}
	}
	// A refused launch spent nothing: all could be posted again. An accepted one is in the store.
	if loud.replayed.Load() != 0 {
		t.Errorf("%d launches were refused and had an effect", loud.replayed.Load())
	}
	a.clock.advance(began.Sub(a.clock.now())) // a code is good for a minute, and all this may have taken longer
	for _, code := range loud.codes {
		if x := b.redeem(code); x.Code != http.StatusOK {
			t.Fatalf("a launch that was acknowledged is lost: %d %s", x.Code, x.Body)
		}
	}
}

// hanging is a server that answers nobody until the test ends, or release is called.
func hanging(t *testing.T, then http.HandlerFunc) (server *httptest.Server, asked *atomic.Int64, release func()) {
	gate := make(chan struct{})
	asked = &atomic.Int64{}
	server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		<-gate
		then(rw, r)
	}))
	release = sync.OnceFunc(func() { close(gate) })
	t.Cleanup(func() { release(); server.Close() })
	return server, asked, release
}

func TestAKeySetThatHangsKeepsNobodyElseOut(t *testing.T) {
	a := newAcademy(t)
	server, asked, release := hanging(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, a.keySet(campusKey())) })
	a.republish(func(tab *routing.Table) {
		tab.Academy.AllowPrivateCIDRs = []string{"127.0.0.0/8"}
		l := platformIn(tab, "campus").LTI13
		l.JWKS, l.JWKSURL = "", server.URL
	})
	b := a.browser()
	b.public = a.startAnother(a.store, func(o *handler.Options) { o.Working = 2 })
	form := b.prepare13(campus(), "height", nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	got := map[lti.Code]int{}
	last := b.browser()
	last.public = b.public
	const launches = 400
	for range launches {
		wg.Go(func() {
			r := httptest.NewRequest(http.MethodPost, academyURL+"/platforms/campus/launch", strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Sec-Fetch-Dest", "document")
			for _, c := range b.jar.Cookies(r.URL) {
				r.AddCookie(c)
			}
			w := httptest.NewRecorder()
			b.public.ServeHTTP(w, r)
			mu.Lock()
			defer mu.Unlock()
			got[answer{w, t}.reason()]++
		})
	}
	defer wg.Wait()
	defer release()
	refused := func() int { mu.Lock(); defer mu.Unlock(); return got[lti.Overloaded] }
	// No more than half of the places that there are; the others are told so.
	for deadline := time.Now().Add(10 * time.Second); asked.Load() == 0 || refused() < launches-256; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("asked %d times, %d refused", asked.Load(), refused())
		}
	}
	for range 10 {
		other := a.browser()
		other.public = b.public
		other.redeem(other.launch13(moodle(), "height", nil).code())
	}
	release()
	wg.Wait()
	if got[""] != 1 || got[lti.Replayed] > 255 || 1+got[lti.Replayed]+got[lti.Overloaded] != launches || asked.Load() != 1 {
		t.Errorf("%v, asked %d times; want one launch, at most 255 repetitions of it, and the rest without room", got, asked.Load())
	}
}

func TestADirectoryThatHangsKeepsNobodyOutWhoDoesNotNeedIt(t *testing.T) {
	a := newAcademy(t)
	server, asked, release := hanging(t, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) })
	code := a.browser().launch13(moodle(), "height", nil).code()
	a.republish(func(tab *routing.Table) {
		tab.Academy.AllowPrivateCIDRs = []string{"127.0.0.0/8"}
		tab.Academy.SCIM = &routing.SCIM{URL: server.URL}
		tab.AcademyKeys.SCIMToken = "canary-token-of-the-directory"
	})
	b := a.browser()
	b.public = a.startAnother(a.store, func(o *handler.Options) { o.Working = 2 })
	var wg sync.WaitGroup
	for i := range 20 {
		form := a.form12("height", "height-key", param("user_id", fmt.Sprint("user-", i)))
		one := b.browser()
		one.public = b.public
		wg.Go(func() { a.refused(one.post12("height", form), lti.DirectoryUnavailable) })
	}
	defer wg.Wait()
	defer release()
	for deadline := time.Now().Add(10 * time.Second); asked.Load() < 20; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the directory is asked by %d of 20", asked.Load())
		}
	}
	b.login(moodle(), "height")
	a.entered(b.redeem(code))
}

// trickle is a body that comes slowly, and is complete once it is closed.
func trickle(begin []byte) (body io.Reader, end func()) {
	r, w := io.Pipe()
	go func() { _, _ = w.Write(begin) }()
	return r, func() { _ = w.Close() }
}

func TestASlowBodyHoldsNoSlot(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	b.public = a.startAnother(a.store, func(o *handler.Options) { o.Working = 1 })
	var ends []func()
	var wg sync.WaitGroup
	slow := func(size int) {
		body, end := trickle(bytes.Repeat([]byte("x"), size))
		ends = append(ends, end)
		r := httptest.NewRequest(http.MethodPost, academyURL+"/platforms/moodle/launch", body)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		wg.Go(func() { b.public.ServeHTTP(httptest.NewRecorder(), r) })
	}
	for range 20 {
		slow(10)
	}
	b.redeem(b.launch13(moodle(), "height", nil).code())

	// 32 MiB of large ones, and no more; small ones go on.
	for range 140 {
		slow(200 << 10)
	}
	full := func() int {
		n := strings.Index(a.metrics(), `lti_requests_refused_total{class="continue"} `)
		if n < 0 {
			return 0
		}
		var refused int
		_, _ = fmt.Sscanf(a.metrics()[n:], `lti_requests_refused_total{class="continue"} %d`, &refused)
		return refused
	}
	for deadline := time.Now().Add(10 * time.Second); full() < 12; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d refused for want of room", full())
		}
	}
	b.redeem(b.launch13(moodle(), "height", nil).code())
	// Now, because all that come to their end at once may be too many for one slot.
	if refused := full(); refused != 12 {
		t.Errorf("%d of 140 large bodies, and of those that are small, have no room; want 12, as 128 fill it", refused)
	}
	for _, end := range ends {
		end()
	}
	wg.Wait()
	// All is free again.
	if x := b.post12("height", url.Values{"x": {strings.Repeat("x", 200<<10)}}); x.reason() == lti.Overloaded {
		t.Error("what was received is not forgotten")
	}
}

// stuck is the answer to somebody who takes nothing.
type stuck struct {
	http.ResponseWriter
	until chan struct{}
}

func (s stuck) Write(b []byte) (int, error) {
	<-s.until
	return s.ResponseWriter.Write(b)
}

func TestASlowReaderHoldsNoSlot(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	b.public = a.startAnother(a.store, func(o *handler.Options) { o.Working = 1 })
	until := make(chan struct{})
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			b.public.ServeHTTP(stuck{httptest.NewRecorder(), until}, httptest.NewRequest(http.MethodGet, academyURL+"/activities/height", nil))
		})
	}
	b.redeem(b.launch13(moodle(), "height", nil).code())
	close(until)
	wg.Wait()
}

func TestAPanicHoldsNoSlot(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	b.public = a.startAnother(brokenStore{Store: a.store, accept: func() error { panic("out of order") }}, func(o *handler.Options) { o.Working = 1 })
	for range 3 {
		a.refused(b.launch12("height", "height-key", nil), lti.InternalError)
	}
}

// The locks and queues are by name: a name that is in no table must not make one.
func TestInventedNamesAreOneParty(t *testing.T) {
	a := newAcademy(t)
	b := a.browser()
	s := &slowStore{Store: a.store, takes: 10 * time.Millisecond}
	b.public = a.startAnother(s, func(o *handler.Options) { o.Working, o.Waiting = 1, 4 })
	var n atomic.Int64
	defer flood(50, func() (post func()) {
		return func() {
			r := httptest.NewRequest(http.MethodPost, fmt.Sprintf("%s/platforms/invented-%d/launch", academyURL, n.Add(1)), http.NoBody)
			b.public.ServeHTTP(httptest.NewRecorder(), r)
		}
	})()
	for range 10 {
		b.redeem(b.launch13(moodle(), "height", nil).code())
	}
}

// listening runs a whole handler with its listeners, and returns the address of the public one.
func (a *academy) listening(s store.Store, change func(*handler.Options)) (address string) {
	a.t.Helper()
	log := &lockedBuffer{}
	o := handler.Options{ConfigDir: a.dir, Store: s, Now: a.clock.now, Log: slog.New(slog.NewJSONHandler(log, nil))}
	change(&o)
	h, err := handler.New(o)
	if err != nil {
		a.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	const any = "127.0.0.1:0"
	go func() { done <- h.Serve(ctx, handler.Addresses{Public: any, Ops: any, Control: any}) }()
	a.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			a.t.Error(err)
		}
	})
	a.waitFor(h, a.report(a.handler).Hash)
	for deadline := time.Now().Add(10 * time.Second); address == ""; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			a.t.Fatal("nothing listens: ", log.String())
		}
		for line := range strings.Lines(log.String()) {
			var entry struct{ Msg, Listener, Address string }
			if json.Unmarshal([]byte(line), &entry) == nil && entry.Listener == "public" {
				address = entry.Address
			}
		}
	}
	return address
}

// Whatever is thrown at it, it has no more goroutines and not much more memory than its connections may have.
func TestTenThousandRequestsAtOnce(t *testing.T) {
	const connections, rounds, limit = 1000, 10, 128
	a := newAcademy(t)
	address := a.listening(&slowStore{Store: a.store, takes: 2 * time.Millisecond}, func(o *handler.Options) {
		o.Working, o.Waiting, o.Connections = 2, 20, limit
	})
	inUse := func() (goroutines int, bytes uint64) {
		runtime.GC()
		runtime.GC() // what pools keep is gone after the second
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return runtime.NumGoroutine(), m.HeapAlloc + m.StackInuse
	}
	form := a.form12("height", "height-key", nil).Encode()
	request := fmt.Sprintf("POST /activities/height/launch HTTP/1.1\r\nHost: lti.acme.example\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(form), form)
	goroutines, bytes := inUse()
	mostGoroutines, mostBytes := goroutines, bytes
	answers := map[int]int{}
	began := time.Now()
	for range rounds {
		var open []net.Conn
		for range connections {
			conn, err := (&net.Dialer{Timeout: 30 * time.Second}).DialContext(t.Context(), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, request); err != nil {
				t.Fatal(err)
			}
			open = append(open, conn)
		}
		g, b := inUse()
		mostGoroutines, mostBytes = max(mostGoroutines, g), max(mostBytes, b)
		for _, conn := range open {
			if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("after %v: %v", answers, err)
			}
			if _, err := io.Copy(io.Discard, answer.Body); err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			_ = conn.Close()
			answers[answer.StatusCode]++
		}
	}
	t.Logf("%v in %s; %d goroutines and %d KiB more than before at most", answers, time.Since(began), mostGoroutines-goroutines, (int64(mostBytes)-int64(bytes))>>10)
	if answers[http.StatusOK] != 1 || answers[http.StatusServiceUnavailable] == 0 ||
		answers[http.StatusOK]+answers[http.StatusConflict]+answers[http.StatusServiceUnavailable] != connections*rounds {
		t.Errorf("answers %v; want one launch, repetitions of it, and refusals", answers)
	}
	if most := goroutines + 2*limit + 20; mostGoroutines > most { // net/http has a second one to notice that a client goes away
		t.Errorf("%d goroutines; want at most %d", mostGoroutines, most)
	}
	if most := bytes + limit*64<<10 + 8<<20; mostBytes > most {
		t.Errorf("%d bytes in use; want at most %d", mostBytes, most)
	}
}
