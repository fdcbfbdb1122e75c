-- Accounts may be those of the academy's directory, by whose ID they then go, and
-- people are enrolled in its groups. due_at is null once that is done. A launch is
-- pending, sealed, while its person signs in to the account that has its address.

-- +goose Up

ALTER TABLE accounts ADD COLUMN in_directory boolean NOT NULL DEFAULT false;

CREATE TABLE enrolments (
    subject     text COLLATE "C" NOT NULL REFERENCES accounts (subject),
    group_name  text COLLATE "C" NOT NULL,
    due_at      bigint,
    attempts    integer NOT NULL DEFAULT 0,
    lease       text COLLATE "C" NOT NULL DEFAULT '',
    lease_until bigint NOT NULL DEFAULT 0,
    updated_at  bigint NOT NULL,
    PRIMARY KEY (subject, group_name)
);

CREATE INDEX enrolments_due ON enrolments (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE pending_launches (
    token_hash bytea  NOT NULL PRIMARY KEY,
    launch     bytea  NOT NULL,
    expires_at bigint  NOT NULL
);

CREATE INDEX pending_launches_expires_at ON pending_launches (expires_at);
