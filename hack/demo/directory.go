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
	// gus is the ID of an account that was there before any launch.
	gus string
}

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
	s.gus = s.Users.Put(map[string]any{
		"userName": "gus", "active": true, "userType": "Learner", "displayName": "Gus Guest",
		"emails": []any{map[string]any{"value": "gus@example.net", "primary": true}},
	})
	return s, nil
}

// learners are the accounts that one can sign in to, as hack/peers/idp.mjs wants them.
func (s *directory) learners() (string, error) {
	text, err := json.Marshal(map[string]any{"gus": map[string]any{"scim_id": s.gus, "name": "Gus Guest"}})
	return string(text), err
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
			if u.ID == c.directory.gus {
				if u.Attrs["externalId"] != nil || u.Attrs["displayName"] != "Gus Guest" {
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
	c.check("the launched people are members of the activity's group", func() (string, error) {
		return "", poll(ctx, 10*time.Second, func() error {
			for _, g := range c.directory.Groups.All() {
				members, _ := g.Attrs["members"].([]any)
				if g.Attrs["displayName"] == "Safety" && len(members) == len(c.directory.Users.All()) {
					return nil
				}
			}
			return errors.New("they are not")
		})
	})
}
