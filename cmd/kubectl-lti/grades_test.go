// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/lti-operator/lti-operator/internal/egress"
	"github.com/lti-operator/lti-operator/internal/grades"
	"github.com/lti-operator/lti-operator/internal/handler"
	"github.com/lti-operator/lti-operator/internal/keys"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
	"github.com/lti-operator/lti-operator/internal/store/sqlite"
	"github.com/lti-operator/lti-operator/internal/workload"
)

// launchHandler is one that runs, with its store.
type launchHandler struct {
	keys    *keys.Academy
	store   store.Store
	control string // host:port
	// seconds that its clock has been moved on; otherwise it stands still.
	seconds atomic.Int64
}

func (h *launchHandler) now() time.Time {
	return time.Date(2026, 11, 27, 9, 0, int(h.seconds.Load()), 0, time.UTC)
}

func newAcademyKeys(t *testing.T) *keys.Academy {
	t.Helper()
	k, err := keys.NewAcademy(rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newLaunchHandler(t *testing.T, change ...func(*routing.Table)) *launchHandler {
	t.Helper()
	h := &launchHandler{keys: newAcademyKeys(t)}
	s, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "launches.db"), h.now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	h.store = s
	token := sha256.Sum256([]byte(h.keys.ControlToken))
	table := &routing.Table{
		Academy: routing.Academy{Name: "default", Title: "Acme", URL: academyURL, Active: true},
		AcademyKeys: routing.AcademyKeys{StateKeys: [][]byte{h.keys.StateKey}, Control: routing.Control{
			CertificatePEM: string(h.keys.ControlCertificatePEM), PrivateKeyPEM: string(h.keys.ControlPrivateKeyPEM), TokenSHA256: token[:],
		}},
	}
	for _, c := range change {
		c(table)
	}
	set, err := routing.Split(table)
	if err != nil {
		t.Fatal(err)
	}
	files, err := set.Files()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range files {
		write(t, dir, map[string]string{filepath.Join("..first", name): string(content)})
	}
	if err := os.Symlink("..first", filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	run, err := handler.New(handler.Options{ConfigDir: dir, Store: s, Now: h.now, Log: slog.New(slog.NewJSONHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	h.serve(t, run, log.Name())
	return h
}

// serve runs a handler at free ports until the test ends, and waits until it serves its table. Its log tells the ports.
func (h *launchHandler) serve(t *testing.T, run *handler.Handler, log string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	const free = "127.0.0.1:0"
	go func() { done <- run.Serve(ctx, handler.Addresses{Public: free, Ops: free, Control: free}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	ready := func() bool {
		w := httptest.NewRecorder()
		run.Ops().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			var entry struct{ Listener, Address string }
			if json.Unmarshal(line, &entry) == nil && entry.Listener == "control" {
				h.control = entry.Address
			}
		}
		return w.Code == http.StatusOK && h.control != ""
	}
	for deadline := time.Now().Add(time.Minute); !ready(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the launch handler is not ready")
		}
	}
}

// given is a grade that the launch handler keeps.
type given struct {
	subject, activity, registration string
	grade                           string // points out of 10
	row                             grades.Row
	// next is when it is sent next; 0 for never.
	next time.Duration
}

// keep stores a grade, and returns its ID.
func (h *launchHandler) keep(t *testing.T, g given) string {
	t.Helper()
	key := store.GradeKey{Link: store.Link{Registration: g.registration, DeploymentID: "1", ResourceLinkID: g.activity}, LTIUserID: g.subject}
	state := map[string]any{"row": g.row}
	if g.grade != "" {
		state["grade"] = map[string]any{"given": json.Number(g.grade), "maximum": 10}
	}
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.store.AcceptLaunch(t.Context(), store.NewLaunch{
		Nonce:            store.Nonce{Scope: g.registration, Value: rand.Text(), ExpiresAt: h.now().Add(time.Hour)},
		CandidateSubject: g.subject, MayCreateUser: true, Profile: store.Profile{Email: g.subject + "@example.edu"},
		Ticket:     store.NewTicket{Kind: store.TicketOpen, Hash: store.HashToken(rand.Text()), ExpiresAt: h.now().Add(time.Minute)},
		LaunchInfo: store.LaunchInfo{ID: rand.Text(), Activity: g.activity, Version: "1.3.0", Realm: g.registration, LTIUserID: g.subject, Role: "Learner"},
		Grade: &store.NewGrade{Key: key, Join: func(_ json.RawMessage, stored *store.Grade) error {
			stored.Address, stored.State = json.RawMessage(`{"protocol":"AGS"}`), text
			if g.next > 0 {
				stored.DueAt = h.now().Add(g.next)
			}
			return nil
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.seconds.Add(1)
	return key.ID()
}

// keepOneOfEach stores a grade in each state, and returns their IDs.
func (h *launchHandler) keepOneOfEach(t *testing.T) map[grades.State]string {
	t.Helper()
	return map[grades.State]string{
		grades.StateNone: h.keep(t, given{subject: "anna", activity: "ladder", registration: "platform/moodle"}),
		grades.StateConfirmed: h.keep(t, given{
			subject: "anna", activity: "height", registration: "platform/moodle", grade: "8.5", row: grades.Row{Wanted: 2, Confirmed: 2},
		}),
		grades.StateRefused: h.keep(t, given{
			subject: "bert", activity: "height", registration: "platform/moodle", grade: "10",
			row: grades.Row{Wanted: 3, Confirmed: 1, Parked: "LineItemGone", Problem: "LineItemGone"},
		}),
		grades.StateRetrying: h.keep(t, given{
			subject: "carl", activity: "height", registration: "platform/canvas", grade: "0", row: grades.Row{Wanted: 1, Problem: "ServerError", Attempts: 4}, next: 10 * time.Minute,
		}),
		grades.StateWaiting: h.keep(t, given{
			subject: "dora", activity: "height", registration: "platform/canvas", row: grades.Row{Wanted: 2, Confirmed: 1}, next: 15 * time.Minute,
		}),
	}
}

// entry returns how far a grade has come, by the store.
func (h *launchHandler) entry(t *testing.T, id string) grades.Entry {
	t.Helper()
	book := &grades.Book{Store: h.store, Now: h.now}
	found, err := book.List(t.Context(), store.GradeFilter{ID: id, Limit: 1})
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	return found[0]
}

func secretOf(academy string, k *keys.Academy) corev1.Secret {
	return corev1.Secret{ObjectMeta: named(academy + "-academy-keys"), Data: k.Data()}
}

func handlerPod(name, academy string, ready corev1.ConditionStatus) corev1.Pod {
	pod := corev1.Pod{ObjectMeta: named(name), Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}}}
	pod.Namespace, pod.Labels = "acme", workload.Labels(academy)
	return pod
}

// world is a cluster with an academy whose launch handler has one pod that is ready.
func (h *launchHandler) world() *pretender {
	return &pretender{
		academies: []string{"default"},
		secrets:   []corev1.Secret{secretOf("default", h.keys)},
		pods: []corev1.Pod{
			handlerPod("another-launch-handler", "another", corev1.ConditionTrue),
			handlerPod("default-launch-handler-a", "default", corev1.ConditionFalse),
			handlerPod("default-launch-handler-b", "default", corev1.ConditionTrue),
		},
		ports: map[string]string{fmt.Sprint(workload.ControlPort): h.control},
	}
}

// plugin runs `kubectl lti grades` with a kubeconfig.
func (h *launchHandler) plugin(t *testing.T, kubeconfig string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	return h.command(t, "grades", kubeconfig, args...)
}

// command runs the program with a kubeconfig, and looks for what must not be printed.
func (h *launchHandler) command(t *testing.T, command, kubeconfig string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	if len(args) > 0 {
		args = append(args, "--kubeconfig", kubeconfig)
	}
	stdout, stderr, status = plugin(t, "", append([]string{command}, args...)...)
	for _, secret := range []string{h.keys.ControlToken, userToken, "PRIVATE KEY"} {
		if strings.Contains(stdout+stderr, secret) {
			t.Errorf("a secret is printed:\n%s%s", stdout, stderr)
		}
	}
	return stdout, stderr, status
}

func TestGradesList(t *testing.T) {
	h := newLaunchHandler(t)
	h.keepOneOfEach(t)
	kubeconfig := h.world().kubeconfig(t)
	direct := "--control-url=https://" + h.control

	// testdata/grades/<case>.out is what is printed.
	for name, args := range map[string]string{
		"all":             "list",
		"all-json":        "list -o json",
		"all-yaml":        "list -o yaml",
		"direct":          "list " + direct + "/",
		"of-a-learner":    "list --subject anna",
		"of-an-activity":  "list --activity ladder",
		"of-a-gradebook":  "list --registration platform/canvas -n acme --academy default",
		"refused":         "list --state Refused",
		"refused-json":    "list --state=Refused -o json",
		"none-found":      "list --activity nothing",
		"none-found-json": "list --activity nothing -o json",
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, status := h.plugin(t, kubeconfig, strings.Fields(args)...)
			if want := map[bool]string{true: "No grades found.\n"}[name == "none-found"]; status != exitOK || stderr != want {
				t.Fatalf("exit status %d: %s", status, stderr)
			}
			golden(t, filepath.Join("testdata", "grades", name+".out"), stdout)
		})
	}
}

// golden compares with a file, or writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		write(t, ".", map[string]string{file: got})
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("output differs from %s (run with -update to accept, -want +got):\n%s", file, diff)
	}
}

// A script may take columns by their number.
func TestEveryRowOfGradesHasEveryCell(t *testing.T) {
	var out bytes.Buffer
	err := writeGrades(&out, []routing.Grade{{}, {Subject: "a b", Activity: "c\x1b[2J", Reason: "d\ne\tf", Wanted: 1, DueAt: time.Unix(0, 0)}})
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines:\n%s", len(lines), out.String())
	}
	want := [][]string{
		{"SUBJECT", "ACTIVITY", "REGISTRATION", "STATE", "WANTED", "CONFIRMED", "REASON", "NEXT-TRY", "ID"},
		{"-", "-", "-", "-", "-", "-", "-", "-", "-"},
		{"a?b", "c?[2J", "-", "-", "none", "no", "d?e?f", "1970-01-01T00:00:00Z", "-"},
	}
	for i, line := range lines {
		if diff := cmp.Diff(want[i], strings.Fields(line)); diff != "" {
			t.Error(diff)
		}
	}
}

// The states that can be asked for are those of the launch handler.
func TestGradeStates(t *testing.T) {
	want := []grades.State{grades.StateNone, grades.StateWaiting, grades.StateRetrying, grades.StateRefused, grades.StateConfirmed}
	if !slices.EqualFunc(gradeStates, want, func(a string, b grades.State) bool { return a == string(b) }) {
		t.Errorf("%q", gradeStates)
	}
}

func TestGradesResend(t *testing.T) {
	h := newLaunchHandler(t)
	ids := h.keepOneOfEach(t)
	refused, confirmed, retrying := ids[grades.StateRefused], ids[grades.StateConfirmed], ids[grades.StateRetrying]
	kubeconfig := h.world().kubeconfig(t)

	stdout, stderr, status := h.plugin(t, kubeconfig, "resend", refused, "no-such-grade", "..", "a/../b", confirmed)
	if want := refused + " will be sent again\n" + confirmed + " will be sent again\n2 grades will be sent again\n"; status != exitFailed || stdout != want {
		t.Errorf("exit status %d: %s", status, stdout)
	}
	if want := "error: there is no grade \"no-such-grade\"\nerror: there is no grade \"..\"\nerror: there is no grade \"a/../b\"\n"; stderr != want {
		t.Errorf("says %q", stderr)
	}
	if e := h.entry(t, refused); e.Reason == "LineItemGone" {
		t.Errorf("the refused grade: %+v", e)
	}
	if e := h.entry(t, confirmed); e.Wanted != 3 || e.Confirmed != 2 {
		t.Errorf("the confirmed grade: %+v", e)
	}

	stdout, stderr, status = h.plugin(t, kubeconfig, "resend", "--all", "--registration=platform/canvas", "--state=Retrying")
	if want := retrying + " will be sent again\n1 grade will be sent again\n"; status != exitOK || stdout != want || stderr != "" {
		t.Errorf("exit status %d: %s%s", status, stdout, stderr)
	}
	stdout, stderr, status = h.plugin(t, kubeconfig, "resend", "--all", "--subject=anna", "--activity", "ladder")
	if status != exitOK || stdout != "0 grades will be sent again, 1 have nothing to send\n" || stderr != "" {
		t.Errorf("exit status %d: %s%s", status, stdout, stderr)
	}
}

// The port is forwarded over WebSocket, or over SPDY where the API server knows nothing else.
func TestGradesGoThroughOnePod(t *testing.T) {
	h := newLaunchHandler(t)
	for name, c := range map[string]struct {
		spdyOnly bool
		want     []string
	}{
		"over WebSocket": {false, []string{"GET default-launch-handler-b"}},
		"over SPDY":      {true, []string{"GET default-launch-handler-b", "POST default-launch-handler-b"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := h.world()
			w.spdyOnly = c.spdyOnly
			if stdout, stderr, status := h.plugin(t, w.kubeconfig(t), "list", "-o", "json"); status != exitOK || stdout != "[]\n" || stderr != "" {
				t.Errorf("exit status %d: %s%s", status, stdout, stderr)
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if diff := cmp.Diff(c.want, w.forwards); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// controlServer answers in place of a launch handler, with its certificate.
func controlServer(t *testing.T, k *keys.Academy, answer http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(answer)
	certificate, err := tls.X509KeyPair(k.ControlCertificatePEM, k.ControlPrivateKeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate}}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func TestGradesErrors(t *testing.T) {
	h := newLaunchHandler(t)
	another := newAcademyKeys(t)
	notFitting := secretOf("default", h.keys)
	notFitting.Data[keys.AcademyControlToken] = another.Data()[keys.AcademyControlToken]
	unusable := secretOf("default", h.keys)
	unusable.Data = map[string][]byte{keys.AcademyControlToken: []byte(h.keys.ControlToken)}
	answering := func(status int, body string) string {
		return controlServer(t, h.keys, func(rw http.ResponseWriter, _ *http.Request) {
			rw.WriteHeader(status)
			_, _ = rw.Write([]byte(body))
		})
	}
	nobody := answering(200, "")
	closed := httptest.NewServer(nil)
	closed.Close()
	silent := "https://" + strings.TrimPrefix(closed.URL, "http://")

	for name, c := range map[string]struct {
		change   func(*pretender)
		args     string
		messages []string
		status   int
	}{
		"an academy that does not exist": {
			args: "list --academy other", messages: []string{"there is no LTIAcademy other in namespace acme"},
		},
		"an academy without keys": {
			change: func(w *pretender) { w.secrets = nil }, args: "list",
			messages: []string{"LTIAcademy default has no keys yet: the operator has not made Secret default-academy-keys"},
		},
		"an academy without keys that may not be read": {
			change: func(w *pretender) { w.secrets, w.forbidden = nil, []string{"ltiacademies"} }, args: "list",
			messages: []string{"there is no Secret default-academy-keys in namespace acme; is there an LTIAcademy default?"},
		},
		"no permission on the Secret": {
			change: func(w *pretender) { w.forbidden = []string{"secrets"} }, args: "list",
			messages: []string{"the token in Secret default-academy-keys, which you may not read: ", "forbidden"},
		},
		"a Secret that cannot be used": {
			change: func(w *pretender) { w.secrets = []corev1.Secret{unusable} }, args: "list",
			messages: []string{"read Secret default-academy-keys: ", "lacks one of"},
		},
		"no permission to list pods": {
			change: func(w *pretender) { w.forbidden = []string{"pods"} }, args: "list",
			messages: []string{"list the pods of the launch handler: ", "forbidden"},
		},
		"no pod": {
			change: func(w *pretender) { w.pods = nil }, args: "list",
			messages: []string{"LTIAcademy default has no pod of a launch handler in namespace acme; --control-url takes"},
		},
		"no pod that is ready": {
			change: func(w *pretender) { w.pods = w.pods[:2] }, args: "list",
			messages: []string{"no launch handler of LTIAcademy default is ready: 0 of 1 pods"},
		},
		"no permission to forward ports": {
			change: func(w *pretender) { w.forbidden = []string{"pods/portforward"} }, args: "list",
			messages: []string{"forward a port to pod default-launch-handler-b: ", "forbidden"},
		},
		"a pod whose port is closed": {
			change: func(w *pretender) { w.ports = nil }, args: "list",
			messages: []string{"the launch handler (pod default-launch-handler-b) does not answer: "},
		},
		"an address where nobody answers": {
			args: "list --control-url " + silent, messages: []string{"the launch handler (" + silent + ") does not answer: ", "refused"},
		},
		"a pod with the certificate of another academy": {
			change:   func(w *pretender) { w.secrets = []corev1.Secret{secretOf("default", another)} },
			args:     "list",
			messages: []string{"what answers (pod default-launch-handler-b) has not got the certificate of LTIAcademy default"},
		},
		"an address with the certificate of something else": {
			args:     "resend x --control-url " + controlServer(t, another, func(http.ResponseWriter, *http.Request) { t.Error("the token was sent") }),
			messages: []string{"has not got the certificate of LTIAcademy default"},
		},
		"a token that is not accepted": {
			change: func(w *pretender) { w.secrets = []corev1.Secret{notFitting} }, args: "list",
			messages: []string{"the launch handler (pod default-launch-handler-b) refuses the token in Secret default-academy-keys"},
		},
		"a launch handler without its store": {
			args: "list --control-url " + answering(http.StatusServiceUnavailable, "canary"), messages: []string{"cannot reach its store"},
		},
		"a launch handler of another release": {
			args: "list --control-url " + answering(http.StatusNotFound, "canary"), messages: []string{"answers with status 404; is it of another release?"},
		},
		"a redirect": {
			args: "resend x --control-url " + answering(http.StatusPermanentRedirect, "canary"), messages: []string{"answers with status 308"},
		},
		"an answer that is no list": {
			args: "list --control-url " + answering(http.StatusOK, `{"grades":[]}`), messages: []string{"does not answer with a list of grades"},
		},
		"an answer that is too long": {
			args:     "list --control-url " + answering(http.StatusOK, strings.Repeat(" ", egress.DefaultMaxBody+1)),
			messages: []string{"the answer is too long: narrow it down with --subject or --activity"},
		},
		"a kubeconfig that does not exist": {args: "list --kubeconfig /nowhere/config", messages: []string{"find the API server"}},

		"all of them":                {args: "resend --all", messages: []string{"--all needs --state, "}, status: exitUsage},
		"all of them, and some":      {args: "resend x --all --state=Refused", messages: []string{"not both"}, status: exitUsage},
		"some of a state":            {args: "resend x --state=Refused", messages: []string{"go with --all"}, status: exitUsage},
		"none":                       {args: "resend", messages: []string{"give the IDs of grades"}, status: exitUsage},
		"a state that is none":       {args: "list --state=Lost", messages: []string{"--state", "Refused"}, status: exitUsage},
		"an unknown format":          {args: "list -o xml", messages: []string{"xml"}, status: exitUsage},
		"neither list nor resend":    {args: "", messages: []string{"list", "resend"}, status: exitUsage},
		"a control port over http":   {args: "list --control-url http://127.0.0.1:9422", messages: []string{"--control-url: not an address such as"}, status: exitUsage},
		"a control port and a path":  {args: "list --control-url " + nobody + "/v1/grades", messages: []string{"--control-url: not an address such as"}, status: exitUsage},
		"a control port by a name":   {args: "list --control-url 127.0.0.1:9422", messages: []string{"--control-url: not an address such as"}, status: exitUsage},
		"a control port and a token": {args: "list --control-url https://canary@127.0.0.1:9422", messages: []string{"--control-url: not an address such as"}, status: exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			if c.status == exitOK {
				c.status = exitFailed
			}
			w := h.world()
			if c.change != nil {
				c.change(w)
			}
			args := strings.Fields(c.args)
			kubeconfig := w.kubeconfig(t)
			if i := slices.Index(args, "--kubeconfig"); i >= 0 {
				kubeconfig, args = args[i+1], slices.Delete(args, i, i+2)
			}
			stdout, stderr, status := h.plugin(t, kubeconfig, args...)
			if stdout == "0 grades will be sent again\n" {
				stdout = ""
			}
			if status != c.status || stdout != "" || !strings.HasPrefix(stderr, "error: ") || strings.Contains(stderr, "canary") {
				t.Errorf("exit status %d: %s%s", status, stdout, stderr)
			}
			for _, message := range c.messages {
				if !strings.Contains(stderr, message) {
					t.Errorf("does not say %q:\n%s", message, stderr)
				}
			}
		})
	}
}

// Whoever sends all of them again must hear that these are not all, and what was done before something went wrong.
func TestGradesAreLeftBehindAloud(t *testing.T) {
	h := newLaunchHandler(t)
	var mu sync.Mutex
	sent := 0
	address := controlServer(t, h.keys, func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("Authorization") != "Bearer "+h.keys.ControlToken {
			t.Error("without the token")
		}
		if r.Method == http.MethodGet {
			rw.Header().Set(routing.HeaderControlMore, "true")
			_ = json.NewEncoder(rw).Encode([]routing.Grade{{ID: "one", State: "Refused"}, {ID: "two", State: "Refused"}})
			return
		}
		if sent++; sent > 1 {
			rw.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		rw.WriteHeader(http.StatusAccepted)
	})
	stdout, stderr, status := h.plugin(t, h.world().kubeconfig(t), "resend", "--all", "--state=Refused", "--control-url", address)
	if status != exitFailed || stdout != "one will be sent again\n1 grade will be sent again\n" {
		t.Errorf("exit status %d: %s", status, stdout)
	}
	for _, want := range []string{"note: only the 1000 grades that changed last were looked at", "error: the launch handler (" + address + ") cannot reach its store"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("does not say %q:\n%s", want, stderr)
		}
	}
}
