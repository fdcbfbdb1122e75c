-- Links by which other systems register, while an attempt holds them and once they
-- were used, and what came of them. A document is JSON and may hold a secret. Times
-- are microseconds since 1970-01-01 UTC.

-- +goose Up

CREATE TABLE registration_links (
    token_hash  BLOB    NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    lease       TEXT    NOT NULL,
    lease_until INTEGER NOT NULL,
    used_at     INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE registrations (
    kind          TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    id            TEXT    NOT NULL,
    document      TEXT    NOT NULL,
    registered_at INTEGER NOT NULL,
    PRIMARY KEY (kind, name, id)
) STRICT, WITHOUT ROWID;
