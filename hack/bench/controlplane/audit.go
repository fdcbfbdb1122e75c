// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lti-operator/lti-operator/hack/apiserver"
)

// auditLog reads the API server's audit log while it grows. Not for use by several goroutines.
type auditLog struct {
	path    string
	offset  int64
	entries []request
}

// request is one finished request to the API server.
type request struct {
	at                          time.Time
	user, verb, resource, group string // resource with its subresource, as in "ltiactivities/status"
	name                        string
	code                        int
}

// read takes over what was logged since the last time.
func (a *auditLog) read() error {
	file, err := os.Open(a.path)
	if err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	defer func() { _ = file.Close() }()
	if _, err := file.Seek(a.offset, io.SeekStart); err != nil {
		return fmt.Errorf("read audit log: %w", err)
	}
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // half a line is read again when it is whole
		}
		if err != nil {
			return fmt.Errorf("read audit log: %w", err)
		}
		a.offset += int64(len(line))
		var event struct {
			Stage, Verb              string
			User                     struct{ Username string }
			ObjectRef                struct{ Resource, APIGroup, Subresource, Name string }
			ResponseStatus           struct{ Code int }
			RequestReceivedTimestamp time.Time
		}
		if err := json.Unmarshal(bytes.TrimSpace(line), &event); err != nil {
			return fmt.Errorf("read audit log: %w", err)
		}
		if event.Stage != "ResponseComplete" && event.Stage != "Panic" {
			continue
		}
		resource := event.ObjectRef.Resource
		if event.ObjectRef.Subresource != "" {
			resource += "/" + event.ObjectRef.Subresource
		}
		a.entries = append(a.entries, request{
			at: event.RequestReceivedTimestamp, user: event.User.Username, verb: event.Verb, resource: resource,
			group: event.ObjectRef.APIGroup, name: event.ObjectRef.Name, code: event.ResponseStatus.Code,
		})
	}
}

// between returns the requests that came in from one instant to another and that match.
func (a *auditLog) between(from, to time.Time, match func(request) bool) ([]request, error) {
	if err := a.read(); err != nil {
		return nil, err
	}
	var found []request
	for _, r := range a.entries {
		if !r.at.Before(from) && r.at.Before(to) && match(r) {
			found = append(found, r)
		}
	}
	return found, nil
}

func byOperator(r request) bool { return r.user == apiserver.OperatorUser }

func (r request) writes() bool {
	return slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, r.verb)
}

func (r request) isEvent() bool { return r.resource == "events" }

func (r request) isLease() bool { return r.resource == "leases" }

// writesBeyondLease are what the operator must not do while nothing changes; events are counted on their own.
func writesBeyondLease(r request) bool {
	return byOperator(r) && r.writes() && !r.isLease() && !r.isEvent()
}

// summary counts requests by what they did, the commonest first, as in "9998 patch ltiactivities/status".
func summary(requests []request) string {
	counts := map[string]int{}
	for _, r := range requests {
		what := r.verb + " " + cmp.Or(r.resource, "discovery")
		if r.code >= 300 {
			what += fmt.Sprintf(" → %d", r.code)
		}
		counts[what]++
	}
	kinds := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(counts[b]-counts[a], strings.Compare(a, b))
	})
	var text bytes.Buffer
	for i, kind := range kinds {
		if i > 0 {
			text.WriteString(", ")
		}
		fmt.Fprintf(&text, "%d %s", counts[kind], kind)
	}
	return cmp.Or(text.String(), "none")
}
