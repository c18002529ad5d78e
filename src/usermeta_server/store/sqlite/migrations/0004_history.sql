-- One row a committed write of a user. `previous` is the user's change before it (0 for none): with it a user's
-- history is a chain of look-ups by number, and writing needs no second index.
CREATE TABLE changes (
    id INTEGER PRIMARY KEY,
    nonce BLOB NOT NULL,
    time INTEGER NOT NULL,
    user_id TEXT NOT NULL,
    kind INTEGER NOT NULL,
    audience TEXT NOT NULL,
    principal TEXT NOT NULL,
    request_id TEXT NOT NULL,
    parts TEXT NOT NULL,
    previous INTEGER NOT NULL,
    -- The user after it, as a JSON array of the columns of `users`; empty when erased.
    state TEXT NOT NULL,
    erased INTEGER NOT NULL,
    -- Whether it is the last change of its write.
    last INTEGER NOT NULL
) STRICT;

-- Where the chain of a user that was erased begins.
CREATE TABLE erased_users (
    user_id TEXT PRIMARY KEY,
    change_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The store erases what sign-ups say with the rest of a user: a trigger does not see one that is made again at once.
DROP TRIGGER users_erase_sign_ups;

CREATE INDEX sign_ups_by_external_id ON sign_ups (external_id) WHERE external_id != '';
