-- What people are asked, who they are, and what they said. PRAGMA user_version is the version of all this.
-- AUTOINCREMENT: a number that was somebody's, or something's, is never given again.
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE,       -- names its content
    content TEXT NOT NULL,          -- JSON: prompt, answers, sources
    kind TEXT NOT NULL,             -- chosen, random, control, swap, heldout
    known INTEGER,                  -- of a control, the vote that is right
    swap_of INTEGER REFERENCES items (id),
    rank INTEGER NOT NULL,          -- lower ones are shown first
    places INTEGER NOT NULL,        -- people who may still be given it
    judged INTEGER NOT NULL,        -- people who have judged it; with places, counted anew where either changes
    withdrawn INTEGER NOT NULL DEFAULT 0  -- bits: 1, the source has it no more; 2, a lead took it out
);
CREATE INDEX items_to_give ON items (rank) WHERE places > 0 AND NOT withdrawn;
CREATE INDEX items_done ON items (withdrawn, kind, judged);

CREATE TABLE people (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, role TEXT NOT NULL);
CREATE TABLE links (hash TEXT PRIMARY KEY, person INTEGER NOT NULL REFERENCES people (id));

CREATE TABLE assignments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    item INTEGER NOT NULL REFERENCES items (id),
    person INTEGER NOT NULL REFERENCES people (id),
    flipped INTEGER NOT NULL,       -- whether the second answer stands on the left
    settles INTEGER NOT NULL,       -- whether it is a lead's, who decides what is in dispute
    released INTEGER NOT NULL DEFAULT 0,  -- left alone for so long that somebody else may be given the item
    made TEXT NOT NULL,
    UNIQUE (item, person, settles)
);
CREATE INDEX assignments_of_a_person ON assignments (person);

-- Rows are only added: the last one of an assignment is what stands, and an undo is a row too.
-- Order is that of ids; no clock decides anything.
CREATE TABLE votes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    client TEXT NOT NULL UNIQUE,    -- made by the page, so that a vote that is sent twice is one
    assignment INTEGER NOT NULL REFERENCES assignments (id),
    kind TEXT NOT NULL,             -- vote, both-bad, skip, undo
    value INTEGER,                  -- of a vote, with the first answer on the left
    reason TEXT,                    -- of a skip
    comment TEXT,
    flagged INTEGER NOT NULL,
    seconds REAL,                   -- from when the item was shown, as the page measured it
    made TEXT NOT NULL
);
CREATE INDEX votes_of_an_assignment ON votes (assignment, id);

CREATE VIEW standing AS
SELECT assignments.item, assignments.person, assignments.flipped, assignments.settles, votes.*
FROM votes JOIN assignments ON assignments.id = votes.assignment
WHERE votes.kind != 'undo'
AND votes.id = (SELECT max(later.id) FROM votes AS later WHERE later.assignment = votes.assignment);
