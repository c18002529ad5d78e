-- Which paths are indexed. `progress` is the id of the last user that the building of the index has done.
CREATE TABLE metadata_indexes (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    progress TEXT NOT NULL
) STRICT;

-- One row of part 0 for each user and index: the value at the path, as one key in which SQLite's own order is the
-- order across types (see conditions.py). Rows of part 1 are what `:` finds beyond it: elements and keys.
CREATE TABLE index_entries (
    index_id INTEGER NOT NULL,
    part INTEGER NOT NULL,
    key ANY NOT NULL,
    user_id TEXT NOT NULL,
    PRIMARY KEY (index_id, part, key, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX users_by_create_time ON users (create_time, id);
