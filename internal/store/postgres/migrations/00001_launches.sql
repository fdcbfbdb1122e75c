-- Times are microseconds since 1970-01-01 UTC. Hashes are SHA-256.
--
-- Text is compared byte by byte: identifiers are equal when they are the same, and
-- an index stays good when the rules of a language change under it, as they do with
-- a new release of the operating system.

-- +goose Up

-- The academy's accounts. Rows outlive launches: the subject must stay the same
-- for as long as the person may come back. email_key is the address as it is
-- compared, or empty; a suspended account still holds its address.
CREATE TABLE accounts (
    subject       text    COLLATE "C" NOT NULL PRIMARY KEY,
    email         text    COLLATE "C" NOT NULL,
    email_key     text    COLLATE "C" NOT NULL,
    email_vouched boolean NOT NULL,
    given_name    text    COLLATE "C" NOT NULL,
    family_name   text    COLLATE "C" NOT NULL,
    active        boolean NOT NULL,
    created_at    bigint  NOT NULL,
    updated_at    bigint  NOT NULL
);

CREATE UNIQUE INDEX accounts_email_key ON accounts (email_key) WHERE email_key <> '';

-- Which account a person of another system has. issuer is the one of the last
-- launch that named one.
CREATE TABLE person_links (
    realm       text   COLLATE "C" NOT NULL,
    lti_user_id text   COLLATE "C" NOT NULL,
    subject     text   COLLATE "C" NOT NULL REFERENCES accounts (subject),
    issuer      text   COLLATE "C" NOT NULL,
    created_at  bigint NOT NULL,
    PRIMARY KEY (realm, lti_user_id)
);

CREATE INDEX person_links_subject ON person_links (subject);

CREATE TABLE launches (
    id                  text   COLLATE "C" NOT NULL PRIMARY KEY,
    activity            text   COLLATE "C" NOT NULL,
    platform            text   COLLATE "C" NOT NULL,
    version             text   COLLATE "C" NOT NULL,
    realm               text   COLLATE "C" NOT NULL,
    lti_user_id         text   COLLATE "C" NOT NULL,
    roles               text   COLLATE "C" NOT NULL,
    role                text   COLLATE "C" NOT NULL,
    context_id          text   COLLATE "C" NOT NULL,
    context_title       text   COLLATE "C" NOT NULL,
    resource_link_id    text   COLLATE "C" NOT NULL,
    resource_link_title text   COLLATE "C" NOT NULL,
    deployment_id       text   COLLATE "C" NOT NULL,
    issuer              text   COLLATE "C" NOT NULL,
    client_id           text   COLLATE "C" NOT NULL,
    consumer_key        text   COLLATE "C" NOT NULL,
    claims              text   COLLATE "C",
    created_at          bigint NOT NULL,
    FOREIGN KEY (realm, lti_user_id) REFERENCES person_links (realm, lti_user_id)
);

CREATE INDEX launches_created_at ON launches (created_at);
CREATE INDEX launches_person ON launches (realm, lti_user_id);

-- The nonce is kept as a hash: a peer chooses its length, not ours. launch_id is
-- no foreign key, because a nonce stays spent when its launch was purged.
CREATE TABLE nonces (
    scope      text   COLLATE "C" NOT NULL,
    nonce_hash bytea  NOT NULL CHECK (length(nonce_hash) = 32),
    launch_id  text   COLLATE "C" NOT NULL,
    expires_at bigint NOT NULL,
    PRIMARY KEY (scope, nonce_hash)
);

CREATE INDEX nonces_expires_at ON nonces (expires_at);

CREATE TABLE tickets (
    token_hash bytea  NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    kind       text   COLLATE "C" NOT NULL CHECK (kind IN ('open', 'code')),
    launch_id  text   COLLATE "C" NOT NULL REFERENCES launches (id) ON DELETE CASCADE,
    expires_at bigint NOT NULL,
    used_at    bigint
);

CREATE INDEX tickets_expires_at ON tickets (expires_at);
CREATE INDEX tickets_launch_id ON tickets (launch_id);

-- Deployments that launched, provably, although no registration lists them.
CREATE TABLE unknown_deployments (
    platform      text   COLLATE "C" NOT NULL,
    deployment_id text   COLLATE "C" NOT NULL,
    first_seen_at bigint NOT NULL,
    last_seen_at  bigint NOT NULL,
    PRIMARY KEY (platform, deployment_id)
);
