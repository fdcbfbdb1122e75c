package egress

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"code.dny.dev/ssrf"
	"go.uber.org/goleak"

	"github.com/lti-operator/lti-operator/internal/lti/jwks"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ jwks.Fetcher = (*Client)(nil)

// local returns a client that may reach loopback and trusts the server.
func local(t *testing.T, srv *httptest.Server, change func(*Options)) *Client {
	t.Helper()
	opts := Options{AllowedCIDRs: LoopbackCIDRs()}
	if srv != nil && srv.Certificate() != nil {
		opts.RootCAs = x509.NewCertPool()
		opts.RootCAs.AddCert(srv.Certificate())
	}
	if change != nil {
		change(&opts)
	}
	c := New(opts)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func serve(t *testing.T, tls bool, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that fail are the point
	if tls {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	return srv
}

func kind(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

func TestAddressesThatAreNotPublicAreRefused(t *testing.T) {
	c := New(Options{Timeout: 2 * time.Second})
	for name, host := range map[string]string{
		"loopback":                   "127.0.0.1",
		"another loopback address":   "127.8.8.8",
		"loopback, IPv6":             "[::1]",
		"loopback, mapped to IPv6":   "[::ffff:127.0.0.1]",
		"localhost":                  "localhost",
		"a name below localhost":     "lms.localhost",
		"a name with a dot":          "LMS.LocalHost.",
		"cloud metadata":             "169.254.169.254",
		"cloud metadata, mapped":     "[::ffff:169.254.169.254]",
		"cloud metadata, NAT64":      "[64:ff9b::a9fe:a9fe]",
		"private 10/8":               "10.0.0.1",
		"private 172.16/12":          "172.16.0.1",
		"private 192.168/16":         "192.168.1.1",
		"carrier-grade NAT":          "100.64.0.1",
		"unique local":               "[fd00::1]",
		"link-local":                 "[fe80::1]",
		"unspecified":                "0.0.0.0",
		"unspecified, IPv6":          "[::]",
		"broadcast":                  "255.255.255.255",
		"multicast":                  "224.0.0.1",
		"loopback, decimal notation": "2130706433",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Fetch(t.Context(), "https://"+host+":6443/")
			if name == "loopback, decimal notation" {
				// Some resolvers read it as an address, others as a name.
				if err == nil {
					t.Error("reached")
				}
				return
			}
			if kind(err) != Blocked || !errors.Is(err, ssrf.ErrProhibitedIP) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestOnlyListedRangesAreExcepted(t *testing.T) {
	srv := serve(t, true, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	for cidr, want := range map[string]Kind{"127.0.0.1/32": "", "127.0.0.9/8": "", "10.0.0.0/8": Blocked, "::1/128": Blocked} {
		c := local(t, srv, func(o *Options) { o.AllowedCIDRs = []netip.Prefix{netip.MustParsePrefix(cidr)} })
		if _, err := c.Fetch(t.Context(), srv.URL); kind(err) != want || (want == "") != (err == nil) {
			t.Errorf("%s: %v", cidr, err)
		}
	}
}

func TestURLs(t *testing.T) {
	ok := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }
	plain, secure := serve(t, false, ok), serve(t, true, ok)
	port := func(s *httptest.Server) string { _, p, _ := net.SplitHostPort(s.Listener.Addr().String()); return p }
	// Only "example.com", 127.0.0.1 and ::1 are in the certificate of the server.
	tests := map[string]struct {
		url   string
		cidrs []netip.Prefix
		want  Kind
	}{
		"https":                                    {secure.URL, LoopbackCIDRs(), ""},
		"plain http to 127.0.0.1":                  {plain.URL, LoopbackCIDRs(), ""},
		"plain http to localhost":                  {"http://localhost:" + port(plain), LoopbackCIDRs(), ""},
		"plain http to a name below localhost":     {"http://lms.localhost:" + port(plain), LoopbackCIDRs(), ""},
		"plain http where loopback is not allowed": {plain.URL, nil, Blocked},
		"plain http to another host":               {"http://192.0.2.1:" + port(plain), LoopbackCIDRs(), Blocked},
		"plain http to a name like localhost":      {"http://localhost.example:" + port(plain), LoopbackCIDRs(), Blocked},
		"plain http to a name ending in localhost": {"http://notlocalhost:" + port(plain), LoopbackCIDRs(), Blocked},
		"a file":               {"file:///etc/passwd", LoopbackCIDRs(), Blocked},
		"gopher":               {"gopher://127.0.0.1/", LoopbackCIDRs(), Blocked},
		"no scheme":            {"127.0.0.1/x", LoopbackCIDRs(), Blocked},
		"credentials":          {strings.Replace(secure.URL, "https://", "https://user:secret@", 1), LoopbackCIDRs(), Blocked},
		"no host":              {"https:///x", LoopbackCIDRs(), Blocked},
		"nothing":              {"", LoopbackCIDRs(), Blocked},
		"not a URL":            {"https://a b/?token=hunter2", LoopbackCIDRs(), Blocked},
		"nobody listens there": {"https://127.0.0.1:1/", LoopbackCIDRs(), Unreachable},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := local(t, secure, func(o *Options) { o.AllowedCIDRs = tt.cidrs })
			body, err := c.Fetch(t.Context(), tt.url)
			if kind(err) != tt.want || (err == nil) != (tt.want == "") {
				t.Fatalf("error %v, want kind %q", err, tt.want)
			}
			if err == nil && string(body) != "ok" {
				t.Errorf("body %q", body)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "secret")) {
				t.Errorf("credentials in %q", err)
			}
		})
	}
}

func TestLocalhostIsTriedOnIPv6Too(t *testing.T) {
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 loopback here")
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "six") }))
	_ = srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	body, err := local(t, nil, nil).Fetch(t.Context(), "http://lms.localhost:"+port)
	if err != nil || string(body) != "six" {
		t.Errorf("%q, %v", body, err)
	}
}

func TestACertificateThatIsNotTrustedIsRefused(t *testing.T) {
	srv := serve(t, true, func(http.ResponseWriter, *http.Request) {})
	c := New(Options{AllowedCIDRs: LoopbackCIDRs(), RootCAs: x509.NewCertPool()})
	t.Cleanup(c.CloseIdleConnections)
	_, err := c.Fetch(t.Context(), srv.URL)
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		t.Errorf("error %v", err)
	}
}

func TestRedirects(t *testing.T) {
	plain := serve(t, false, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "plain") })
	var referers []string
	var srv *httptest.Server
	srv = serve(t, true, func(w http.ResponseWriter, r *http.Request) {
		referers = append(referers, r.Referer())
		to := map[string]string{
			"/1": "/ok", "/2": "/1?token=hunter2", "/3": "/2", "/4": "/3", "/loop": "/loop",
			"/plain":    plain.URL,
			"/metadata": "https://169.254.169.254/latest?token=hunter2",
			"/file":     "file:///etc/passwd",
			"/broken":   "https://%zz/?token=hunter2",
			"/user":     strings.Replace(srv.URL, "://", "://user:hunter2@", 1) + "/ok",
		}[r.URL.Path]
		if to == "" {
			fmt.Fprint(w, "ok")
			return
		}
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	})
	c := local(t, srv, nil)
	for path, want := range map[string]Kind{
		"/ok": "", "/1": "", "/2": "", "/3": "", "/4": Blocked, "/loop": Blocked,
		"/plain": Blocked, "/metadata": Blocked, "/file": Blocked, "/broken": Unreachable, "/user": Blocked,
	} {
		t.Run(path, func(t *testing.T) {
			body, err := c.Fetch(t.Context(), srv.URL+path+"?token=hunter2")
			if kind(err) != want || (err == nil) != (want == "") {
				t.Fatalf("error %v, want kind %q", err, want)
			}
			if err == nil && string(body) != "ok" {
				t.Errorf("body %q", body)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("query in %q", err)
			}
		})
	}
	for _, r := range referers {
		if r != "" {
			t.Fatalf("Referer %q was sent", r)
		}
	}
}

func TestARequestWithABodyIsNotRedirected(t *testing.T) {
	reached := false
	srv := serve(t, true, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			reached = true
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, strings.NewReader("secret"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := local(t, srv, nil).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusTemporaryRedirect || reached {
		t.Errorf("status %d, redirected %v", res.StatusCode, reached)
	}
}

func TestBodiesAreBounded(t *testing.T) {
	srv := serve(t, true, func(w http.ResponseWriter, r *http.Request) {
		body := bytes.Repeat([]byte("x"), 1000)
		switch r.URL.Path {
		case "/longer":
			body = append(body, 'x')
		case "/endless":
			for {
				if _, err := w.Write(body); err != nil {
					return
				}
			}
		case "/bomb":
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(bytes.Repeat([]byte{0}, 10<<20))
			_ = z.Close()
			return
		}
		_, _ = w.Write(body)
	})
	c := local(t, srv, func(o *Options) { o.MaxBody = 1000 })
	for path, want := range map[string]Kind{"/fits": "", "/longer": TooLarge, "/endless": TooLarge, "/bomb": TooLarge} {
		body, err := c.Fetch(t.Context(), srv.URL+path)
		if kind(err) != want || err == nil && len(body) != 1000 {
			t.Errorf("%s: %d bytes, %v", path, len(body), err)
		}
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+path, nil)
		for name, do := range map[string]func(*http.Request) (*http.Response, error){"Do": c.Do, "HTTP": c.HTTP().Do} {
			res, err := do(req)
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
			if kind(err) != want || n != 1000 {
				t.Errorf("%s by %s: %d bytes, %v", path, name, n, err)
			}
		}
	}
}

func TestStatusesButOKAreErrors(t *testing.T) {
	for _, status := range []int{201, 204, 304, 404, 500} {
		srv := serve(t, true, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		_, err := local(t, srv, nil).Fetch(t.Context(), srv.URL+"/jwks?token=hunter2")
		var e *Error
		if !errors.As(err, &e) || e.Kind != Status || e.Status != status || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "/jwks") {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestSlowServersAreGivenUpOn(t *testing.T) {
	release := make(chan struct{})
	srv := serve(t, true, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
		}
		<-release
	})
	defer close(release)
	c := local(t, srv, func(o *Options) { o.Timeout = 100 * time.Millisecond })
	for _, path := range []string{"/header", "/body"} {
		if _, err := c.Fetch(t.Context(), srv.URL+path+"?token=hunter2"); kind(err) != Timeout || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestCancellingTheContextEndsTheRequest(t *testing.T) {
	release := make(chan struct{})
	started := make(chan struct{})
	srv := serve(t, true, func(http.ResponseWriter, *http.Request) { close(started); <-release })
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	if _, err := local(t, srv, nil).Fetch(ctx, srv.URL); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestHeaders(t *testing.T) {
	var got http.Header
	srv := serve(t, true, func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Clone() })
	c := local(t, srv, nil)
	if _, err := c.Fetch(t.Context(), srv.URL); err != nil {
		t.Fatal(err)
	}
	if got.Get("User-Agent") != "lti-operator" || !strings.Contains(got.Get("Accept"), "application/json") {
		t.Errorf("headers %v", got)
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, nil)
	req.Header.Set("Authorization", "Bearer x")
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if got.Get("User-Agent") != "lti-operator" || got.Get("Authorization") != "Bearer x" {
		t.Errorf("headers %v", got)
	}
	if req.Header.Get("User-Agent") != "" {
		t.Error("the request of the caller was changed")
	}
}

func TestProxiesOfTheEnvironmentAreNotUsed(t *testing.T) {
	// net/http never proxies loopback addresses, so that a request would prove
	// nothing here.
	for _, c := range []*Client{New(Options{}), mustPinned(t, pemOf(serve(t, true, func(http.ResponseWriter, *http.Request) {})), "example.com")} {
		if c.direct.Transport.(*gate).next.Proxy != nil || c.follow.Transport.(*gate).next.Proxy != nil {
			t.Error("a proxy is configured")
		}
	}
}

func pemOf(srv *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
}

func mustPinned(t *testing.T, ca []byte, name string) *Client {
	t.Helper()
	c, err := NewPinned(ca, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestPinned(t *testing.T) {
	ok := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }
	srv, plain := serve(t, true, ok), serve(t, false, ok)
	if body, err := mustPinned(t, pemOf(srv), "example.com").Fetch(t.Context(), srv.URL); err != nil || string(body) != "ok" {
		t.Errorf("the server's name: %q, %v", body, err)
	}
	var wrongName x509.HostnameError
	if _, err := mustPinned(t, pemOf(srv), "handler.other.svc").Fetch(t.Context(), srv.URL); !errors.As(err, &wrongName) {
		t.Errorf("another name: %v", err)
	}
	if _, err := mustPinned(t, pemOf(srv), "example.com").Fetch(t.Context(), plain.URL); kind(err) != Blocked {
		t.Errorf("plain http: %v", err)
	}
	if _, err := NewPinned([]byte("no certificate"), "example.com"); err == nil {
		t.Error("an authority without certificates is accepted")
	}
	if _, err := NewPinned(pemOf(srv), ""); err == nil {
		t.Error("an empty name is accepted")
	}
}

func TestWhatWentWrongIsKnownWithoutAnErrorOfOurs(t *testing.T) {
	release := make(chan struct{})
	srv := serve(t, true, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/slow":
			<-release
		case "/large":
			fmt.Fprint(w, strings.Repeat("x", 101))
		case "/broken":
			panic(http.ErrAbortHandler)
		}
	})
	defer close(release)
	reach := func(o *Options) { o.MaxBody = 100 }
	for name, c := range map[string]struct {
		url    string
		change func(*Options)
		want   Kind
	}{
		"an answer":          {srv.URL, reach, ""},
		"a private address":  {srv.URL, func(o *Options) { o.AllowedCIDRs = nil }, Blocked},
		"plain http":         {"http://192.0.2.1/", reach, Blocked},
		"a slow server":      {srv.URL + "/slow", func(o *Options) { o.Timeout = 100 * time.Millisecond }, Timeout},
		"a long body":        {srv.URL + "/large", reach, TooLarge},
		"a connection lost":  {srv.URL + "/broken", reach, Unreachable},
		"nobody's authority": {srv.URL, func(o *Options) { o.RootCAs = x509.NewCertPool() }, Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := local(t, srv, c.change).HTTP().Get(c.url)
			if err == nil {
				_, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
			}
			if got := KindOf(err); got != c.want || errors.As(err, new(*Error)) != (c.want == TooLarge) {
				t.Errorf("%q, want %q: %v", got, c.want, err)
			}
		})
	}
}

func TestErrorsNeverQuoteAQuery(t *testing.T) {
	req := &http.Request{Method: "GET", URL: &url.URL{Scheme: "https", Host: "a.example", Path: "/p", RawQuery: "token=hunter2"}}
	for _, cause := range []error{
		&url.Error{Op: "Get", URL: "https://user:hunter2@a.example/p?token=hunter2", Err: errors.New(`parse "https://b.example/?token=hunter2": bad`)},
		errors.New(`failed: "https://a.example/?token=hunter2&x=hunter2"`),
	} {
		if text := wrap(req, cause).Error(); strings.Contains(text, "hunter2") || !strings.Contains(text, "a.example") {
			t.Errorf("%s", text)
		}
	}
	if got := stripQuery("https://u:p@a.example/x%zz?token=hunter2#f"); got != "a.example/x%zz" {
		t.Errorf("%s", got)
	}
}
