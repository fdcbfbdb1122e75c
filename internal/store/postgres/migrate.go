package postgres

import (
	"context"
	"embed"
	"errors"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	// versionTable is not goose's own name for it: the academy may use goose in
	// the same database.
	versionTable = "lti_operator_schema"
	// migrationLock is the key of the lock that migrations hold: "lti-migr".
	migrationLock = 0x6c74692d6d696772
	// lockPeriod and lockTries: a migration may rewrite a large table while the
	// handlers of the next release wait.
	lockPeriod, lockTries = 1, 300
)

// migrationSettings let a statement take its time, but not wait for a table that
// is in use: all launches would queue up behind it.
const migrationSettings = `SET lock_timeout = '5s'; SET client_min_messages = warning`

// migrate brings the schema up to date, one process after the other. Migrations
// only add: during a rolling update the previous release keeps working on the new
// schema, and a database from a newer release is used as it is.
func migrate(ctx context.Context, a *addresses) (err error) {
	db := a.openDB(migrationSettings)
	defer func() { err = errors.Join(err, db.Close()) }()
	// One holds the lock, another migrates.
	db.SetMaxOpenConns(2)
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockID(migrationLock), lock.WithLockTimeout(lockPeriod, lockTries))
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithTableName(versionTable), goose.WithSessionLocker(locker))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}
