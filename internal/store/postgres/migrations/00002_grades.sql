-- Times are microseconds since 1970-01-01 UTC. Hashes are SHA-256.

-- +goose Up

-- What is known about people in activities, and the gradebooks that it is for. State
-- and address are JSON. A grade is a cell of another system's gradebook; its id is a
-- hash of the five columns after it. lease is empty when nobody holds it.
CREATE TABLE progress (
    subject    text COLLATE "C" NOT NULL REFERENCES accounts (subject),
    activity   text COLLATE "C" NOT NULL,
    state      text COLLATE "C" NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (subject, activity)
);

CREATE TABLE grades (
    id               text COLLATE "C" NOT NULL PRIMARY KEY,
    registration     text COLLATE "C" NOT NULL,
    deployment_id    text COLLATE "C" NOT NULL,
    context_id       text COLLATE "C" NOT NULL,
    resource_link_id text COLLATE "C" NOT NULL,
    lti_user_id      text COLLATE "C" NOT NULL,
    subject          text COLLATE "C" NOT NULL REFERENCES accounts (subject),
    activity         text COLLATE "C" NOT NULL,
    address          text COLLATE "C" NOT NULL,
    state            text COLLATE "C" NOT NULL,
    due_at           bigint,
    lease            text COLLATE "C" NOT NULL DEFAULT '',
    lease_until      bigint NOT NULL DEFAULT 0,
    updated_at       bigint NOT NULL
);

CREATE INDEX grades_due ON grades (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX grades_person ON grades (subject, activity, id);

CREATE TABLE line_items (
    link_id     text COLLATE "C" NOT NULL PRIMARY KEY,
    url         text COLLATE "C" NOT NULL,
    lease       text COLLATE "C" NOT NULL,
    lease_until bigint NOT NULL
);

CREATE TABLE idempotency_keys (
    client_id    text COLLATE "C" NOT NULL,
    key_hash     bytea NOT NULL,
    request_hash bytea NOT NULL,
    expires_at   bigint NOT NULL,
    PRIMARY KEY (client_id, key_hash)
);

CREATE INDEX idempotency_keys_expires_at ON idempotency_keys (expires_at);
