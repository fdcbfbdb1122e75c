// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/lti-operator/lti-operator/internal/store/postgres/pgtest"
)

func TestOpenStore(t *testing.T) {
	server, err := pgtest.Run()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}()
	address, err := server.CreateDatabase()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "uri")
	if err := os.WriteFile(file, []byte(address+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{"sqlite:" + filepath.Join(t.TempDir(), "launches.db"), address, "postgres-file:" + file} {
		s, err := openStore(t.Context(), where)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, where := range []string{
		"", "sqlite:", "mysql://user:canary-password@db/x", "canary-password", "postgres-file:/nothing",
		"postgres://user:canary-password@127.0.0.1:1/x?sslmode=disable", "postgres://user:canary-password@%zz/x",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		s, err := openStore(ctx, where)
		cancel()
		if err == nil {
			_ = s.Close()
			t.Errorf("%q was opened", where)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("the error repeats the password: %v", err)
		}
	}
}

// It must not ask for what the program needs to run: whoever asks for the version has nothing of it at hand.
func TestVersionNeedsNoOtherFlag(t *testing.T) {
	var out bytes.Buffer
	type exit int
	defer func() {
		if status := recover(); status != exit(0) || out.String() != "v1.2.3\n" {
			t.Errorf("--version prints %q and ends with %v", &out, status)
		}
	}()
	parser := kong.Must(&flags{}, kong.Vars{"version": "v1.2.3"}, kong.Writers(&out, &out), kong.Exit(func(status int) { panic(exit(status)) }))
	_, err := parser.Parse([]string{"--version"})
	t.Errorf("--version does not end the program: %v", err)
}
