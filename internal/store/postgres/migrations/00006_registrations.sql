-- Links by which other systems register, while an attempt holds them and once they
-- were used, and what came of them. A document is JSON and may hold a secret. Times
-- are microseconds since 1970-01-01 UTC.

-- +goose Up

CREATE TABLE registration_links (
    token_hash  bytea  NOT NULL PRIMARY KEY CHECK (length(token_hash) = 32),
    lease       text   COLLATE "C" NOT NULL,
    lease_until bigint NOT NULL,
    used_at     bigint
);

CREATE TABLE registrations (
    kind          text   COLLATE "C" NOT NULL,
    name          text   COLLATE "C" NOT NULL,
    id            text   COLLATE "C" NOT NULL,
    document      text   COLLATE "C" NOT NULL,
    registered_at bigint NOT NULL,
    PRIMARY KEY (kind, name, id)
);
