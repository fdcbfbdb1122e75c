// Package postgres keeps the launch handler's state in a PostgreSQL database: for
// an academy with more than one handler replica. PostgreSQL 13 or newer.
//
// The database must have the encoding UTF8, and the tables are made in the first
// schema of the search path. Connections must be sessions of their own, directly
// or through a pooler in session mode: prepared statements, the lock of a migration
// and the time limits belong to the session.
package postgres

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lti-operator/lti-operator/internal/store"
	"github.com/lti-operator/lti-operator/internal/store/sqlstore"
)

const (
	// callTimeout bounds a call of the store, attempts and the wait for a free
	// connection included.
	callTimeout = 10 * time.Second
	// maxIdle and maxAge bound how long a connection is kept, so that they move
	// on after a fail-over, and that a quiet handler holds few.
	maxIdle = 5 * time.Minute
	maxAge  = 30 * time.Minute
	// wary is for how long connections are tried before they are used, once one
	// of them was found dead: what killed it has probably killed all.
	wary = 10 * time.Second
)

// sessionSettings are given to every connection that serves launches. A statement
// is cut off well before the caller loses patience, and a transaction whose client
// has vanished does not hold its locks for long. What was acknowledged must outlive
// a crash of the server, whatever the default of the database is; stronger promises
// than that, such as waiting for a standby, are left as they are.
const sessionSettings = `
	SET statement_timeout = '5s';
	SET idle_in_transaction_session_timeout = '10s';
	SET default_transaction_isolation = 'read committed';
	SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`

// Store implements store.Store. Create it with Open or OpenFile.
type Store struct {
	*sqlstore.Store
	db *sql.DB
}

var _ store.Store = (*Store)(nil)

// Open connects to the database at a URL of PostgreSQL, such as
// postgres://user@host:5432/database?sslmode=verify-full, and brings its schema up
// to date. What the URL leaves out is taken from the environment, as libpq does:
// PGPASSWORD, PGPASSFILE and so on. The parameter pool_max_conns bounds the
// connections; left out, 10. now is the clock for ticket expiry and time stamps.
func Open(ctx context.Context, address string, now func() time.Time) (*Store, error) {
	return open(ctx, func() (string, error) { return address, nil }, now)
}

// OpenFile is Open with the URL in a file. The file is read again for each new
// connection, so that a password can be changed under a running handler.
func OpenFile(ctx context.Context, path string, now func() time.Time) (*Store, error) {
	return open(ctx, func() (string, error) {
		text, err := os.ReadFile(path)
		return strings.TrimSpace(string(text)), err
	}, now)
}

func open(ctx context.Context, address func() (string, error), now func() time.Time, options ...stdlib.OptionOpenDB) (*Store, error) {
	a, err := newAddresses(address)
	if err != nil {
		return nil, sqlstore.Unavailable(ctx, "read the address of the database", err)
	}
	if err := migrate(ctx, a); err != nil {
		return nil, sqlstore.Unavailable(ctx, "migrate", clean(err))
	}
	var lastLoss atomic.Int64
	db := a.openDB(sessionSettings, append(options, stdlib.OptionShouldPing(func(_ context.Context, p stdlib.ShouldPingParams) bool {
		return p.IdleDuration > time.Second || time.Since(time.UnixMicro(lastLoss.Load())) < wary || hungUp(p.Conn.PgConn().Conn())
	}))...)
	db.SetMaxOpenConns(a.limit)
	db.SetMaxIdleConns(a.limit)
	db.SetConnMaxIdleTime(maxIdle)
	db.SetConnMaxLifetime(maxAge)
	s := &Store{db: db}
	s.Store, err = sqlstore.New(ctx, sqlstore.Engine{
		Write: db, Read: db,
		Dollar: true,
		Writes: newCombined(db),
		Claim:  ` FOR UPDATE SKIP LOCKED`,
		Classify: func(err error, commit bool) sqlstore.Failure {
			f := classify(err, commit)
			if f == sqlstore.Lost {
				lastLoss.Store(time.Now().UnixMicro())
			}
			return f
		},
		Clean:   clean,
		Lock:    lockKey,
		LockID:  lockID,
		Timeout: callTimeout,
	}, now)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// lockKey waits for the transactions that have the same key. Two keys that share a
// hash wait for each other without need, which does no harm.
func lockKey(ctx context.Context, tx *sql.Tx, key string) error {
	_, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, lockID(key))
	return err
}

func lockID(key string) int64 {
	hash := sha256.Sum256([]byte(key))
	//nolint:gosec // G115: any 64 bits will do
	return int64(binary.BigEndian.Uint64(hash[:8]))
}

// raced are the unique indexes that two launches of people who have nothing yet
// can meet in. Who comes second starts anew and finds what the first one made. All
// other unique values are made by callers.
var raced = map[string]bool{"accounts_email_key": true, "person_links_pkey": true}

// classify tells failures apart by their code (PostgreSQL manual, appendix A).
func classify(err error, commit bool) sqlstore.Failure {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return classifyCode(pe, commit)
	}
	var ce *pgconn.ConnectError
	switch {
	case errors.As(err, &ce), pgconn.Timeout(err), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		// To try again at once would not help.
		return sqlstore.Broken
	case pgconn.SafeToRetry(err), errors.Is(err, driver.ErrBadConn): // which the driver makes of the former
		return sqlstore.Lost
	case commit:
		// The COMMIT may have arrived.
		return sqlstore.Broken
	case broken(err):
		return sqlstore.Lost
	}
	return sqlstore.Broken
}

func classifyCode(pe *pgconn.PgError, commit bool) sqlstore.Failure {
	switch {
	case ended(pe) && commit:
		// The server ended the session; whether before or after the commit, it does
		// not say.
		return sqlstore.Broken
	case pe.Code == "23505" && raced[pe.ConstraintName]:
		return sqlstore.Raced
	case pe.Code == "23505":
		return sqlstore.Duplicate
	case pe.Code == "40001", pe.Code == "40P01": // serialization failure, deadlock
		return sqlstore.Raced
	case pe.Code == "23503":
		// What a row refers to was there when it was looked for, and has moved since, or a
		// row was added that refers to what moves.
		return sqlstore.Raced
	case strings.HasPrefix(pe.Code, "08"), // connection exceptions
		pe.Code == "57P01", pe.Code == "57P02", pe.Code == "57P05", // the server ended the session
		pe.Code == "25P03": // the same, for idling in a transaction
		return sqlstore.Lost
	}
	return sqlstore.Broken
}

// ended tells whether the server has ended the session with this error.
func ended(pe *pgconn.PgError) bool {
	return pe.Severity == "FATAL" || pe.SeverityUnlocalized == "FATAL" || pe.SeverityUnlocalized == "PANIC"
}

// broken reports whether an error is that of a connection that ended.
func broken(err error) bool {
	for _, end := range []error{
		io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, sql.ErrConnDone, driver.ErrBadConn, pgconn.ErrConnClosed,
		syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED,
	} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// clean keeps of an error what an administrator needs. Errors of the driver hold
// the password of the connection, and errors of the server may quote what a person
// entered; neither is handed on, not even to be unwrapped.
func clean(err error) error {
	var (
		ae *addressError
		ce *pgconn.ConnectError
		pe *pgconn.PgError
		ne net.Error
	)
	switch {
	case errors.As(err, &ae):
		return ae
	case errors.As(err, &ce):
		return errors.New(strings.Join(strings.Fields(ce.Error()), " "))
	case errors.As(err, &pe):
		return errors.New(describe(pe))
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return context.Canceled
	case broken(err), errors.As(err, &ne), errors.Is(err, sql.ErrTxDone), strings.Contains(err.Error(), "sql: database is closed"):
		return errors.New(strings.Join(strings.Fields(err.Error()), " "))
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return fmt.Errorf("unexpected error of type %T", err)
}

// describe leaves the message out where it quotes data.
func describe(pe *pgconn.PgError) string {
	if strings.HasPrefix(pe.Code, "22") || strings.HasPrefix(pe.Code, "23") {
		return strings.TrimSpace("SQLSTATE " + pe.Code + " " + pe.ConstraintName)
	}
	return pe.Message + " (SQLSTATE " + pe.Code + ")"
}

// afterConnect makes sure that a fresh connection is one to the kind of database
// that the store needs, and gives it its settings.
func afterConnect(settings string) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, conn *pgx.Conn) error {
		err := configure(ctx, conn, settings)
		if err != nil {
			// stdlib forgets about the connection.
			_ = conn.Close(ctx)
		}
		return err
	}
}

func configure(ctx context.Context, conn *pgx.Conn, settings string) error {
	if got := conn.PgConn().ParameterStatus("server_encoding"); got != "UTF8" {
		return &addressError{fmt.Sprintf("the database has the encoding %s; it must be UTF8", got)}
	}
	_, err := conn.PgConn().Exec(ctx, settings).ReadAll()
	return err
}
