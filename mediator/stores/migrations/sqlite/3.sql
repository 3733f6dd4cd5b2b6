-- Who may open an account; read anew by a running mediator whenever somebody asks for one.
CREATE TABLE registration (is_open INTEGER NOT NULL) STRICT;
INSERT INTO registration VALUES (1);

-- A DID, or how DIDs begin (then with `*` at the end): let in always, or never.
CREATE TABLE rule (
    pattern TEXT PRIMARY KEY,
    allow   INTEGER NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Invitations of an operator: whoever follows one may open an account though registration is closed.
CREATE TABLE invitation (
    id      TEXT PRIMARY KEY,             -- a secret: the `pthid` of a mediate-request
    created INTEGER NOT NULL,
    expires INTEGER,                      -- NULL: never
    uses    INTEGER,                      -- how many DIDs may follow it; NULL: any number
    note    TEXT NOT NULL                 -- the operator's own words
) STRICT, WITHOUT ROWID;

-- Who followed an invitation; once is enough for one DID, however often it asks.
CREATE TABLE invited (
    invitation TEXT NOT NULL REFERENCES invitation ON DELETE CASCADE,
    did        TEXT NOT NULL,
    followed   INTEGER NOT NULL,
    PRIMARY KEY (invitation, did)
) STRICT, WITHOUT ROWID;
