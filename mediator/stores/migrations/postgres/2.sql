-- Who may open an account; read anew by a running mediator whenever somebody asks for one.
CREATE TABLE registration (is_open boolean NOT NULL);
INSERT INTO registration VALUES (true);

-- A DID, or how DIDs begin (then with `*` at the end): let in always, or never.
CREATE TABLE rule (
    pattern text PRIMARY KEY,
    allow   boolean NOT NULL,
    created bigint NOT NULL
);

-- Invitations of an operator: whoever follows one may open an account though registration is closed.
CREATE TABLE invitation (
    id      text PRIMARY KEY,               -- a secret: the `pthid` of a mediate-request
    created bigint NOT NULL,
    expires bigint,                         -- NULL: never
    uses    bigint,                         -- how many DIDs may follow it; NULL: any number
    note    text NOT NULL                   -- the operator's own words
);

-- Who followed an invitation; once is enough for one DID, however often it asks.
CREATE TABLE invited (
    invitation text NOT NULL REFERENCES invitation ON DELETE CASCADE,
    name       bytea NOT NULL,              -- digest of the DID
    did        text NOT NULL,
    followed   bigint NOT NULL,
    PRIMARY KEY (invitation, name)
);

-- An account with its bindings and all mail that waits; no row if there is none.
CREATE FUNCTION close_account(name bytea)
RETURNS TABLE (recipients bigint, messages bigint, bytes bigint) LANGUAGE plpgsql AS $$
DECLARE
    closing bigint;
BEGIN
    SELECT id INTO closing FROM account WHERE digest = name;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM lock_accounts(ARRAY[closing]);
    RETURN QUERY
        WITH gone AS (DELETE FROM queue WHERE account = closing RETURNING size)
        SELECT (SELECT count(*) FROM recipient WHERE account = closing),
            count(*), coalesce(sum(size), 0)::bigint FROM gone;
    DELETE FROM account WHERE id = closing;
END $$;

-- Whether a DID may open an account through an invitation; counted once for each DID.
CREATE FUNCTION follow_invitation(
    wanted text, follower bytea, follower_did text, moment bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    found_one invitation;
BEGIN
    SELECT * INTO found_one FROM invitation WHERE id = wanted FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF EXISTS (SELECT 1 FROM invited WHERE invitation = wanted AND name = follower) THEN
        RETURN true;
    END IF;
    IF found_one.expires <= moment OR found_one.uses <=
            (SELECT count(*) FROM invited WHERE invitation = wanted) THEN
        RETURN false;
    END IF;
    INSERT INTO invited VALUES (wanted, follower, follower_did, moment);
    RETURN true;
END $$;
