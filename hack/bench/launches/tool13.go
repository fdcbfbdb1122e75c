// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/lti-operator/lti-operator/hack/bench/measure"
	"github.com/lti-operator/lti-operator/hack/table"
)

// tool13 measures LTI 1.3 launches of the academy as tool: the launch handler on PostgreSQL and on SQLite, the floor of
// hack/bench/floor, and ltijs.
func tool13(ctx context.Context, b *bench) (outcome, error) {
	t, err := b.table()
	if err != nil {
		return nil, err
	}
	if err := table.Write(b.file("config"), t); err != nil {
		return nil, err
	}
	var subjects []*subject
	for _, name := range b.flags.Subjects {
		s, err := b.startTool13(ctx, name)
		if err != nil {
			return nil, err
		}
		subjects = append(subjects, s)
	}
	for _, part := range []func(context.Context, []*subject) error{b.watchMemory, b.warmUp, b.runRounds} {
		if err := part(ctx, subjects); err != nil {
			return nil, err
		}
	}
	return b.compare(subjects)
}

func (b *bench) startTool13(ctx context.Context, name string) (s *subject, err error) {
	free, err := measure.FreeAddresses(1)
	if err != nil {
		return nil, err
	}
	var c measure.Command
	switch name {
	case ours, oursSQLite:
		s = newOurs(name, b.secret)
		s.address = free[0]
		c, err = b.handlerCommand(s, b.file("config"), name == oursSQLite)
	case theFloor:
		s = newFloor()
		s.address = free[0]
		c, err = b.floorCommand(ctx, s)
	default:
		s = newLtijs(name)
		s.address = free[0]
		c, err = b.ltijsCommand(s)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s.launches = b.flags.Launches
	if name == ltijs || name == ltijsJWKS {
		if s.launches = b.flags.LtijsLaunches; s.launches == 0 {
			s.launches = max(100, b.flags.Launches/5)
		}
	}
	return s, b.startSubject(ctx, s, &c, func(conn *connection) (err error) {
		l := &launch{who: newPerson(0)}
		if l.answer, err = conn.exchange(s.prepare(stepLogin, l)); err != nil {
			return err
		}
		return s.check(stepLogin, l)
	})
}

func (b *bench) floorCommand(ctx context.Context, s *subject) (c measure.Command, err error) {
	_, file, err := b.newDatabase(s)
	if err != nil {
		return c, err
	}
	public, err := b.publicPEM()
	if err != nil {
		return c, err
	}
	if err := os.WriteFile(b.file("platform.pem"), public, 0o600); err != nil {
		return c, err
	}
	c.Path = b.file("floor-program")
	c.Args = []string{
		"-address=" + s.address, "-database=" + file, "-key=" + b.file("platform.pem"), "-connections=" + strconv.Itoa(poolConnections),
		"-issuer=" + issuer, "-client-id=" + clientID, "-authentication-url=" + authenticationURL, "-redirect-uri=" + s.redirectURI, "-target-url=" + targetURL,
	}
	return c, b.build(ctx, c.Path, "./hack/bench/floor")
}

func (b *bench) publicPEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&b.platform.Key.PublicKey)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

func (b *bench) ltijsCommand(s *subject) (c measure.Command, err error) {
	database, _, err := b.newDatabase(s)
	if err != nil {
		return c, err
	}
	// The form of the key that needs the least work in each launch.
	auth := map[string]string{"method": "RSA_KEY"}
	if s.name == ltijsJWKS {
		if b.keySet, err = serveKeySet(b.platform.JWKS()); err != nil {
			return c, err
		}
		auth = map[string]string{"method": "JWK_SET", "key": b.keySet.url}
	} else {
		public, err := b.publicPEM()
		if err != nil {
			return c, err
		}
		auth["key"] = string(public)
	}
	config, err := json.Marshal(map[string]any{
		"url": issuer, "name": "University", "clientId": clientID, "authConfig": auth,
		"authenticationEndpoint": authenticationURL, "accesstokenEndpoint": accessTokenURL,
	})
	if err != nil {
		return c, err
	}
	file := b.file(s.name + ".json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return c, err
	}
	if c.Path, err = exec.LookPath("node"); err != nil {
		return c, fmt.Errorf("%w: see hack/tools/ensure.sh", err)
	}
	_, port, err := net.SplitHostPort(s.address)
	c.Args = []string{filepath.Join(b.root, "hack", "peers", "bench-ltijs.mjs"), file}
	c.Env = []string{"NODE_ENV=production", "DATABASE_URL=" + database, "TOOL_PORT=" + port, "POOL_CONNECTIONS=" + strconv.Itoa(poolConnections)}
	return c, err
}
