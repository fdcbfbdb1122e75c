// SPDX-License-Identifier: Apache-2.0

// Command launch-handler serves all run-time LTI traffic of one academy. It needs no access to Kubernetes: its routing
// table comes from a mounted directory.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/lti-operator/lti-operator/internal/handler"
	"github.com/lti-operator/lti-operator/internal/store"
	"github.com/lti-operator/lti-operator/internal/store/postgres"
	"github.com/lti-operator/lti-operator/internal/store/sqlite"
)

// flags are the command line; each can be given as environment variable too.
type flags struct {
	ConfigDir      string     `help:"Directory with the routing table: manifest and shards." default:"/etc/lti-operator" type:"path" env:"CONFIG_DIR"`
	PublicAddress  string     `help:"Address for launches; TLS ends at the ingress." default:":8080" env:"PUBLIC_ADDRESS"`
	OpsAddress     string     `help:"Address for /livez, /readyz and /metrics." default:":8081" env:"OPS_ADDRESS"`
	ControlAddress string     `help:"Address for the operator." default:":8443" env:"CONTROL_ADDRESS"`
	Store          string     `help:"Where launches and grades are kept: sqlite:FILE, postgres://… or postgres-file:FILE with such an address in it." required:"" placeholder:"KIND:WHERE" env:"STORE"`
	Working        int        `help:"How many requests to the public address are worked on at once; 0 for 8 per CPU and 24 more." default:"0" env:"WORKING"`
	Waiting        int        `help:"How many requests wait meanwhile; the others are refused." default:"1024" env:"WAITING"`
	Connections    int        `help:"How many connections the public address has at once." default:"1024" env:"CONNECTIONS"`
	LogLevel       slog.Level `help:"Log level: debug, info, warn or error." default:"info" env:"LOG_LEVEL"`

	Version kong.VersionFlag `help:"Print the version and exit."`
}

// version is set by the linker when an image is built.
var version = "dev"

func main() {
	var f flags
	kong.Parse(&f, kong.Name("launch-handler"), kong.Description("Serves all run-time LTI traffic of one academy."),
		kong.Vars{"version": version})
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: f.LogLevel}))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	keepHeadroom()
	if err := run(ctx, &f, log); err != nil {
		log.Error("the launch handler stops", "error", err.Error())
		os.Exit(1)
	}
}

// errStore does not repeat the value: an address may hold a password.
var errStore = errors.New("--store must be sqlite:FILE, postgres://… or postgres-file:FILE")

// openStore opens what --store names.
func openStore(ctx context.Context, where string) (store.Store, error) {
	var (
		s   store.Store
		err error
	)
	kind, rest, _ := strings.Cut(where, ":")
	switch {
	case rest == "":
		return nil, errStore
	case kind == "sqlite":
		s, err = sqlite.Open(ctx, rest, now)
	case kind == "postgres", kind == "postgresql":
		s, err = postgres.Open(ctx, where, now)
	case kind == "postgres-file":
		s, err = postgres.OpenFile(ctx, rest, now)
	default:
		return nil, errStore
	}
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func run(ctx context.Context, f *flags, log *slog.Logger) error {
	launches, err := openStore(ctx, f.Store)
	if err != nil {
		return err
	}
	defer func() {
		if err := launches.Close(); err != nil {
			log.Warn("could not close the store", "error", err.Error())
		}
	}()
	h, err := handler.New(handler.Options{
		ConfigDir: f.ConfigDir, Store: launches, Log: log, Now: now,
		Working: f.Working, Waiting: f.Waiting, Connections: f.Connections,
	})
	if err != nil {
		return fmt.Errorf("make handler: %w", err)
	}
	return h.Serve(ctx, handler.Addresses{Public: f.PublicAddress, Ops: f.OpsAddress, Control: f.ControlAddress})
}
