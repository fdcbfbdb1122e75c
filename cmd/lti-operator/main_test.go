// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"maps"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

func parse(t *testing.T, args ...string) (flags, error) {
	t.Helper()
	var f flags
	parser, err := kong.New(&f)
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(args)
	return f, err
}

// A lease that lasts less than the API server's outages makes the operator restart for nothing.
func TestTheLeaseLastsByDefault(t *testing.T) {
	f, err := parse(t, "--all-namespaces", "--handler-image=example.org/launch-handler")
	if err != nil {
		t.Fatal(err)
	}
	if !f.LeaderElect || f.LeaderLeaseDuration != 35*time.Second || f.LeaderRenewDeadline != 30*time.Second || f.LeaderRetryPeriod != 5*time.Second {
		t.Errorf("leader election: %v %v %v %v", f.LeaderElect, f.LeaderLeaseDuration, f.LeaderRenewDeadline, f.LeaderRetryPeriod)
	}
	f, err = parse(t, "--all-namespaces", "--handler-image=x", "--leader-lease-duration=70s", "--leader-renew-deadline=60s", "--leader-retry-period=10s", "--no-leader-elect")
	if err != nil || f.LeaderElect || f.LeaderLeaseDuration != 70*time.Second || f.LeaderRenewDeadline != time.Minute || f.LeaderRetryPeriod != 10*time.Second {
		t.Errorf("flags are not taken: %+v %v", f, err)
	}
}

// The chart writes all of them into one argument.
func TestLabelsOfTheOperatorsPods(t *testing.T) {
	f, err := parse(t, "--all-namespaces", "--handler-image=x", "--operator-pod-labels=app.kubernetes.io/name=lti-operator;app.kubernetes.io/instance=one")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"app.kubernetes.io/name": "lti-operator", "app.kubernetes.io/instance": "one"}
	if !maps.Equal(f.OperatorPodLabels, want) {
		t.Errorf("labels %v, want %v", f.OperatorPodLabels, want)
	}
}

func TestFlagsThatExcludeEachOther(t *testing.T) {
	for name, args := range map[string][]string{
		"no namespaces":                    {"--handler-image=x"},
		"some namespaces and all":          {"--handler-image=x", "--all-namespaces", "--watch-namespaces=a"},
		"managed handlers without image":   {"--all-namespaces"},
		"external handlers without an URL": {"--all-namespaces", "--handler=external"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := parse(t, args...); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// It must not ask for what the program needs to run: whoever asks for the version has nothing of it at hand.
func TestVersionNeedsNoOtherFlag(t *testing.T) {
	var out bytes.Buffer
	type exit int
	defer func() {
		if status := recover(); status != exit(0) || out.String() != "v1.2.3\n" {
			t.Errorf("--version prints %q and ends with %v", &out, status)
		}
	}()
	parser := kong.Must(&flags{}, kong.Vars{"version": "v1.2.3"}, kong.Writers(&out, &out), kong.Exit(func(status int) { panic(exit(status)) }))
	_, err := parser.Parse([]string{"--version"})
	t.Errorf("--version does not end the program: %v", err)
}
