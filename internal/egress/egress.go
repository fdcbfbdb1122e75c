// Package egress is the only way out to addresses that another party chose, and
// the only package that constructs HTTP clients.
//
// A URL in a launch or a registration may point at the cloud's metadata
// service, at a neighbour in the cluster or at ourselves. The guard therefore
// looks at the address that is actually dialled, after name resolution, so that
// neither a name that resolves differently the second time nor a redirect gets
// around it.
package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"code.dny.dev/ssrf"
)

// Defaults and fixed limits.
const (
	// DefaultTimeout bounds a whole exchange, redirects and body included.
	DefaultTimeout = 10 * time.Second
	// DefaultMaxBody is the longest response body that is read, decompressed.
	DefaultMaxBody = 1 << 20
	// MaxRedirects is how many redirects [Client.Fetch] follows.
	MaxRedirects = 3
	// UserAgent is sent with every request; some platforms refuse requests
	// without one.
	UserAgent = "lti-operator"

	dialTimeout      = 5 * time.Second
	handshakeTimeout = 5 * time.Second
	maxHeaderBytes   = 64 << 10
	idleTimeout      = 30 * time.Second
	maxIdlePerHost   = 4
)

// Options of a [Client].
type Options struct {
	// AllowedCIDRs are address ranges that may be reached although they are not
	// public: the organisation's own networks. With a loopback range, plain http
	// to loopback hosts is allowed as well.
	AllowedCIDRs []netip.Prefix
	// Timeout and MaxBody; DefaultTimeout and DefaultMaxBody if zero.
	Timeout time.Duration
	MaxBody int64
	// RootCAs are trusted instead of the system's; nil for the system's.
	RootCAs *x509.CertPool
}

// Client sends requests to other parties.
type Client struct {
	follow *http.Client // GET without credentials
	direct *http.Client // everything else
}

// New returns a client that reaches public addresses and those of AllowedCIDRs,
// on any port. It uses no proxy: a proxy would resolve the name itself.
func New(opts Options) *Client {
	var v4, v6 []netip.Prefix
	loopback := false
	for _, p := range opts.AllowedCIDRs {
		p = p.Masked()
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
		loopback = loopback || p.Overlaps(netip.MustParsePrefix("127.0.0.0/8")) || p.Overlaps(netip.MustParsePrefix("::1/128"))
	}
	guard := ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
	dialer := &net.Dialer{Timeout: dialTimeout, Control: guard.Safe}
	transport := newTransport(dialer.DialContext, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: opts.RootCAs})
	return newClient(&gate{next: transport, plainLoopback: loopback}, opts.Timeout, opts.MaxBody)
}

// NewPinned returns a client for one server of our own, such as the control
// port of a launch handler: over TLS only, accepting only certificates that
// were issued by the authority in caPEM for serverName, whatever address the
// URL names. Addresses are not guarded, because pods have private ones.
func NewPinned(caPEM []byte, serverName string) (*Client, error) {
	if serverName == "" {
		return nil, errors.New("egress: pinned client without a server name")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(caPEM) {
		return nil, errors.New("egress: no certificate in the pinned authority")
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	transport := newTransport(dialer.DialContext, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ServerName: serverName})
	return newClient(&gate{next: transport}, 0, 0), nil
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func newTransport(dial dialFunc, tlsConfig *tls.Config) *http.Transport {
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            localhost(dial),
		TLSClientConfig:        tlsConfig,
		TLSHandshakeTimeout:    handshakeTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		ForceAttemptHTTP2:      true,
	}
}

func newClient(rt *gate, timeout time.Duration, maxBody int64) *Client {
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	if maxBody <= 0 {
		maxBody = DefaultMaxBody
	}
	rt.maxBody = maxBody
	return &Client{
		follow: &http.Client{Transport: rt, Timeout: timeout, CheckRedirect: checkRedirect},
		direct: &http.Client{Transport: rt, Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
	}
}

// localhost resolves localhost and names below it to loopback addresses without
// asking a name server, which must not know them (RFC 6761 section 6.3). The
// guard still sees the address.
func localhost(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil || !localhostName(host) {
			return dial(ctx, network, address)
		}
		conn, err := dial(ctx, network, net.JoinHostPort("127.0.0.1", port))
		if err == nil {
			return conn, nil
		}
		if conn, err6 := dial(ctx, network, net.JoinHostPort("::1", port)); err6 == nil {
			return conn, nil
		}
		return nil, err
	}
}

func localhostName(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// loopbackHost reports whether a host of a URL cannot be anything but loopback.
func loopbackHost(host string) bool {
	if localhostName(host) {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Zone() == "" && addr.IsLoopback()
}

// gate checks the URL of every request, those of redirects too, and bounds the
// body of every response.
type gate struct {
	next          *http.Transport
	plainLoopback bool
	maxBody       int64
}

func (g *gate) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := g.check(r.URL); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // a RoundTripper always closes it
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", UserAgent)
	res, err := g.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	res.Body = &limited{body: res.Body, left: g.maxBody, req: r}
	return res, nil
}

// CloseIdleConnections makes http.Client.CloseIdleConnections work.
func (g *gate) CloseIdleConnections() { g.next.CloseIdleConnections() }

func (g *gate) check(u *url.URL) error {
	switch {
	case u.Hostname() == "":
		return &blockedError{"URL has no host"}
	case u.User != nil:
		return &blockedError{"URL contains credentials"}
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && g.plainLoopback && loopbackHost(u.Hostname()):
		return nil
	}
	return &blockedError{"URL is not https"}
}

// checkRedirect allows a GET to be redirected up to MaxRedirects times, to
// https. The gate and the guard look at the new URL again.
func checkRedirect(next *http.Request, via []*http.Request) error {
	if len(via) > MaxRedirects {
		return &blockedError{fmt.Sprintf("more than %d redirects", MaxRedirects)}
	}
	// net/http puts the previous URL there, with its query.
	next.Header.Del("Referer")
	// Plain http stays among loopback hosts, and never comes after https.
	if next.URL.Scheme != "https" && via[len(via)-1].URL.Scheme == "https" {
		return &blockedError{"redirected from https to another scheme"}
	}
	return nil
}

// Fetch gets the body of a URL without credentials, following redirects. Any
// status but 200 is an error. It satisfies the Fetcher of package jwks.
func (c *Client) Fetch(ctx context.Context, rawURL string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, rawURL, nil)
	if err != nil {
		return nil, &Error{Kind: Blocked, Op: http.MethodGet, URL: stripQuery(rawURL), Err: &blockedError{"URL cannot be parsed"}}
	}
	req.Header.Set("Accept", "application/json, */*;q=0.5")
	res, err := c.follow.Do(req)
	if err != nil {
		return nil, wrap(req, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, &Error{Kind: Status, Op: req.Method, URL: stripQuery(rawURL), Status: res.StatusCode}
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, wrap(req, err)
	}
	return body, nil
}

// Do sends a request that may carry credentials or a body. It follows no
// redirect: a 3xx is returned as it is. The body of the response fails with an
// [Error] of kind TooLarge when it is longer than MaxBody. The caller closes it.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	res, err := c.direct.Do(req)
	if err != nil {
		return nil, wrap(req, err)
	}
	return res, nil
}

// HTTP returns the client behind [Client.Do] for libraries that want one. It
// follows no redirects, guards addresses and bounds bodies; only the errors are
// those of net/http, see [KindOf].
func (c *Client) HTTP() *http.Client { return c.direct }

// CloseIdleConnections closes connections that are kept open for reuse. Call it
// on a client that is replaced.
func (c *Client) CloseIdleConnections() { c.direct.CloseIdleConnections() }

// limited reads up to left bytes and fails if there are more.
type limited struct {
	body io.ReadCloser
	left int64
	req  *http.Request
}

func (l *limited) Close() error { return l.body.Close() }

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, l.tooLarge()
	}
	// One byte more than allowed tells a body that is too long from one that
	// just fits.
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.body.Read(p)
	l.left -= int64(n)
	if l.left < 0 {
		return n - 1, l.tooLarge()
	}
	return n, err
}

func (l *limited) tooLarge() error {
	return &Error{Kind: TooLarge, Op: l.req.Method, URL: stripQuery(l.req.URL.String())}
}

// LoopbackCIDRs are the ranges to allow on a developer's machine.
func LoopbackCIDRs() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}
