-- How the identifiers that are folded were folded (`unicode.FOLD_VERSION`): by another one, opening the store folds them anew.
CREATE TABLE folding (
    version TEXT NOT NULL
) STRICT;

INSERT INTO folding (version) VALUES ('');
