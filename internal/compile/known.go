// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// maxRegistrationBytes bounds what is kept of one registration: it may have a keyset in it.
const maxRegistrationBytes = 128 << 10

// MergeRegistrations adds what the launch handlers report to the data of the Secret with what has registered at one
// object, of the kind as in routing.Registration. A registration that is there already stays as it is, so that nothing
// takes the place of what was approved. The approved one and the newest are kept. It returns new data, and the IDs that
// are new in it; none when nothing changes.
func MergeRegistrations(kind string, data map[string][]byte, reported []routing.Registration, approved string) (
	merged map[string][]byte, added []string, err error,
) {
	all := decodeRegistrations(kind, data)
	known := map[string]bool{}
	for i := range all {
		known[all[i].ID] = true
	}
	for i := range reported {
		r := &reported[i]
		if known[r.ID] || !plausible(kind, r.ID, r) {
			continue
		}
		known[r.ID] = true
		all = append(all, *r)
	}
	merged = maps.Clone(data)
	if merged == nil {
		merged = map[string][]byte{}
	}
	kept := map[string]bool{}
	for _, r := range keepRegistrations(all, approved) {
		key := r.ID + v1alpha1.SecretKeyRegistrationSuffix
		kept[key] = true
		if _, there := data[key]; there && decoded(kind, r.ID, data[key]) != nil {
			continue
		}
		if merged[key], err = json.Marshal(r); err != nil {
			return nil, nil, fmt.Errorf("encode registration: %w", err)
		}
		added = append(added, r.ID)
	}
	if len(added) == 0 {
		return data, nil, nil
	}
	for key := range data {
		if id, ok := registrationID(key); ok && !kept[key] && id != approved {
			delete(merged, key)
		}
	}
	return merged, added, nil
}

// decodeRegistrations reads what has registered from the data of a Secret. What is not whole is passed over.
func decodeRegistrations(kind string, data map[string][]byte) []routing.Registration {
	var out []routing.Registration
	for _, key := range slices.Sorted(maps.Keys(data)) {
		id, ok := registrationID(key)
		if !ok {
			continue
		}
		if r := decoded(kind, id, data[key]); r != nil {
			out = append(out, *r)
		}
	}
	return out
}

func decoded(kind, id string, text []byte) *routing.Registration {
	r := &routing.Registration{}
	if err := json.Unmarshal(text, r); err != nil || !plausible(kind, id, r) {
		return nil
	}
	return r
}

// plausible tells whether a registration is one of that kind, of a size that can be kept, and with the ID that its values
// have: neither a launch handler nor a database supplies others under an ID that was approved. Whether the values can be
// used is asked when it is approved.
func plausible(kind, id string, r *routing.Registration) bool {
	if r.Kind != kind || r.ID != id || (r.Platform != nil) != (kind == routing.KindPlatform) || (r.Tool != nil) != (kind == routing.KindTool) {
		return false
	}
	text, err := json.Marshal(r)
	return err == nil && len(text) <= maxRegistrationBytes && r.ComputeID() == id
}

// registrationID is the ID in a data key such as 0123456789abcdef0123.json.
func registrationID(key string) (id string, ok bool) {
	id, ok = strings.CutSuffix(key, v1alpha1.SecretKeyRegistrationSuffix)
	return id, ok && isRegistrationID(id)
}

func isRegistrationID(text string) bool {
	const length = 20
	return len(text) == length && strings.Trim(text, "0123456789abcdef") == ""
}

// keepRegistrations returns those that are kept, newest first: the approved one, and as many of the newest as there is
// room for.
func keepRegistrations(all []routing.Registration, approved string) []routing.Registration {
	slices.SortFunc(all, newer)
	const last = v1alpha1.MaxKnownRegistrations - 1
	if i := slices.IndexFunc(all, func(r routing.Registration) bool { return r.ID == approved }); i > last {
		all[last] = all[i] // the oldest of those that are kept
	}
	return all[:min(len(all), last+1)]
}

func newer(a, b routing.Registration) int {
	return cmp.Or(b.RegisteredAt.Compare(a.RegisteredAt), cmp.Compare(a.ID, b.ID))
}
