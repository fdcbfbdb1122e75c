-- A ticket may also be the handle of a launch in login_hint.

-- +goose Up

ALTER TABLE tickets DROP CONSTRAINT tickets_kind_check;
ALTER TABLE tickets ADD CONSTRAINT tickets_kind_check CHECK (kind IN ('open', 'code', 'hint')) NOT VALID;
