// SPDX-License-Identifier: Apache-2.0

// Command floor is the least that can be called an LTI 1.3 launch of a tool, and what the launch handler is compared with.
// It is no product and never becomes one. It is frozen like a test: to make it slower would flatter the launch handler, so a
// change to it is reviewed as one of a test is, and every figure against it is measured again.
//
// A launch is two requests, because the platform's answer must be to a question that this tool asked this browser:
//
//	GET /login    answers 303 to the platform's authentication URL, with a new random nonce in the address and in a cookie
//	POST /launch  reads the form, verifies the RS256 signature of the ID token, its issuer, audience, expiry, and that its
//	              nonce is that of the cookie; spends the nonce in one durable transaction; answers 303 to the activity
//
// Nothing less would be a launch: without the signature anybody is anybody, without the cookie a launch can be pushed onto
// somebody else's browser, and without the transaction an ID token that was seen once opens the activity again, on this
// server or after its restart. It does nothing more: one platform, one key, one activity; no state but the nonce, no
// deployments, roles or accounts, no pages, no metrics, no limits.
//
// Its transactions are as many as the launch handler's: none at the login, one at the launch, durable when the answer
// leaves. Here it is one INSERT that commits by itself, on a pool as large as the launch handler's.
package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const cookieName = "__Host-nonce"

func main() {
	var f floor
	address := flag.String("address", "", "address to listen on, as host:port")
	database := flag.String("database", "", "file with the address of an empty database")
	key := flag.String("key", "", "file with the platform's public key, as SubjectPublicKeyInfo in PEM")
	connections := flag.Int("connections", 10, "most connections to the database")
	flag.StringVar(&f.issuer, "issuer", "", "issuer of the ID tokens")
	flag.StringVar(&f.clientID, "client-id", "", "their audience")
	flag.StringVar(&f.authentication, "authentication-url", "", "where a login sends the browser to")
	flag.StringVar(&f.redirect, "redirect-uri", "", "where the platform posts the ID token to")
	flag.StringVar(&f.target, "target-url", "", "where a launched browser is sent to")
	flag.Parse()
	if err := f.run(*address, *database, *key, *connections); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

type floor struct {
	issuer, clientID, authentication, redirect, target string

	key  *rsa.PublicKey
	pool *pgxpool.Pool
}

func (f *floor) run(address, database, key string, connections int) error {
	text, err := os.ReadFile(key)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("the key is not in PEM")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return err
	}
	var ok bool
	if f.key, ok = public.(*rsa.PublicKey); !ok {
		return errors.New("the key is not an RSA key")
	}
	if text, err = os.ReadFile(database); err != nil {
		return err
	}
	config, err := pgxpool.ParseConfig(string(text))
	if err != nil {
		return err
	}
	config.MaxConns = int32(connections)
	ctx := context.Background()
	if f.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return err
	}
	defer f.pool.Close()
	const table = `CREATE TABLE IF NOT EXISTS nonces (nonce text PRIMARY KEY, subject text NOT NULL, launch text NOT NULL)`
	if _, err := f.pool.Exec(ctx, table); err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /login", f.login)
	mux.HandleFunc("POST /launch", f.launch)
	return (&http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: 10 * time.Second}).ListenAndServe()
}

func (f *floor) login(rw http.ResponseWriter, r *http.Request) {
	nonce := rand.Text()
	http.SetCookie(rw, &http.Cookie{Name: cookieName, Value: nonce, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode})
	redirect(rw, f.authentication+"?"+url.Values{
		"scope": {"openid"}, "response_type": {"id_token"}, "response_mode": {"form_post"}, "prompt": {"none"},
		"client_id": {f.clientID}, "redirect_uri": {f.redirect}, "login_hint": {r.URL.Query().Get("login_hint")}, "nonce": {nonce},
	}.Encode())
}

// claims are those of the ID token that are looked at.
type claims struct {
	jwt.RegisteredClaims
	Nonce string `json:"nonce"`
}

func (f *floor) launch(rw http.ResponseWriter, r *http.Request) {
	var c claims
	_, err := jwt.ParseWithClaims(r.PostFormValue("id_token"), &c, func(*jwt.Token) (any, error) { return f.key, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(f.issuer), jwt.WithAudience(f.clientID), jwt.WithExpirationRequired())
	if err != nil {
		http.Error(rw, err.Error(), http.StatusForbidden)
		return
	}
	if cookie, err := r.Cookie(cookieName); err != nil || cookie.Value != c.Nonce {
		http.Error(rw, "the nonce is not that of this browser", http.StatusForbidden)
		return
	}
	id := rand.Text()
	spent, err := f.pool.Exec(r.Context(), `INSERT INTO nonces VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, c.Nonce, c.Subject, id)
	switch {
	case err != nil:
		http.Error(rw, err.Error(), http.StatusServiceUnavailable)
	case spent.RowsAffected() != 1:
		http.Error(rw, "the nonce is spent", http.StatusForbidden)
	default:
		redirect(rw, f.target+"?lti_launch_code="+id)
	}
}

// redirect sends the browser on without a body, which no browser shows.
func redirect(rw http.ResponseWriter, location string) {
	rw.Header().Set("Location", location)
	rw.WriteHeader(http.StatusSeeOther)
}
