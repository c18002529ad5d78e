-- The version at which a user was made tells it from another that had the same id. The users that are here have 0, as
-- none that is made from now on.
ALTER TABLE users ADD COLUMN create_version INTEGER NOT NULL DEFAULT 0;

-- A sign-up stays with the user that it became: not with another that was given the id after that one was erased.
UPDATE sign_ups SET created_user_id = ''
WHERE created_user_id IN (SELECT id FROM users WHERE users.create_time > sign_ups.close_time);

-- When a request was remembered, as the last version given out by then, and which users it names (a JSON array).
ALTER TABLE requests ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE requests ADD COLUMN user_ids TEXT NOT NULL DEFAULT '[]';
UPDATE requests SET user_ids = '[' || replace(json_quote(outcome), ' ', '","') || ']'
WHERE outcome LIKE 'user\_%' ESCAPE '\' OR outcome LIKE '% user\_%' ESCAPE '\';

-- The requests that name a user, for what names one that is erased is forgotten. SQLite keeps it up with `requests`.
CREATE TABLE request_users (
    user_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (user_id, number)
) STRICT, WITHOUT ROWID;

INSERT OR IGNORE INTO request_users (user_id, number)
SELECT value, number FROM requests, json_each(user_ids);

CREATE TRIGGER requests_name_users AFTER INSERT ON requests
BEGIN
    INSERT INTO request_users (user_id, number) SELECT value, NEW.number FROM json_each(NEW.user_ids);
END;

CREATE TRIGGER requests_forget_users AFTER DELETE ON requests
BEGIN
    DELETE FROM request_users
    WHERE user_id IN (SELECT value FROM json_each(OLD.user_ids)) AND number = OLD.number;
END;
