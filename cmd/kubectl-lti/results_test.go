// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lti-operator/lti-operator/internal/lti/ags"
	"github.com/lti-operator/lti-operator/internal/lti/decimal"
	"github.com/lti-operator/lti-operator/internal/results"
	"github.com/lti-operator/lti-operator/internal/routing"
	"github.com/lti-operator/lti-operator/internal/store"
)

// remark is what a tool writes to the learner, and nobody else needs to see.
const remark = "Well done, Anna"

// told configures the webhook.
func told(t *routing.Table) {
	t.Academy.ResultsWebhook = "https://academy.invalid/lti-results"
	t.AcademyKeys.WebhookSecrets = []string{"whsec_Y2FuYXJ5LXdlYmhvb2stc2VjcmV0LTAxMjM0NTY3ODk="}
}

// take stores the result of a learner who has opened an activity, with a score out of 100 unless it is empty, and what has
// become of telling the academy. It returns the ID.
func (h *launchHandler) take(t *testing.T, subject, activity, score string, delivery func(*results.State), due time.Duration) string {
	t.Helper()
	key := store.ResultKey{Realm: store.ToolRealm("lab"), Activity: activity, LearnerID: "id-of-" + subject}
	if _, err := h.store.MeetLearner(t.Context(), store.Learner{
		Realm: key.Realm, ID: key.LearnerID, Subject: subject, Name: "Anna Example", Email: "anna@example.edu", SeenAt: h.now(),
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.store.BeginResult(t.Context(), nil, store.Result{Key: key}); err != nil {
		t.Fatal(err)
	}
	if score == "" {
		return key.ID()
	}
	given, err := decimal.Parse(score)
	if err != nil {
		t.Fatal(err)
	}
	book := &results.Book{Store: h.store, Now: h.now}
	for i, m := range []ags.Score{
		{ActivityProgress: ags.Submitted, GradingProgress: ags.PendingManual},
		{ActivityProgress: ags.Completed, GradingProgress: ags.FullyGraded, Points: &ags.Points{Given: given, Maximum: decimal.FromInt(100)}, Comment: remark},
	} {
		m.UserID, m.Timestamp = key.LearnerID, h.now().Add(time.Duration(i)*time.Second)
		if _, err := book.Score(t.Context(), key, results.Rule{Exam: true, MinimumScore: 70}, m, nil); err != nil {
			t.Fatal(err)
		}
	}
	_, err = h.store.ChangeResult(t.Context(), key.ID(), store.ResultChange{Change: func(r *store.Result) (json.RawMessage, error) {
		var s results.State
		if err := json.Unmarshal(r.State, &s); err != nil {
			return nil, err
		}
		delivery(&s)
		r.DueAt = time.Time{}
		if due > 0 {
			r.DueAt = h.now().Add(due)
		}
		var err error
		r.State, err = json.Marshal(s)
		return nil, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	h.seconds.Add(1)
	return key.ID()
}

// takeOneOfEach stores a result with each delivery, and returns their IDs by that.
func (h *launchHandler) takeOneOfEach(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"None":      h.take(t, "anna", "exam", "", nil, 0),
		"Delivered": h.take(t, "anna", "other-exam", "70", func(s *results.State) { s.Delivered = s.Version }, 0),
		"Stopped": h.take(t, "bert", "exam", "69.5", func(s *results.State) {
			s.Delivered, s.Attempts, s.Reason, s.StoppedAt = 1, 3, results.ReasonGone, h.now()
		}, 0),
		"Pending": h.take(t, "carl", "exam", "70", func(s *results.State) { s.Attempts, s.Reason = 2, "Unavailable" }, 10*time.Minute),
	}
}

// state returns what is stored of a result.
func (h *launchHandler) state(t *testing.T, id string) (s results.State) {
	t.Helper()
	r, err := h.store.ResultByID(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(r.State, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestResultsListAndShow(t *testing.T) {
	h := newLaunchHandler(t, told)
	ids := h.takeOneOfEach(t)
	kubeconfig := h.world().kubeconfig(t)

	// testdata/results/<case>.out is what is printed.
	for name, args := range map[string]string{
		"all":            "list",
		"all-json":       "list -o json",
		"direct":         "list --control-url https://" + h.control,
		"of-a-learner":   "list --subject anna",
		"of-an-activity": "list --activity exam -n acme --academy default",
		"stopped":        "list --delivery Stopped",
		"stopped-yaml":   "list --delivery=Stopped -o yaml",
		"nothing-told":   "list --delivery None",
		"none-found":     "list --activity nothing",
		"show":           "show " + ids["Stopped"],
		"show-json":      "show -o json " + ids["Stopped"],
		"show-started":   "show " + ids["None"],
		"show-pending":   "show " + ids["Pending"],
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, status := h.command(t, "results", kubeconfig, strings.Fields(args)...)
			if want := map[bool]string{true: "No results found.\n"}[name == "none-found"]; status != exitOK || stderr != want {
				t.Fatalf("exit status %d: %s", status, stderr)
			}
			for _, personal := range []string{remark, "Anna Example", "anna@example.edu"} {
				if strings.Contains(stdout, personal) {
					t.Errorf("%q is printed:\n%s", personal, stdout)
				}
			}
			golden(t, filepath.Join("testdata", "results", name+".out"), stdout)
		})
	}
}

// A list goes on where it ended.
func TestResultsListGoesOnAfterAnID(t *testing.T) {
	h := newLaunchHandler(t, told)
	ids := slices.Sorted(func(yield func(string) bool) {
		for _, id := range h.takeOneOfEach(t) {
			if !yield(id) {
				return
			}
		}
	})
	stdout, stderr, status := h.command(t, "results", h.world().kubeconfig(t), "list", "-o", "json", "--after", ids[1])
	var found []routing.Result
	if err := json.Unmarshal([]byte(stdout), &found); err != nil || status != exitOK || stderr != "" {
		t.Fatal(err, status, stderr)
	}
	if len(found) != 2 || found[0].ID != ids[2] || found[1].ID != ids[3] {
		t.Errorf("%+v instead of those after %s of %q", found, ids[1], ids)
	}
}

// A script may take columns by their number.
func TestEveryRowOfResultsHasEveryCell(t *testing.T) {
	var out bytes.Buffer
	if err := writeResults(&out, []routing.Result{{}, {Subject: "a b", Activity: "c\x1b[2J", Status: "d\ne\tf"}}); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if cells := strings.Fields(line); len(cells) != 9 {
			t.Errorf("%d cells: %q", len(cells), line)
		}
	}
}

// The deliveries that can be asked for are those of the launch handler.
func TestDeliveryStates(t *testing.T) {
	want := []results.DeliveryState{
		routing.DeliveryNone, results.DeliveryPending, results.DeliveryDelivered, results.DeliveryStopped, results.DeliveryNotConfigured,
	}
	if !slices.EqualFunc(deliveryStates, want, func(a string, b results.DeliveryState) bool { return a == string(b) }) {
		t.Errorf("%q", deliveryStates)
	}
}

func TestResultsResend(t *testing.T) {
	// Without a webhook nothing is told meanwhile.
	h := newLaunchHandler(t)
	ids := h.takeOneOfEach(t)
	kubeconfig := h.world().kubeconfig(t)

	stdout, stderr, status := h.command(t, "results", kubeconfig, "resend", ids["Delivered"], "no-such-result", "..", ids["None"])
	if want := ids["Delivered"] + " will be sent again\n" + ids["None"] + " will be sent again\n2 results will be sent again\n"; status != exitFailed || stdout != want {
		t.Errorf("exit status %d: %s", status, stdout)
	}
	if want := "error: there is no result \"no-such-result\"\nerror: there is no result \"..\"\n"; stderr != want {
		t.Errorf("says %q", stderr)
	}
	if s := h.state(t, ids["Delivered"]); s.Version == 0 || s.Delivered != 0 {
		t.Errorf("the delivered result: %+v", s)
	}

	stdout, stderr, status = h.command(t, "results", kubeconfig, "resend", "--all", "--delivery=Stopped", "--activity=exam")
	if want := ids["Stopped"] + " will be sent again\n1 result will be sent again\n"; status != exitOK || stdout != want || stderr != "" {
		t.Errorf("exit status %d: %s%s", status, stdout, stderr)
	}
	if s := h.state(t, ids["Stopped"]); !s.StoppedAt.IsZero() || s.Attempts != 0 {
		t.Errorf("the stopped result: %+v", s)
	}
	stdout, _, status = h.command(t, "results", kubeconfig, "resend", "--all", "--delivery=None")
	if status != exitOK || stdout != "0 results will be sent again, 1 have nothing to send\n" {
		t.Errorf("exit status %d: %s", status, stdout)
	}
}

// Resending all of them goes on to the end, however many there are.
func TestResultsResendGoesThroughAllPages(t *testing.T) {
	h := newLaunchHandler(t)
	var asked []string
	address := controlServer(t, h.keys, func(rw http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.URL.String())
		if r.Method == http.MethodPost {
			rw.WriteHeader(http.StatusAccepted)
			return
		}
		page := []routing.Result{}
		switch r.URL.Query().Get("after") {
		case "":
			rw.Header().Set(routing.HeaderControlMore, "b")
		case "b":
			page = append(page, routing.Result{ID: "c", Delivery: routing.Delivery{State: "Stopped"}})
		}
		_ = json.NewEncoder(rw).Encode(page)
	})
	stdout, stderr, status := h.command(t, "results", h.world().kubeconfig(t), "resend", "--all", "--delivery=Stopped", "--control-url", address)
	if status != exitOK || stdout != "c will be sent again\n1 result will be sent again\n" || stderr != "" {
		t.Errorf("exit status %d: %s%s", status, stdout, stderr)
	}
	want := []string{"GET /v1/results?delivery=Stopped", "GET /v1/results?after=b&delivery=Stopped", "POST /v1/results/c/send"}
	if diff := cmp.Diff(want, asked); diff != "" {
		t.Error(diff)
	}
}

func TestResultsErrors(t *testing.T) {
	h := newLaunchHandler(t)
	answering := func(body string) string {
		return controlServer(t, h.keys, func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set(routing.HeaderControlMore, "b")
			_, _ = rw.Write([]byte(body))
		})
	}
	list, empty := answering(`[]`), answering(`{"results":[]}`)
	for name, c := range map[string]struct {
		args    string
		message string
		status  int
	}{
		"one that there is not":        {"show no-such-result", `error: there is no result "no-such-result"`, exitFailed},
		"a path of dots":               {"show ..", `error: there is no result ".."`, exitFailed},
		"an answer that is no list":    {"list --control-url " + empty, "does not answer with a list of results", exitFailed},
		"an answer that is no result":  {"show x --control-url " + list, "does not answer with a result", exitFailed},
		"all of them":                  {"resend --all", "--all needs --delivery, --activity or --subject", exitUsage},
		"some of a delivery":           {"resend x --delivery=Stopped", "go with --all", exitUsage},
		"a delivery that is none":      {"list --delivery=Lost", "Stopped", exitUsage},
		"none":                         {"resend", "give the IDs of results", exitUsage},
		"an unknown format":            {"list -o xml", "xml", exitUsage},
		"more than one list may hold":  {"list --control-url " + list, "note: only 1000 results were looked at, and there are more; go on with --after b", exitOK},
		"neither list, show nor again": {"", "resend", exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, status := h.command(t, "results", h.world().kubeconfig(t), strings.Fields(c.args)...)
			if status != c.status || stdout != "" || !strings.Contains(stderr, c.message) {
				t.Errorf("exit status %d: %s%s", status, stdout, stderr)
			}
		})
	}
}
