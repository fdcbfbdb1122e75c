// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/provisioning/scimtest"
)

// directory is the SCIM server with the academy's accounts.
type directory struct {
	*scimtest.Directory
	server *http.Server
	done   chan error
	// learners were there before any launch.
	learners []learner
}

// learner is an account of the academy that one can sign in to, at hack/peers/idp.mjs.
type learner struct {
	// Login is what one types there.
	Login string `json:"login"`
	// ID is that of the account in the directory.
	ID         string `json:"id"`
	Name       string `json:"name"`
	GivenName  string `json:"givenName"`
	FamilyName string `json:"familyName"`
	Email      string `json:"email"`
	Locale     string `json:"locale"`
	// Groups are those that the identity provider tells.
	Groups []string `json:"groups,omitempty"`
}

// authorsGroup may choose activities at tools, as the academy of the samples says.
const authorsGroup = "course-authors"

// gus is known to another system too.
const gus = "gus"

// startDirectory serves an empty directory, with the token that is in the samples.
func (d *demo) startDirectory(ctx context.Context) (*directory, error) {
	secret := &corev1.Secret{}
	if err := d.cluster.get(ctx, directoryName, secret); err != nil {
		return nil, err
	}
	s := &directory{Directory: scimtest.New(string(secret.Data[v1alpha1.SecretKeyToken])), done: make(chan error, 1)}
	handler, err := s.Handler()
	if err != nil {
		return nil, fmt.Errorf("start the directory: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", loopback(directoryPort))
	if err != nil {
		return nil, fmt.Errorf("start the directory: %w", err)
	}
	s.server = &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	go func() { s.done <- s.server.Serve(listener) }()
	s.learners = []learner{
		{Login: gus, Name: "Gus Guest", GivenName: "Gus", FamilyName: "Guest", Email: "gus@example.net", Locale: "en", Groups: []string{authorsGroup}},
		{Login: "zoe", Name: "Zoë Čapková", GivenName: "Zoë", FamilyName: "Čapková", Email: "zoe@academy.example", Locale: "nl-NL"},
		{Login: "ben", Name: "Ben O’Neill & Sons", GivenName: "Ben", FamilyName: "O’Neill & Sons", Email: "ben@academy.example", Locale: "en-GB"},
	}
	for i := range s.learners {
		l := &s.learners[i]
		l.ID = s.Users.Put(map[string]any{
			"userName": l.Login, "active": true, "userType": "Learner", "displayName": l.Name,
			"emails": []any{map[string]any{"value": l.Email, "primary": true}},
		})
	}
	return s, nil
}

// accounts are what hack/peers/idp.mjs wants to know.
func (s *directory) accounts() (string, error) {
	accounts := map[string]any{}
	for _, l := range s.learners {
		accounts[l.Login] = map[string]any{
			"scim_id": l.ID, "email": l.Email, "email_verified": true,
			"name": l.Name, "given_name": l.GivenName, "family_name": l.FamilyName, "locale": l.Locale, "groups": l.Groups,
		}
	}
	text, err := json.Marshal(accounts)
	return string(text), err
}

// learner finds one by what one types to sign in, or by the ID of the account.
func (s *directory) learner(name string) *learner {
	for i := range s.learners {
		if l := &s.learners[i]; l.Login == name || l.ID == name {
			return l
		}
	}
	return nil
}

func (s *directory) stop() error {
	err := s.server.Close()
	if served := <-s.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// accounts judges what the launches have left in the academy's directory.
func (c *checks) accounts(ctx context.Context) {
	// Lena and Tom have one account each, whichever LTI version they come by: their system is believed about their address.
	c.check("the directory has an account for each launched person, with a link to the other system", func() (string, error) {
		var ids, names []string
		for _, u := range c.directory.Users.All() {
			if known := c.directory.learner(u.ID); known != nil {
				if u.Attrs["externalId"] != nil || u.Attrs["displayName"] != known.Name {
					return "", fmt.Errorf("an account that was there before is %v", u.Attrs)
				}
				continue
			}
			id, _ := u.Attrs["externalId"].(string)
			name, _ := u.Attrs["displayName"].(string)
			ids, names = append(ids, id), append(names, name)
		}
		slices.Sort(names)
		if want := []string{"Lena Learner", "Tom Teacher"}; !slices.Equal(names, want) {
			return "", fmt.Errorf("it has %q, not %q", names, want)
		}
		for _, id := range ids {
			if id != platformName+":17" && id != platformName+":4" {
				return "", fmt.Errorf("an account has the external id %q", id)
			}
		}
		return fmt.Sprintf("%q", ids), nil
	})
	c.check("the launched people are members of the activity's group, and nobody else is", func() (string, error) {
		// Of the learners who were there before, Gus is the one who came from another system.
		launched := len(c.directory.Users.All()) - len(c.directory.learners) + 1
		return "", poll(ctx, 10*time.Second, func() error {
			for _, g := range c.directory.Groups.All() {
				members, _ := g.Attrs["members"].([]any)
				if g.Attrs["displayName"] == "Safety" && len(members) == launched {
					return nil
				}
			}
			return errors.New("they are not")
		})
	})
}
