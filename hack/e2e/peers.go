// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/lti-operator/lti-operator/hack/launches"
)

// peers are the systems of others that the launch handlers reach: the identity provider and a gradebook, on this machine.
type peers struct {
	address, url string
	// authority is the certificate, in PEM, that launch handlers have to trust: peers are reached over https only.
	authority   string
	certificate tls.Certificate
	provider    *launches.Provider
	book        *gradebook
	server      *http.Server
	done        chan error
}

// newPeers are not reached yet; their port is chosen when they listen for the first time, and stays.
func newPeers(ctx context.Context, address string) (*peers, error) {
	p := &peers{address: net.JoinHostPort(address, "0"), book: &gradebook{signedBy: map[string]int{}}}
	if err := p.listen(ctx, func(port string) error {
		p.url = "https://" + net.JoinHostPort(address, port)
		var err error
		if p.provider, err = launches.NewProvider(p.url+"/learners", "launch-handler", rand.Text()); err != nil {
			return err
		}
		return p.certify(address)
	}); err != nil {
		return nil, err
	}
	return p, nil
}

// listen begins to answer, also again in the network of a new cluster.
func (p *peers) listen(ctx context.Context, first func(port string) error) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", p.address)
	if err != nil {
		return fmt.Errorf("listen for identity provider and gradebook: %w", err)
	}
	p.address = listener.Addr().String()
	if first != nil {
		_, port, err := net.SplitHostPort(p.address)
		if err == nil {
			err = first(port)
		}
		if err != nil {
			return errors.Join(err, listener.Close())
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/learners/", http.StripPrefix("/learners", p.provider.Handler()))
	mux.Handle("/gradebook/", http.StripPrefix("/gradebook", p.book.handler()))
	p.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, TLSConfig: &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{p.certificate},
	}}
	p.done = make(chan error, 1)
	server, done := p.server, p.done
	go func() { done <- server.ServeTLS(listener, "", "") }()
	return nil
}

func (p *peers) close() error {
	err := p.server.Close()
	if served := <-p.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// certify makes a certificate that is its own authority.
func (p *peers) certify(address string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "lti-operator e2e"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.ParseIP(address)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	p.authority = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	p.certificate = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return nil
}

// gradebook is that of the other learning system. It gives tokens to whom the academy's published keys prove.
type gradebook struct {
	academy *launches.Academy
	launches.Gradebook
	mu    sync.Mutex
	known map[string]any
	// signedBy counts assertions by the ID of the key that signed them; refused are those that no published key verifies.
	signedBy map[string]int
	refused  []string
}

func (g *gradebook) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(rw http.ResponseWriter, r *http.Request) {
		kid, err := g.verify(r.Context(), r.PostFormValue("client_assertion"))
		g.mu.Lock()
		defer g.mu.Unlock()
		if err != nil {
			g.refused = append(g.refused, err.Error())
			http.Error(rw, `{"error":"invalid_client"}`, http.StatusUnauthorized)
			return
		}
		g.signedBy[kid]++
		rw.Header().Set("Content-Type", "application/json")
		// Short, so that new assertions are signed all the time.
		_, _ = fmt.Fprintf(rw, `{"access_token":%q,"token_type":"Bearer","expires_in":1}`, rand.Text())
	})
	mux.HandleFunc("POST /items/{item}/scores", func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, 1<<20))
		if err != nil {
			http.Error(rw, "", http.StatusBadRequest)
			return
		}
		status, answer := g.Score(r.PathValue("item"), body)
		rw.WriteHeader(status)
		_, _ = io.WriteString(rw, answer)
	})
	return mux
}

// verify returns the ID of the key that signed an assertion. The key set is fetched for a key that is not known.
func (g *gradebook) verify(ctx context.Context, assertion string) (kid string, err error) {
	_, err = jwt.Parse(assertion, func(token *jwt.Token) (any, error) {
		kid, _ = token.Header["kid"].(string)
		g.mu.Lock()
		key, ok := g.known[kid]
		g.mu.Unlock()
		if ok {
			return key, nil
		}
		known, err := g.academy.Keys(ctx, "/platforms/university/jwks.json")
		if err != nil {
			return nil, err
		}
		g.mu.Lock()
		g.known = known
		g.mu.Unlock()
		if key, ok = known[kid]; !ok {
			return nil, errors.New("a key that is not published")
		}
		return key, nil
	}, jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer("academy"), jwt.WithExpirationRequired())
	return kid, err
}
