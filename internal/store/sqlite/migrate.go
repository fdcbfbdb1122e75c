package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the schema of the file at path up to date. Migrations only add:
// during a rolling update the previous release keeps working on the new schema,
// and a file from a newer release is opened as it is.
func migrate(ctx context.Context, path string) (err error) {
	unlock, err := lockMigrations(ctx, path)
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()

	db, err := sql.Open("sqlite", dsn(path, "synchronous(FULL)"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	// goose keeps one connection while it asks for another.
	db.SetMaxOpenConns(2)

	// The journal mode is a property of the file. It is set here only, because
	// two processes that switch a fresh file at the same time get SQLITE_BUSY
	// at once, whatever the busy timeout is.
	var mode string
	if err := db.QueryRowContext(ctx, `PRAGMA journal_mode = WAL`).Scan(&mode); err != nil {
		return fmt.Errorf("write-ahead log: %w", err)
	}
	if mode != "wal" {
		return fmt.Errorf("write-ahead log: journal mode is %q; the volume may not support shared memory", mode)
	}

	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// lockMigrations keeps other processes from migrating the same file until the
// returned function is called, or this process dies. goose has no lock for
// SQLite and takes one transaction per migration, so that two processes on a
// fresh file would both create the tables. The lock is the exclusive lock of a
// second, empty database: it works wherever SQLite itself does.
func lockMigrations(ctx context.Context, path string) (unlock func() error, err error) {
	db, err := sql.Open("sqlite", dsn(path+".migrate"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := beginExclusive(ctx, conn); err != nil {
		return nil, errors.Join(err, conn.Close(), db.Close())
	}
	return func() error {
		// Not ctx: the lock is released even when the caller gave up.
		_, err := conn.ExecContext(context.Background(), `ROLLBACK`)
		return errors.Join(err, conn.Close(), db.Close())
	}, nil
}

// beginExclusive waits for the exclusive lock for as long as ctx allows: whoever
// holds it may be rewriting a large table. It asks again and again, because
// SQLite's own waiting takes no notice of ctx.
func beginExclusive(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, `PRAGMA busy_timeout = 0`); err != nil {
		return err
	}
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	for {
		_, err := conn.ExecContext(ctx, `BEGIN EXCLUSIVE`)
		var se *sqlite.Error
		// The low byte is the primary code, as in SQLITE_BUSY_RECOVERY.
		if err == nil || !errors.As(err, &se) || se.Code()&0xff != sqlite3.SQLITE_BUSY {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-retry.C:
		}
	}
}
