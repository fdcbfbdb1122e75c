package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// defaultLimit bounds the connections of one handler: six replicas and somebody
// with psql fit into the 100 that PostgreSQL allows unless it is told otherwise.
const defaultLimit = 10

// poolMaxConns is the parameter of the URL, named as in pgx, that bounds the
// connections.
const poolMaxConns = "pool_max_conns"

// addressError says what is wrong with the address of the database, or with the
// database that was found there. It holds no part of the address.
type addressError struct{ problem string }

func (e *addressError) Error() string { return e.problem }

// addresses is the address of the database for each new connection.
type addresses struct {
	read func() (string, error)
	// limit is the number of connections that the first address allows.
	limit int

	mu   sync.Mutex
	last *pgx.ConnConfig
}

func newAddresses(read func() (string, error)) (*addresses, error) {
	text, err := read()
	if err != nil {
		return nil, err
	}
	config, limit, err := parse(text)
	if err != nil {
		return nil, err
	}
	return &addresses{read: read, limit: limit, last: config}, nil
}

// next returns the address for a connection: the current one, or where that is no
// good, the last good one.
func (a *addresses) next() *pgx.ConnConfig {
	a.mu.Lock()
	defer a.mu.Unlock()
	if text, err := a.read(); err == nil {
		if config, _, err := parse(text); err == nil {
			a.last = config
		}
	}
	return a.last
}

func (a *addresses) openDB(settings string, options ...stdlib.OptionOpenDB) *sql.DB {
	return stdlib.OpenDB(*a.next(), append([]stdlib.OptionOpenDB{
		stdlib.OptionBeforeConnect(func(_ context.Context, config *pgx.ConnConfig) error {
			*config = *a.next().Copy()
			return nil
		}),
		stdlib.OptionAfterConnect(afterConnect(settings)),
	}, options...)...)
}

// parse reads a URL of PostgreSQL and completes it.
func parse(text string) (config *pgx.ConnConfig, limit int, err error) {
	if !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://") {
		return nil, 0, &addressError{"the address of the database does not begin with postgres://"}
	}
	config, err = pgx.ParseConfig(text)
	if err != nil {
		return nil, 0, &addressError{"the address of the database is not valid: " + problem(err)}
	}
	limit = defaultLimit
	if value, ok := config.RuntimeParams[poolMaxConns]; ok {
		delete(config.RuntimeParams, poolMaxConns)
		if limit, err = strconv.Atoi(value); err != nil || limit < 1 {
			return nil, 0, &addressError{poolMaxConns + " in the address of the database is not a positive number"}
		}
	}
	// The server would translate text if the environment asked for it.
	config.RuntimeParams["client_encoding"] = "UTF8"
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "lti-operator"
	}
	// Among several hosts, and after a fail-over, the one that takes writes.
	if config.ValidateConnect == nil {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	return config, limit, nil
}

// problem returns what pgx found, without what it quotes: pgx hides passwords as
// well as it can, but in an address that is not well formed nobody knows where the
// password ends.
func problem(err error) string {
	var pe *pgconn.ParseConfigError
	if !errors.As(err, &pe) {
		return "it cannot be read"
	}
	text := err.Error()
	if i := strings.LastIndex(text, "`: "); i >= 0 {
		text = text[i+len("`: "):]
	}
	if i := strings.IndexAny(text, `:("`); i >= 0 {
		text = strings.TrimSpace(text[:i])
	}
	// A file that is missing is worth its name.
	var file *fs.PathError
	if errors.As(err, &file) {
		text = fmt.Sprintf("%s: %s %s: %v", text, file.Op, file.Path, file.Err)
	}
	return text
}
