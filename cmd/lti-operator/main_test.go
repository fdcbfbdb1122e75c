// SPDX-License-Identifier: Apache-2.0

package main

import (
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
