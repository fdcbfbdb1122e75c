// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Defaults of [Options].
const (
	DefaultTimeout = 30 * time.Second
	DefaultMaxBody = 1 << 20
)

// Doer sends a request. It guards against addresses that must not be reached,
// bounds time, and follows no redirect, because requests carry the token.
type Doer interface {
	Do(req *http.Request) (*http.Response, error)
}

// Options of a [Client].
type Options struct {
	// URL is where the server is, such as https://academy.example/scim/v2,
	// without /Users.
	URL string
	// Token returns the bearer token; it is asked for each request, so that a
	// new one is used at once.
	Token func() string
	// LinkFilter is a filter (RFC 7644 section 3.4.2.2) such as
	// `userType eq "Learner"`. Only accounts that match it are linked by email
	// address. Empty for all.
	LinkFilter string
	// CreateGroups allows a group that does not exist to be created.
	CreateGroups bool
	// Doer sends the requests.
	Doer Doer
	// Timeout bounds finding or creating one account, which takes up to eleven
	// requests; DefaultTimeout if zero.
	Timeout time.Duration
	// MaxBody is the longest answer that is read, in bytes; DefaultMaxBody if
	// zero.
	MaxBody int64
	// Now is time.Now if nil.
	Now func() time.Time
}

// Client finds, creates and enrols accounts at one server. It is safe for
// concurrent use.
type Client struct {
	base         string
	token        func() string
	linkFilter   string
	createGroups bool
	doer         Doer
	timeout      time.Duration
	maxBody      int64
	now          func() time.Time

	flights singleflight.Group

	mu     sync.Mutex
	groups map[string]*knownGroup // by name
}

// New returns a client. It does not ask the server for anything.
func New(opts Options) (*Client, error) {
	if opts.Token == nil || opts.Doer == nil {
		return nil, errors.New("provisioning: no token or no way to send requests")
	}
	base, err := url.Parse(opts.URL)
	if err != nil || base.Hostname() == "" || base.User != nil || base.RawQuery != "" || base.ForceQuery || base.Fragment != "" ||
		base.Scheme != "https" && base.Scheme != "http" {
		// The cause would quote the URL, with credentials if it has any.
		return nil, errors.New("provisioning: the URL is not the plain https URL of a server")
	}
	c := &Client{
		base: strings.TrimRight(base.String(), "/"), token: opts.Token,
		linkFilter: strings.TrimSpace(opts.LinkFilter), createGroups: opts.CreateGroups,
		doer: opts.Doer, timeout: opts.Timeout, maxBody: opts.MaxBody, now: opts.Now,
		groups: make(map[string]*knownGroup),
	}
	if err := checkFilter(c.linkFilter); err != nil {
		return nil, fmt.Errorf("provisioning: link filter: %w", err)
	}
	if c.timeout <= 0 {
		c.timeout = DefaultTimeout
	}
	if c.maxBody <= 0 {
		c.maxBody = DefaultMaxBody
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c, nil
}
