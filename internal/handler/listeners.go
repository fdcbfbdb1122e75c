// SPDX-License-Identifier: Apache-2.0

package handler

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/lti-operator/lti-operator/internal/handler/web"
	"github.com/lti-operator/lti-operator/internal/routing"
)

// Addresses are what the three listeners bind to, as host:port.
type Addresses struct {
	// Public serves launches, over plain http: TLS ends at the ingress.
	Public string
	// Ops serves /livez, /readyz and /metrics without authentication; nothing there is personal.
	Ops string
	// Control serves the operator, over TLS and with a token.
	Control string
}

// Limits of every listener. writeTimeout is longer than the longest fetch of a key set.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	// leaveTimeout is how long clients are told to leave before their idle connections are closed, see connections.
	leaveTimeout = 5 * time.Second
	// drainTimeout is how long requests under way may take when the handler stops.
	drainTimeout = 30 * time.Second
)

// Serve listens and runs until the context ends; then it lets requests under way finish.
func (h *Handler) Serve(ctx context.Context, addresses Addresses) error {
	control := newServer(h.Control())
	control.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: h.controlCertificate}
	public, open := newServer(h.Public()), newConnections(h.connections)
	open.from(public)
	servers := []struct {
		name, address string
		server        *http.Server
		serve         func(*http.Server, net.Listener) error
	}{
		{"public", addresses.Public, public, func(s *http.Server, l net.Listener) error { return s.Serve(open.listen(l)) }},
		{"ops", addresses.Ops, newServer(h.Ops()), (*http.Server).Serve},
		{"control", addresses.Control, control, func(s *http.Server, l net.Listener) error { return s.ServeTLS(l, "", "") }},
	}
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return h.Run(running) })
	for _, s := range servers {
		listener, err := (&net.ListenConfig{}).Listen(running, "tcp", s.address)
		if err != nil {
			return fmt.Errorf("%s listener: %w", s.name, err)
		}
		h.log.Info("listening", "listener", s.name, "address", listener.Addr().String())
		group.Go(func() error {
			if err := s.serve(s.server, listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("%s listener: %w", s.name, err)
			}
			return nil
		})
		group.Go(func() error {
			<-running.Done()
			if s.server == public {
				open.wait()
			}
			drain, cancel := context.WithTimeout(context.WithoutCancel(running), drainTimeout)
			defer cancel()
			return s.server.Shutdown(drain)
		})
	}
	return group.Wait()
}

func newServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
	}
}

// Ops is the handler of the ops listener. Neither probe depends on the store or on other systems: when the store is
// down people get our page, not the ingress's.
func (h *Handler) Ops() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) {
		// Ready from the first table on, and never unready again because of a bad one.
		if h.tool.Snapshot() == nil {
			http.Error(rw, "no routing table yet", http.StatusServiceUnavailable)
			return
		}
		_, _ = rw.Write([]byte("ok\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.registry, promhttp.HandlerOpts{}))
	return mux
}

// controlKeys protect the control port; they come with the routing table.
type controlKeys struct {
	certificate tls.Certificate
	// tokensSHA256 are the hashes of the tokens that are accepted: more than one while the token changes.
	tokensSHA256 [][]byte
}

func newControlKeys(c routing.Control) (*controlKeys, error) {
	certificate, err := tls.X509KeyPair([]byte(c.CertificatePEM), []byte(c.PrivateKeyPEM))
	if err != nil {
		return nil, errors.New("certificate and key of the control port do not fit")
	}
	if len(c.TokenSHA256) != sha256.Size {
		return nil, errors.New("the control port has no token")
	}
	return &controlKeys{certificate: certificate, tokensSHA256: append([][]byte{c.TokenSHA256}, c.FurtherTokensSHA256...)}, nil
}

// accepts tells whether this is the hash of an accepted token.
func (k *controlKeys) accepts(tokenSHA256 []byte) bool {
	accepted := 0
	for _, t := range k.tokensSHA256 {
		accepted |= subtle.ConstantTimeCompare(tokenSHA256, t)
	}
	return accepted == 1
}

func (h *Handler) controlCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if k := h.control.Load(); k != nil {
		return &k.certificate, nil
	}
	return nil, errors.New("no routing table yet")
}

// Control is the handler of the control listener.
func (h *Handler) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+routing.PathControlTable, func(rw http.ResponseWriter, _ *http.Request) {
		found := h.config.Report()
		report := routing.Report{Hash: found.Hash, LoadedAt: found.LoadedAt, RejectedHash: found.RejectedHash}
		if s := h.tool.Snapshot(); s == nil || s.Hash != found.Hash {
			// Loaded is not served: what could not be prepared must not count.
			report.Hash, report.RejectedHash = "", found.Hash
			if s != nil {
				report.Hash = s.Hash
			}
		}
		if found.LastError != nil {
			report.RejectedReason = string(found.LastError.Code)
		}
		for _, f := range found.ReadableFormats {
			report.FormatMajors = append(report.FormatMajors, f.Major)
		}
		web.WriteJSON(rw, http.StatusOK, report)
	})
	mux.HandleFunc("GET "+routing.PathControlDeployments, func(rw http.ResponseWriter, r *http.Request) {
		unknown, err := h.store.UnknownDeployments(r.Context())
		if err != nil {
			web.WriteJSON(rw, http.StatusServiceUnavailable, map[string]string{"error": "temporarily_unavailable"})
			return
		}
		list := make([]routing.UnknownDeployment, 0, len(unknown))
		for _, d := range unknown {
			list = append(list, routing.UnknownDeployment{Platform: d.Platform, ID: d.DeploymentID, FirstSeenAt: d.FirstSeenAt})
		}
		web.WriteJSON(rw, http.StatusOK, list)
	})
	mux.HandleFunc("GET "+routing.PathControlRegistrations, h.listRegistrations)
	mux.HandleFunc("GET "+routing.PathControlGrades, h.listGrades)
	mux.HandleFunc("POST "+routing.PathControlGrades+"/{id}"+routing.PathControlSend, h.sendGrade)
	mux.HandleFunc("GET "+routing.PathControlResults, h.listResults)
	mux.HandleFunc("GET "+routing.PathControlResults+"/{id}", h.showResult)
	mux.HandleFunc("POST "+routing.PathControlResults+"/{id}"+routing.PathControlSend, h.sendResult)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		keys := h.control.Load()
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		sum := sha256.Sum256([]byte(token))
		if !ok || keys == nil || !keys.accepts(sum[:]) {
			rw.Header().Set("WWW-Authenticate", "Bearer")
			web.WriteJSON(rw, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
			return
		}
		mux.ServeHTTP(rw, r)
	})
}
