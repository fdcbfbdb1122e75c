-- Times are microseconds since 1970-01-01 UTC. Hashes are SHA-256.

-- +goose Up

-- The academy's accounts. Rows outlive launches: the subject must stay the same
-- for as long as the person may come back. email_key is the address as it is
-- compared, or empty; a suspended account still holds its address.
CREATE TABLE accounts (
    subject       TEXT    NOT NULL PRIMARY KEY,
    email         TEXT    NOT NULL,
    email_key     TEXT    NOT NULL,
    email_vouched INTEGER NOT NULL CHECK (email_vouched IN (0, 1)),
    given_name    TEXT    NOT NULL,
    family_name   TEXT    NOT NULL,
    active        INTEGER NOT NULL CHECK (active IN (0, 1)),
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX accounts_email_key ON accounts (email_key) WHERE email_key <> '';

-- Which account a person of another system has. issuer is the one of the last
-- launch that named one.
CREATE TABLE person_links (
    realm       TEXT    NOT NULL,
    lti_user_id TEXT    NOT NULL,
    subject     TEXT    NOT NULL REFERENCES accounts (subject),
    issuer      TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (realm, lti_user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX person_links_subject ON person_links (subject);

CREATE TABLE launches (
    id                  TEXT    NOT NULL PRIMARY KEY,
    activity            TEXT    NOT NULL,
    platform            TEXT    NOT NULL,
    version             TEXT    NOT NULL,
    realm               TEXT    NOT NULL,
    lti_user_id         TEXT    NOT NULL,
    roles               TEXT    NOT NULL,
    role                TEXT    NOT NULL,
    context_id          TEXT    NOT NULL,
    context_title       TEXT    NOT NULL,
    resource_link_id    TEXT    NOT NULL,
    resource_link_title TEXT    NOT NULL,
    deployment_id       TEXT    NOT NULL,
    issuer              TEXT    NOT NULL,
    client_id           TEXT    NOT NULL,
    consumer_key        TEXT    NOT NULL,
    claims              TEXT,
    created_at          INTEGER NOT NULL,
    FOREIGN KEY (realm, lti_user_id) REFERENCES person_links (realm, lti_user_id)
) STRICT;

CREATE INDEX launches_created_at ON launches (created_at);
CREATE INDEX launches_person ON launches (realm, lti_user_id);

-- The nonce is kept as a hash: a peer chooses its length, not ours. launch_id is
-- no foreign key, because a nonce stays spent when its launch was purged.
CREATE TABLE nonces (
    scope      TEXT    NOT NULL,
    nonce_hash BLOB    NOT NULL CHECK (length(nonce_hash) = 32),
    launch_id  TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (scope, nonce_hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX nonces_expires_at ON nonces (expires_at);

CREATE TABLE tickets (
    token_hash BLOB    NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    kind       TEXT    NOT NULL CHECK (kind IN ('open', 'code')),
    launch_id  TEXT    NOT NULL REFERENCES launches (id) ON DELETE CASCADE,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX tickets_expires_at ON tickets (expires_at);
CREATE INDEX tickets_launch_id ON tickets (launch_id);

-- Deployments that launched, provably, although no registration lists them.
CREATE TABLE unknown_deployments (
    platform      TEXT    NOT NULL,
    deployment_id TEXT    NOT NULL,
    first_seen_at INTEGER NOT NULL,
    last_seen_at  INTEGER NOT NULL,
    PRIMARY KEY (platform, deployment_id)
) STRICT, WITHOUT ROWID;
