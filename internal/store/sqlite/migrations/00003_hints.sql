-- A ticket may also be the handle of a launch in login_hint. SQLite changes no
-- constraint of a table, so there is a new one.

-- +goose Up

CREATE TABLE tickets_with_hints (
    token_hash BLOB    NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    kind       TEXT    NOT NULL CHECK (kind IN ('open', 'code', 'hint')),
    launch_id  TEXT    NOT NULL REFERENCES launches (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT, WITHOUT ROWID;

INSERT INTO tickets_with_hints SELECT token_hash, kind, launch_id, expires_at, used_at FROM tickets;

DROP TABLE tickets;

ALTER TABLE tickets_with_hints RENAME TO tickets;

CREATE INDEX tickets_expires_at ON tickets (expires_at);
CREATE INDEX tickets_launch_id ON tickets (launch_id);
