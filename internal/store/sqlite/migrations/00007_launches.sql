-- What nothing needs, and every launch paid for: no query asks for the launches of a
-- person.

-- +goose Up

DROP INDEX launches_person;
