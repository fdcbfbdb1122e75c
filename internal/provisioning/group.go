// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
	"unicode/utf8"
)

// groupLifetime is how long the id of a group is remembered: renamed groups are
// noticed, and replicas that created a group at the same time come together.
const groupLifetime = 10 * time.Minute

// ours begins the externalId of groups created here.
const ours = "lti-operator:"

// knownGroup is a group that was found.
type knownGroup struct {
	id    string
	until time.Time
	// turn is taken by who changes the group: additions that cross each other
	// would be refused where versions are compared (RFC 7644 section 3.14).
	turn chan struct{}
}

// Enrol makes an account a member of a group, if it is not one yet. The group is
// the one whose displayName, or else whose externalId, is the given text. A
// group that does not exist is created if the client may. Other members are left
// alone.
//
// It fails with ErrGroupUnknown, ErrAmbiguous, ErrUnavailable, ErrNotAuthorised
// or ErrProtocol, and can be repeated.
func (c *Client) Enrol(ctx context.Context, accountID, group string) error {
	if accountID == "" {
		return ErrInvalidPerson
	}
	if group == "" || !utf8.ValidString(group) {
		return ErrGroupUnknown
	}
	for fresh := false; ; fresh = true {
		known, err := c.group(ctx, group)
		if err != nil {
			return err
		}
		err = c.add(ctx, known, accountID)
		if statusOf(err) != http.StatusNotFound || fresh {
			return err
		}
		// The group was deleted, and perhaps made anew.
		c.forget(group, known)
	}
}

// add makes an account a member. It fails with status 404 if the group does not
// exist.
func (c *Client) add(ctx context.Context, group *knownGroup, accountID string) error {
	select {
	case group.turn <- struct{}{}:
		defer func() { <-group.turn }()
	case <-ctx.Done():
		return &CallError{Kind: ErrUnavailable, Op: "group", Detail: "the time is up", Err: ctx.Err()}
	}
	r := request{method: http.MethodPatch, endpoint: groups, id: group.id, body: patch{
		Schemas:    []string{schemaPatch},
		Operations: []operation{{Op: "add", Path: "members", Value: []member{{Value: accountID}}}},
	}}
	refused := ""
	for again := false; ; again = true {
		found, err := c.get(ctx, groups, group.id)
		switch {
		case isTooLarge(err):
			// Too many members to look through. Adding one that is there
			// already changes nothing (RFC 7644 section 3.5.2.1).
			found = &resource{}
		case err != nil:
			return err
		}
		if found.hasMember(accountID) {
			return nil
		}
		r.ifMatch = found.Meta.Version
		if again && r.ifMatch == refused {
			// Nobody changed it: the server does not accept its own versions,
			// as those that compare weak ones strictly. An addition can do
			// without.
			r.ifMatch = ""
		}
		_, err = c.call(ctx, r)
		switch {
		case err == nil, isTooLarge(err):
			return nil
		case statusOf(err) != http.StatusPreconditionFailed && statusOf(err) != http.StatusConflict:
			return err
		case again:
			if e, ok := errors.AsType[*CallError](err); ok {
				e.Kind, e.Detail = ErrUnavailable, "the group keeps changing"
			}
			return err
		}
		refused = found.Meta.Version
	}
}

// group returns the group with a name, from memory if it was found lately.
func (c *Client) group(ctx context.Context, name string) (*knownGroup, error) {
	c.mu.Lock()
	known := c.groups[name]
	c.mu.Unlock()
	if known != nil && c.now().Before(known.until) {
		return known, nil
	}
	result := c.flights.DoChan(fmt.Sprintf("group %q", name), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
		defer cancel()
		id, err := c.ensureGroup(ctx, name)
		if err != nil {
			return nil, err
		}
		return c.remember(name, id), nil
	})
	select {
	case <-ctx.Done():
		return nil, &CallError{Kind: ErrUnavailable, Op: "group", Detail: "the time is up", Err: ctx.Err()}
	case r := <-result:
		known, _ := r.Val.(*knownGroup)
		return known, r.Err
	}
}

func (c *Client) remember(name, id string) *knownGroup {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := &knownGroup{id: id, until: c.now().Add(groupLifetime), turn: make(chan struct{}, 1)}
	if old := c.groups[name]; old != nil && old.id == id {
		known.turn = old.turn
	}
	c.groups[name] = known
	return known
}

// forget drops what is remembered of a group, unless it was found anew since.
func (c *Client) forget(name string, known *knownGroup) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.groups[name] == known {
		delete(c.groups, name)
	}
}

// ensureGroup returns the id of the group with a name, which it may create.
func (c *Client) ensureGroup(ctx context.Context, name string) (string, error) {
	id, err := c.findGroup(ctx, name)
	if !errors.Is(err, ErrGroupUnknown) || !c.createGroups {
		return id, err
	}
	created, err := c.createGroup(ctx, name)
	if err != nil && statusOf(err) != http.StatusConflict {
		return "", err
	}
	// Names of groups need not be unique: of two replicas that created one at
	// the same time, both must take the same.
	id, again := c.findGroup(ctx, name)
	switch {
	case !errors.Is(again, ErrGroupUnknown):
		return id, again
	case created != "":
		// Not in the server's index yet.
		return created, nil
	case err != nil:
		return "", err
	}
	return "", &CallError{Kind: ErrProtocol, Op: "POST " + groups, Detail: "the group was created and cannot be found"}
}

// findGroup returns the id of the group whose displayName, or else whose
// externalId, is the name.
func (c *Client) findGroup(ctx context.Context, name string) (string, error) {
	named, err := c.search(ctx, groups, equal("displayName", name), func(r *resource) bool { return sameText(r.DisplayName, name) })
	if err != nil {
		return "", err
	}
	if exact := slices.DeleteFunc(slices.Clone(named), func(r *resource) bool { return r.DisplayName != name }); len(exact) > 0 {
		named = exact
	}
	if len(named) == 0 {
		named, err = c.search(ctx, groups, equal("externalId", name), func(r *resource) bool { return r.ExternalID == name })
		if err != nil && !filterRefused(err) {
			return "", err
		}
	}
	switch {
	case len(named) == 0:
		return "", ErrGroupUnknown
	case len(named) == 1:
		return named[0].ID, nil
	case slices.ContainsFunc(named, func(r *resource) bool { return r.ExternalID != ours+name }):
		return "", fmt.Errorf("%w: groups with the name", ErrAmbiguous)
	}
	// All were created here, at the same time.
	return slices.MinFunc(named, func(a, b *resource) int {
		return cmp.Or(a.Meta.created().Compare(b.Meta.created()), cmp.Compare(a.ID, b.ID))
	}).ID, nil
}

// createGroup makes a group without members. The id is empty if the answer does
// not tell it.
func (c *Client) createGroup(ctx context.Context, name string) (string, error) {
	r := request{method: http.MethodPost, endpoint: groups, body: newGroup{
		Schemas: []string{schemaGroup}, ExternalID: ours + name, DisplayName: name,
	}}
	a, err := c.call(ctx, r)
	if err != nil {
		return "", err
	}
	var created resource
	// It is looked up anyway.
	_ = a.decode(r.op(), &created)
	return created.ID, nil
}
