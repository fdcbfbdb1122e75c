-- What nothing needs, and every launch paid for: no query asks for the launches of a
-- person, and the server reads a CHECK anew for each statement. What it said of a hash and
-- of a kind, the types of the program say as well.

-- +goose Up

DROP INDEX launches_person;
ALTER TABLE nonces DROP CONSTRAINT nonces_nonce_hash_check;
ALTER TABLE tickets DROP CONSTRAINT tickets_token_hash_check, DROP CONSTRAINT tickets_kind_check;
