-- Times are microseconds since 1970-01-01 UTC. Hashes are SHA-256.

-- +goose Up

-- What is known about people in activities, and the gradebooks that it is for. State
-- and address are JSON. A grade is a cell of another system's gradebook; its id is a
-- hash of the five columns after it. lease is empty when nobody holds it.
CREATE TABLE progress (
    subject    TEXT NOT NULL REFERENCES accounts (subject),
    activity   TEXT NOT NULL,
    state      TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (subject, activity)
) STRICT;

CREATE TABLE grades (
    id               TEXT NOT NULL PRIMARY KEY,
    registration     TEXT NOT NULL,
    deployment_id    TEXT NOT NULL,
    context_id       TEXT NOT NULL,
    resource_link_id TEXT NOT NULL,
    lti_user_id      TEXT NOT NULL,
    subject          TEXT NOT NULL REFERENCES accounts (subject),
    activity         TEXT NOT NULL,
    address          TEXT NOT NULL,
    state            TEXT NOT NULL,
    due_at           INTEGER,
    lease            TEXT NOT NULL DEFAULT '',
    lease_until      INTEGER NOT NULL DEFAULT 0,
    updated_at       INTEGER NOT NULL
) STRICT;

CREATE INDEX grades_due ON grades (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX grades_person ON grades (subject, activity, id);

CREATE TABLE line_items (
    link_id     TEXT NOT NULL PRIMARY KEY,
    url         TEXT NOT NULL,
    lease       TEXT NOT NULL,
    lease_until INTEGER NOT NULL
) STRICT;

CREATE TABLE idempotency_keys (
    client_id    TEXT NOT NULL,
    key_hash     BLOB NOT NULL,
    request_hash BLOB NOT NULL,
    expires_at   INTEGER NOT NULL,
    PRIMARY KEY (client_id, key_hash)
) STRICT;

CREATE INDEX idempotency_keys_expires_at ON idempotency_keys (expires_at);
