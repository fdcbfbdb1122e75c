-- Accounts may be those of the academy's directory, by whose ID they then go, and
-- people are enrolled in its groups. due_at is null once that is done. A launch is
-- pending, sealed, while its person signs in to the account that has its address.

-- +goose Up

ALTER TABLE accounts ADD COLUMN in_directory INTEGER NOT NULL DEFAULT 0 CHECK (in_directory IN (0, 1));

CREATE TABLE enrolments (
    subject     TEXT    NOT NULL REFERENCES accounts (subject),
    group_name  TEXT    NOT NULL,
    due_at      INTEGER,
    attempts    INTEGER NOT NULL DEFAULT 0,
    lease       TEXT    NOT NULL DEFAULT '',
    lease_until INTEGER NOT NULL DEFAULT 0,
    updated_at  INTEGER NOT NULL,
    PRIMARY KEY (subject, group_name)
) STRICT, WITHOUT ROWID;

CREATE INDEX enrolments_due ON enrolments (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE pending_launches (
    token_hash BLOB    NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    launch     BLOB    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX pending_launches_expires_at ON pending_launches (expires_at);
