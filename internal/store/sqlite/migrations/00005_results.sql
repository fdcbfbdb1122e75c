-- Times are microseconds since 1970-01-01 UTC.

-- +goose Up

-- The academy's own learners in external activities, as the tools of a realm know
-- them. subject is who they are at the academy's identity provider.
CREATE TABLE tool_learners (
    realm       TEXT    NOT NULL,
    id          TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    given_name  TEXT    NOT NULL,
    family_name TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    email       TEXT    NOT NULL,
    locale      TEXT    NOT NULL,
    seen_at     INTEGER NOT NULL,
    PRIMARY KEY (realm, id),
    UNIQUE (realm, subject)
) STRICT, WITHOUT ROWID;

-- Line items that tools made. id is a hash of the three columns after it.
CREATE TABLE tool_line_items (
    id         TEXT    NOT NULL PRIMARY KEY,
    realm      TEXT    NOT NULL,
    activity   TEXT    NOT NULL,
    line_item  TEXT    NOT NULL,
    document   TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX tool_line_items_activity ON tool_line_items (realm, activity, created_at, id);

-- How learners did. line_item is empty for the result of the activity itself. id is a
-- hash of the four columns after it, and line_item_id one of the first three of them,
-- as in tool_line_items: an index has no room for three identifiers. State is JSON, or
-- null for none yet. lease is empty when nobody holds it.
CREATE TABLE results (
    id           TEXT    NOT NULL PRIMARY KEY,
    realm        TEXT    NOT NULL,
    activity     TEXT    NOT NULL,
    line_item    TEXT    NOT NULL,
    learner_id   TEXT    NOT NULL,
    line_item_id TEXT    NOT NULL,
    subject      TEXT    NOT NULL,
    outcome_id   TEXT    NOT NULL,
    state        TEXT,
    due_at       INTEGER,
    lease        TEXT    NOT NULL DEFAULT '',
    lease_until  INTEGER NOT NULL DEFAULT 0,
    started_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    FOREIGN KEY (realm, learner_id) REFERENCES tool_learners (realm, id)
) STRICT;

CREATE UNIQUE INDEX results_outcome ON results (outcome_id) WHERE outcome_id <> '';
CREATE INDEX results_due ON results (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX results_line_item ON results (line_item_id, learner_id);
CREATE INDEX results_activity ON results (activity, line_item, id);
CREATE INDEX results_subject ON results (subject, id);

-- What changed them, the newest with the highest seq. message is JSON.
CREATE TABLE result_messages (
    result_id TEXT    NOT NULL REFERENCES results (id) ON DELETE CASCADE,
    seq       INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    message   TEXT    NOT NULL,
    PRIMARY KEY (result_id, seq)
) STRICT;
