CREATE TABLE sign_ups (
    id TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    state TEXT NOT NULL,
    username TEXT NOT NULL,
    email_address TEXT NOT NULL,
    email_address_verified INTEGER NOT NULL,
    first_name TEXT NOT NULL,
    last_name TEXT NOT NULL,
    external_id TEXT NOT NULL,
    public_metadata TEXT NOT NULL,
    private_metadata TEXT NOT NULL,
    unsafe_metadata TEXT NOT NULL,
    etag TEXT NOT NULL,
    visible_etag TEXT NOT NULL,
    created_user_id TEXT NOT NULL,
    abandon_time INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL,
    visible_update_time INTEGER NOT NULL,
    close_time INTEGER NOT NULL,
    sweep_time INTEGER NOT NULL
) STRICT;

-- What is to be swept next, without looking at the rest.
CREATE INDEX sign_ups_by_sweep_time ON sign_ups (sweep_time);

CREATE INDEX sign_ups_by_user ON sign_ups (created_user_id) WHERE created_user_id != '';

-- Erasing a user erases what its sign-up still says of the person.
CREATE TRIGGER users_erase_sign_ups AFTER DELETE ON users
BEGIN
    UPDATE sign_ups
    SET username = '', email_address = '', first_name = '', last_name = '', external_id = ''
    WHERE created_user_id = OLD.id AND created_user_id != '';
END;
