// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lti-operator/lti-operator/api/v1alpha1"
	"github.com/lti-operator/lti-operator/internal/lti"
	"github.com/lti-operator/lti-operator/internal/lti/oauth1"
)

// httpClient reaches *.localhost on machines whose resolver does not know it, and follows no redirect.
var httpClient = &http.Client{
	Timeout:       10 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}},
}

// link is an activity as it stands in another learning system.
type link struct {
	launchURL   string
	credentials oauth1.Credentials
}

// linkTo reads the values that an administrator would paste.
func (b *bench) linkTo(ctx context.Context, i int) (link, error) {
	a := &v1alpha1.LTIActivity{}
	if err := b.cluster.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: activityName(i)}, a); err != nil {
		return link{}, fmt.Errorf("read an activity: %w", err)
	}
	if a.Status.LTI12 == nil {
		return link{}, fmt.Errorf("activity %s has no values for LTI 1.2", a.Name)
	}
	secret := &corev1.Secret{}
	if err := b.cluster.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: a.Status.LTI12.CredentialsSecretName}, secret); err != nil {
		return link{}, fmt.Errorf("read credentials: %w", err)
	}
	return link{a.Status.LTI12.LaunchURL, oauth1.Credentials{
		ConsumerKey:  string(secret.Data[v1alpha1.SecretKeyConsumerKey]),
		SharedSecret: string(secret.Data[v1alpha1.SecretKeySharedSecret]),
	}}, nil
}

// leadsTo opens the link once and tells where the learner arrives, without the query.
func (l link) leadsTo(ctx context.Context) (string, error) {
	params, err := oauth1.SignForm(l.launchURL, lti.Params{
		{Name: "lti_message_type", Value: "basic-lti-launch-request"},
		{Name: "lti_version", Value: "LTI-1p0"},
		{Name: "resource_link_id", Value: "201"},
		{Name: "user_id", Value: "17"},
		{Name: "roles", Value: "Learner"},
		{Name: "lis_person_name_given", Value: "Lena"},
		{Name: "lis_person_name_family", Value: "Learner"},
		{Name: "lis_person_contact_email_primary", Value: "lena@example.org"},
		{Name: "tool_consumer_instance_guid", Value: "lms.example"},
		{Name: "launch_presentation_document_target", Value: "window"},
	}, l.credentials, time.Now(), rand.Text())
	if err != nil {
		return "", fmt.Errorf("sign a launch: %w", err)
	}
	form := url.Values{}
	for _, p := range params {
		form.Add(p.Name, p.Value)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, l.launchURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", fmt.Errorf("launch: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Sec-Fetch-Dest", "document")
	resp, err := httpClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("launch: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "", fmt.Errorf("launch: %w", err)
	}
	if resp.StatusCode != http.StatusSeeOther {
		return "", fmt.Errorf("launch: the handler answered %d", resp.StatusCode)
	}
	place, _, _ := strings.Cut(resp.Header.Get("Location"), "?")
	return place, nil
}

// get fetches an address.
func get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d", address, resp.StatusCode)
	}
	return body, err
}
