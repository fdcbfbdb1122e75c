// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/lti-operator/lti-operator/hack/launches"
)

// What a launch handler answers, and what happens to a connection, must never be taken for one another: the second may
// happen where a launch handler is killed.
func TestReasonsOfFailures(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}, Err: os.NewSyscallError("connect", errors.New("refused"))}
	for name, test := range map[string]struct {
		err      error
		want     string
		answered bool
	}{
		"a page with a reason":     {fmt.Errorf("x: %w", &launches.Unexpected{Step: "launch", Status: 503, Reason: "StoreUnavailable"}), "launch: answered with 503, StoreUnavailable", true},
		"a connection refused":     {fmt.Errorf("login: %w", &url.Error{Op: "Post", URL: "http://10.0.0.1/x?secret", Err: refused}), "login: dial connect: refused", false},
		"an end in the middle":     {fmt.Errorf("launch: %w", &url.Error{Op: "Post", URL: "http://10.0.0.1", Err: errors.New("EOF")}), "launch: EOF", false},
		"a token that is not ours": {errors.New("ID token: signature is invalid"), "ID token: signature is invalid", true},
	} {
		t.Run(name, func(t *testing.T) {
			got, answered := reasonOf(test.err)
			if got != test.want || answered != test.answered {
				t.Errorf("%q, answered %t; want %q, %t", got, answered, test.want, test.answered)
			}
		})
	}
}

func TestAPersonMayNotBecomeAnother(t *testing.T) {
	var p people
	anna, bert := launches.Person{ID: "anna"}, launches.Person{ID: "bert"}
	for _, err := range []error{p.again("lms", anna, "1"), p.again("lms", anna, "1"), p.again("lms", bert, "2"), p.again("tool", anna, "3")} {
		if err != nil {
			t.Error(err)
		}
	}
	if p.again("lms", anna, "2") == nil || p.again("lms", bert, "") == nil {
		t.Error("another subject, or none, is taken")
	}
}

func TestPeopleOfDifferentKindsAreDifferent(t *testing.T) {
	seen := map[string]string{}
	for _, k := range kinds {
		if id := personOf(k, 3).ID; seen[id] != "" {
			t.Errorf("%s and %s are both %s", k.name, seen[id], id)
		} else {
			seen[id] = k.name
		}
	}
}

func TestPermissionsThatDiffer(t *testing.T) {
	chart, account := map[string]bool{}, map[string]bool{}
	expand(chart, []string{"get", "list"}, []string{"", "apps"}, []string{"secrets"}, nil)
	expand(account, []string{"get", "list"}, []string{"", "apps"}, []string{"secrets"}, nil)
	if err := differ(account, chart); err != nil || len(chart) != 4 {
		t.Errorf("%v, %v", chart, err)
	}
	expand(account, []string{"delete"}, []string{""}, []string{"secrets"}, []string{"one"})
	delete(account, "list secrets.apps")
	if err := differ(account, chart); err == nil || err.Error() != "may delete secrets. one, may not list secrets.apps" {
		t.Errorf("%v", err)
	}
}

func TestChangedValuesAreNotTold(t *testing.T) {
	before := map[string]string{"Secret/a sharedSecret": "canary", "LTITool/lab key x": "Signing", "same": "1"}
	err := same(before, map[string]string{"Secret/a sharedSecret": "other", "same": "1"})
	if err == nil || err.Error() != "LTITool/lab key x is gone, Secret/a sharedSecret has changed" {
		t.Errorf("%v", err)
	}
	if err := same(before, before); err != nil {
		t.Error(err)
	}
}

func TestReportFailsWithWhatIsNotAsWanted(t *testing.T) {
	var good, bad report
	good.add("evict", "failed", 0, 0, "")
	good.atLeast("rotate", "keys", 2, 2, "")
	good.tell("sqlite", "gap", "3 s")
	good.aim("propagation", "p99", 1, 1.25, "s")
	bad.add("evict", "failed of 50 launches", 0, 2, "")
	var out strings.Builder
	if !good.write(&out) || bad.write(&out) {
		t.Errorf("verdicts:\n%s", &out)
	}
	if !strings.Contains(out.String(), "| evict: failed of 50 launches | 2        | 0      | NOT OK |") {
		t.Errorf("table:\n%s", &out)
	}
}

func TestEachStopsAtTheFirstError(t *testing.T) {
	wrong := errors.New("wrong")
	if err := each(t.Context(), 1000, func(_ context.Context, i int) error {
		if i == 20 {
			return wrong
		}
		return nil
	}); !errors.Is(err, wrong) {
		t.Errorf("%v", err)
	}
}
