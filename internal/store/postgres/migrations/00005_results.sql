-- Times are microseconds since 1970-01-01 UTC.

-- +goose Up

-- The academy's own learners in external activities, as the tools of a realm know
-- them. subject is who they are at the academy's identity provider.
CREATE TABLE tool_learners (
    realm       text   COLLATE "C" NOT NULL,
    id          text   COLLATE "C" NOT NULL,
    subject     text   COLLATE "C" NOT NULL,
    given_name  text   COLLATE "C" NOT NULL,
    family_name text   COLLATE "C" NOT NULL,
    name        text   COLLATE "C" NOT NULL,
    email       text   COLLATE "C" NOT NULL,
    locale      text   COLLATE "C" NOT NULL,
    seen_at     bigint NOT NULL,
    PRIMARY KEY (realm, id),
    UNIQUE (realm, subject)
);

-- Line items that tools made. id is a hash of the three columns after it.
CREATE TABLE tool_line_items (
    id         text   COLLATE "C" NOT NULL PRIMARY KEY,
    realm      text   COLLATE "C" NOT NULL,
    activity   text   COLLATE "C" NOT NULL,
    line_item  text   COLLATE "C" NOT NULL,
    document   text   COLLATE "C" NOT NULL,
    created_at bigint NOT NULL
);

CREATE INDEX tool_line_items_activity ON tool_line_items (realm, activity, created_at, id);

-- How learners did. line_item is empty for the result of the activity itself. id is a
-- hash of the four columns after it, and line_item_id one of the first three of them,
-- as in tool_line_items: an index has no room for three identifiers. State is JSON, or
-- null for none yet. lease is empty when nobody holds it.
CREATE TABLE results (
    id           text   COLLATE "C" NOT NULL PRIMARY KEY,
    realm        text   COLLATE "C" NOT NULL,
    activity     text   COLLATE "C" NOT NULL,
    line_item    text   COLLATE "C" NOT NULL,
    learner_id   text   COLLATE "C" NOT NULL,
    line_item_id text   COLLATE "C" NOT NULL,
    subject      text   COLLATE "C" NOT NULL,
    outcome_id   text   COLLATE "C" NOT NULL,
    state        text   COLLATE "C",
    due_at       bigint,
    lease        text   COLLATE "C" NOT NULL DEFAULT '',
    lease_until  bigint NOT NULL DEFAULT 0,
    started_at   bigint NOT NULL,
    updated_at   bigint NOT NULL,
    FOREIGN KEY (realm, learner_id) REFERENCES tool_learners (realm, id)
);

CREATE UNIQUE INDEX results_outcome ON results (outcome_id) WHERE outcome_id <> '';
CREATE INDEX results_due ON results (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX results_line_item ON results (line_item_id, learner_id);
CREATE INDEX results_activity ON results (activity, line_item, id);
CREATE INDEX results_subject ON results (subject, id);

-- What changed them, the newest with the highest seq. message is JSON.
CREATE TABLE result_messages (
    result_id text   COLLATE "C" NOT NULL REFERENCES results (id) ON DELETE CASCADE,
    seq       bigint NOT NULL,
    at        bigint NOT NULL,
    message   text   COLLATE "C" NOT NULL,
    PRIMARY KEY (result_id, seq)
);
