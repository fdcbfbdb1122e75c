// Package sqlite keeps the launch handler's state in one SQLite file: the
// default for an academy with one handler replica. Several processes may have
// the same file open, as happens for a moment during a restart.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/lti-operator/lti-operator/internal/store"
	"github.com/lti-operator/lti-operator/internal/store/sqlstore"
)

const (
	// busyTimeout is how long a statement waits for another process's write.
	busyTimeout = 5 * time.Second
	// maxReaders bounds the read connections; readers never block the writer.
	maxReaders = 4
)

// Store implements store.Store. Create it with Open.
type Store struct {
	*sqlstore.Store

	// write has exactly one connection: SQLite allows one writer, and waiting
	// in database/sql is fair where SQLite's own busy handler is not.
	write *sql.DB
	read  *sql.DB
}

var _ store.Store = (*Store)(nil)

// Open opens the file at path, creates it (readable by its owner only) when it
// does not exist, and brings its schema up to date. The directory must exist.
// now is the clock for ticket expiry and time stamps.
func Open(ctx context.Context, path string, now func() time.Time) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, sqlstore.Unavailable(ctx, "resolve path", err)
	}
	// SQLite would create the file by the umask; it holds personal data. The
	// journal files inherit this mode.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, sqlstore.Unavailable(ctx, "create database file", err)
	}
	if err := f.Close(); err != nil {
		return nil, sqlstore.Unavailable(ctx, "create database file", err)
	}
	if err := migrate(ctx, path); err != nil {
		return nil, sqlstore.Unavailable(ctx, "migrate", err)
	}

	s := &Store{}
	if s.write, err = sql.Open("sqlite", dsn(path, "synchronous(FULL)", "foreign_keys(1)")); err != nil {
		return nil, sqlstore.Unavailable(ctx, "open", err)
	}
	s.write.SetMaxOpenConns(1)
	s.write.SetMaxIdleConns(1)
	if s.read, err = sql.Open("sqlite", dsn(path, "query_only(1)")); err != nil {
		return nil, errors.Join(sqlstore.Unavailable(ctx, "open", err), s.write.Close())
	}
	s.read.SetMaxOpenConns(maxReaders)
	s.read.SetMaxIdleConns(maxReaders)
	if s.Store, err = sqlstore.New(ctx, sqlstore.Engine{Write: s.write, Read: s.read, Group: true, Classify: classify}, now); err != nil {
		return nil, err
	}
	return s, nil
}

// dsn returns the data source name for path. Transactions take the write lock
// when they begin: one that reads first and writes later would fail at once,
// without waiting, when another process wrote in between.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_txlock": {"immediate"}, "_dqs": {"0"}}
	q.Add("_pragma", fmt.Sprintf("busy_timeout(%d)", busyTimeout.Milliseconds()))
	for _, p := range pragmas {
		q.Add("_pragma", p)
	}
	// The path is percent-encoded because SQLite parses this as a URI itself.
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	return u.String()
}

// classify has no race to tell of: transactions run one after the other.
func classify(err error, commit bool) sqlstore.Failure {
	var se *sqlite.Error
	if !commit && errors.As(err, &se) {
		switch se.Code() {
		case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
			return sqlstore.Duplicate
		}
	}
	return sqlstore.Broken
}
