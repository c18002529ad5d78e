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
    erased INTEGER NOT NULL
) STRICT;

-- Where the chain of a user that was erased begins.
CREATE TABLE erased_users (
    user_id TEXT PRIMARY KEY,
    change_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- An outside identity's name is an identifier: what is remembered under it goes with its user.
CREATE TRIGGER users_erase_requests AFTER DELETE ON users WHEN OLD.external_id != ''
BEGIN
    DELETE FROM requests WHERE principal = 'identity:' || OLD.external_id;
END;
