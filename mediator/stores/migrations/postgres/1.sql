-- Everything a mediator knows, for any number of mediator processes. One row of `version` is the
-- number of the last migration. DIDs are looked up by digest (16 bytes of SHA-256): their own
-- length, up to 4 kB, would not fit into an index.

-- The DIDs the mediator answers to; it shows the one used last. Secrets are JWKs by key id.
CREATE TABLE identity (
    number     bigint GENERATED ALWAYS AS IDENTITY,
    did        text PRIMARY KEY,
    public_url text NOT NULL UNIQUE,
    invitation text NOT NULL,               -- id of its out-of-band invitation
    secrets    text NOT NULL,
    used       bigint NOT NULL              -- when a run with its URL last began
);

-- Whoever was granted mediation. Every read and every acknowledgement is scoped by one of these.
CREATE TABLE account (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest  bytea NOT NULL UNIQUE,
    did     text NOT NULL,
    created bigint NOT NULL
);

-- A DID that mail may be addressed to. One that was never proven is on probation. The sums are of
-- its queue, the expired that are not yet swept included; room is left so that changing them
-- touches no index.
CREATE TABLE recipient (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest   bytea NOT NULL UNIQUE,
    did      text NOT NULL,
    account  bigint NOT NULL REFERENCES account ON DELETE CASCADE,
    proven   boolean NOT NULL,
    messages int NOT NULL DEFAULT 0,
    bytes    bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 80);
CREATE INDEX recipient_of_account ON recipient (account);

-- The key agreement keys of a recipient, as did:key: how a sender may name who it sends to.
CREATE TABLE recipient_key (
    key       bytea NOT NULL,               -- its digest
    did       text NOT NULL,
    recipient bigint NOT NULL REFERENCES recipient ON DELETE CASCADE,
    PRIMARY KEY (key, recipient)
);
CREATE INDEX recipient_key_of ON recipient_key (recipient);

-- A DID that was left for another, and the time in the signature that said so: older are replays.
CREATE TABLE rotation (
    old    bytea PRIMARY KEY,               -- its digest
    did    text NOT NULL,
    new    text NOT NULL,
    issued bigint NOT NULL
);

-- Ids are given under the account's lock, so for one account they rise in the order of commits;
-- a sequence gives none twice. Mail is partitioned by account, since every access but expiry names
-- one; eight are few enough that a statement locks all without leaving the fast path. No foreign
-- key: whoever deletes a recipient holds the lock and deletes its mail.
CREATE SEQUENCE queue_id;
CREATE TABLE queue (
    account   bigint NOT NULL,
    id        bigint NOT NULL DEFAULT nextval('queue_id'),
    recipient bigint NOT NULL,
    received  bigint NOT NULL,
    expires   bigint NOT NULL,
    size      int NOT NULL,
    digest    bytea NOT NULL,               -- of the envelope: equal bytes are stored once
    sender    bytea,                        -- digest of the DID that proved to have sent the forward
    envelope  bytea NOT NULL,
    PRIMARY KEY (account, id)
) PARTITION BY HASH (account);
ALTER TABLE queue ALTER envelope SET STORAGE EXTERNAL;  -- sealed bytes do not get smaller
CREATE UNIQUE INDEX queue_equal ON queue (account, recipient, digest);
CREATE INDEX queue_by_sender ON queue (account, recipient, sender) WHERE sender IS NOT NULL;
CREATE INDEX queue_by_expiry ON queue (expires);
DO $$
BEGIN
    FOR part IN 0 .. 7 LOOP
        EXECUTE format('CREATE TABLE queue_%s PARTITION OF queue FOR VALUES'
                       ' WITH (MODULUS 8, REMAINDER %s)'
                       ' WITH (autovacuum_vacuum_scale_factor = 0.05)', part, part);
    END LOOP;
END $$;

-- Mail on its way: to somebody's address, or into an inbox here when its delay is over.
CREATE TABLE parcel (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target   text NOT NULL,                 -- a DID, or the URL of a mediator
    goal     bytea NOT NULL,                -- digest of the target
    inbox    boolean NOT NULL,              -- into the inbox of that DID, here
    due      bigint NOT NULL,               -- UTC milliseconds: when it may be tried next
    expires  bigint NOT NULL,
    tries    int NOT NULL DEFAULT 0,
    hops     int NOT NULL,                  -- mediators that passed it on
    size     int NOT NULL,
    digest   bytea NOT NULL,
    sender   bytea,
    envelope bytea NOT NULL
);
ALTER TABLE parcel ALTER envelope SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX parcel_equal ON parcel (goal, inbox, digest);
CREATE INDEX parcel_by_due ON parcel (due, id);
CREATE INDEX parcel_by_expiry ON parcel (expires);

-- Mail for nobody is counted, and the count committed, so that it takes as long as mail for
-- somebody. A sum is that of all rows: processes do not wait for each other to count.
CREATE TABLE counter (
    slot              int PRIMARY KEY,
    unknown_recipient bigint NOT NULL DEFAULT 0,
    parcels           bigint NOT NULL DEFAULT 0,
    parcel_bytes      bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE FUNCTION count_up(unknown bigint, packed bigint, packed_bytes bigint) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO counter AS c VALUES (pg_backend_pid() % 64, unknown, packed, packed_bytes)
        ON CONFLICT (slot) DO UPDATE SET
            unknown_recipient = c.unknown_recipient + excluded.unknown_recipient,
            parcels = c.parcels + excluded.parcels,
            parcel_bytes = c.parcel_bytes + excluded.parcel_bytes;
$$;

-- Whoever changes what an account has holds its lock until the commit is visible. All locks are
-- taken before anything else and in the order of ids, so nobody waits in a circle.
CREATE FUNCTION lock_accounts(owners bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    owner bigint;
BEGIN
    FOR owner IN SELECT DISTINCT o FROM unnest(owners) AS o WHERE o IS NOT NULL ORDER BY o LOOP
        PERFORM pg_advisory_xact_lock(owner);
    END LOOP;
END $$;

-- What was read before the locks were there is no longer so: the caller does it all again.
CREATE FUNCTION again() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'another process was faster' USING ERRCODE = 'serialization_failure';
END $$;

-- By the digest of its DID, or of a key that its DID has; no row if there is none.
CREATE FUNCTION find_recipient(name bytea) RETURNS SETOF recipient LANGUAGE plpgsql STABLE
ROWS 1 AS $$
BEGIN
    RETURN QUERY SELECT * FROM recipient r WHERE r.digest = name;
    IF NOT FOUND THEN
        RETURN QUERY SELECT r.* FROM recipient_key k JOIN recipient r ON r.id = k.recipient
            WHERE k.key = name ORDER BY r.proven DESC, r.id LIMIT 1;
    END IF;
END $$;

-- A group of forwards, one row of answer each: queued, nobody, inbox full or sender limit.
-- Request n owns the next counts[n] of the envelopes, and queues all of them or none.
CREATE FUNCTION enqueue(
    mailboxes bytea[], counts int[], senders bytea[], expiries bigint[],
    envelopes bytea[], digests bytea[],
    moment bigint, max_messages int, max_bytes bigint, max_of_sender int
) RETURNS TABLE (outcome text, told text, there int, there_bytes bigint) LANGUAGE plpgsql AS $$
DECLARE
    locked  bigint[];
    box     record;
    first   int;
    last    int := 0;
    fresh   int;
    added   int;
    more    bigint;
    nobody  int := 0;
    news    text := '';
BEGIN
    SELECT array_agg(f.account) INTO locked
        FROM unnest(mailboxes) AS m (name), find_recipient(m.name) AS f;
    PERFORM lock_accounts(locked);
    FOR n IN 1 .. cardinality(mailboxes) LOOP
        first := last + 1;
        last := last + counts[n];
        SELECT r.id, r.account, r.messages, r.bytes, a.did INTO box
            FROM recipient r JOIN account a ON a.id = r.account WHERE r.digest = mailboxes[n];
        IF NOT FOUND THEN
            SELECT r.id, r.account, r.messages, r.bytes, a.did INTO box
                FROM find_recipient(mailboxes[n]) AS r JOIN account a ON a.id = r.account;
        END IF;
        IF NOT FOUND THEN
            nobody := nobody + 1;
            outcome := 'nobody'; told := NULL; there := 0; there_bytes := 0;
            RETURN NEXT;
            CONTINUE;
        END IF;
        IF locked IS NULL OR box.account <> ALL (locked) THEN
            PERFORM again();
        END IF;
        more := 0;
        FOR letter IN first .. last LOOP
            more := more + octet_length(envelopes[letter]);
        END LOOP;
        outcome := 'queued'; told := box.did;
        IF box.messages + counts[n] > max_messages OR box.bytes + more > max_bytes THEN
            DELETE FROM queue q
                WHERE q.account = box.account AND q.recipient = box.id AND q.expires <= moment;
            SELECT count(*), coalesce(sum(q.size), 0) INTO box.messages, box.bytes
                FROM queue q WHERE q.account = box.account AND q.recipient = box.id;
            UPDATE recipient r SET messages = box.messages, bytes = box.bytes WHERE r.id = box.id;
            SELECT count(*), coalesce(sum(octet_length(envelopes[l])), 0) INTO fresh, more
                FROM generate_series(first, last) AS l
                WHERE NOT EXISTS (SELECT FROM queue q WHERE q.account = box.account
                                  AND q.recipient = box.id AND q.digest = digests[l]);
            IF fresh > 0
               AND (box.messages + fresh > max_messages OR box.bytes + more > max_bytes) THEN
                outcome := 'inbox full';
            END IF;
        END IF;
        there := box.messages; there_bytes := box.bytes;
        IF outcome = 'queued' AND senders[n] IS NOT NULL THEN
            SELECT count(*) INTO there FROM queue q
                WHERE q.account = box.account AND q.recipient = box.id AND q.sender = senders[n];
            SELECT count(*) INTO fresh FROM generate_series(first, last) AS l
                WHERE there + counts[n] > max_of_sender
                AND NOT EXISTS (SELECT FROM queue q WHERE q.account = box.account
                                AND q.recipient = box.id AND q.digest = digests[l]);
            IF there + counts[n] > max_of_sender AND there + fresh > max_of_sender THEN
                outcome := 'sender limit';
            END IF;
        END IF;
        IF outcome = 'queued' THEN
            SELECT i.added, i.more INTO added, more
                FROM insert_letters(box.account, box.id, senders[n], expiries[n], moment,
                                    envelopes[first:last], digests[first:last]) AS i;
            IF added > 0 THEN
                UPDATE recipient r SET messages = r.messages + added, bytes = r.bytes + more
                    WHERE r.id = box.id;
            END IF;
            -- A notification has less than 8000 bytes.
            IF position(E'\n' || box.did || E'\n' IN E'\n' || news) = 0 THEN
                IF octet_length(news) + octet_length(box.did) > 7900 THEN
                    PERFORM pg_notify('mediator_mail', news);
                    news := '';
                END IF;
                news := news || box.did || E'\n';
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
    IF nobody > 0 THEN
        PERFORM count_up(nobody, 0, 0);
    END IF;
    IF news <> '' THEN
        PERFORM pg_notify('mediator_mail', news);
    END IF;
END $$;

-- What was not there yet, in its order. What is there is kept at least as long as wanted now; if
-- its time was over it is queued anew.
CREATE FUNCTION insert_letters(
    owner bigint, box bigint, from_whom bytea, until bigint, moment bigint,
    letters bytea[], digests bytea[], OUT added int, OUT more bigint
) LANGUAGE plpgsql AS $$
DECLARE
    old record;
BEGIN
    added := 0;
    more := 0;
    FOR n IN 1 .. cardinality(letters) LOOP
        INSERT INTO queue (account, recipient, received, expires, size, digest, sender, envelope)
            VALUES (owner, box, moment, until, octet_length(letters[n]), digests[n], from_whom,
                    letters[n])
            ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            DELETE FROM queue q WHERE q.account = owner AND q.recipient = box
                AND q.digest = digests[n] AND q.expires <= moment;
            IF NOT FOUND THEN
                UPDATE queue q SET expires = until WHERE q.account = owner AND q.recipient = box
                    AND q.digest = digests[n] AND q.expires < until;
                CONTINUE;
            END IF;
            added := added - 1;
            more := more - octet_length(letters[n]);
            INSERT INTO queue (account, recipient, received, expires, size, digest, sender, envelope)
                VALUES (owner, box, moment, until, octet_length(letters[n]), digests[n], from_whom,
                        letters[n]);
        END IF;
        added := added + 1;
        more := more + octet_length(letters[n]);
    END LOOP;
END $$;

CREATE FUNCTION acknowledge(owner bytea, ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    mine bigint;
BEGIN
    SELECT a.id INTO mine FROM account a WHERE a.digest = owner;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM lock_accounts(ARRAY[mine]);
    WITH gone AS (
        DELETE FROM queue q WHERE q.account = mine AND q.id = ANY (ids) RETURNING q.recipient, q.size
    ), sums AS (
        SELECT recipient, count(*) AS messages, sum(size) AS bytes FROM gone GROUP BY recipient
    )
    UPDATE recipient r SET messages = r.messages - s.messages, bytes = r.bytes - s.bytes
        FROM sums s WHERE r.id = s.recipient;
END $$;

-- A batch of what is over, of the accounts that nobody works at just now; never waits for anybody.
CREATE FUNCTION expire(moment bigint, batch int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    owners bigint[];
    ids    bigint[];
    free   bigint[];
    gone   int;
BEGIN
    SELECT array_agg(due.account), array_agg(due.id) INTO owners, ids FROM (
        SELECT q.account, q.id FROM queue q WHERE q.expires <= moment
            ORDER BY q.expires LIMIT batch FOR UPDATE SKIP LOCKED
    ) AS due;
    IF ids IS NULL THEN
        RETURN 0;
    END IF;
    SELECT array_agg(owner) INTO free FROM (SELECT DISTINCT unnest(owners) AS owner) AS o
        WHERE pg_try_advisory_xact_lock(owner);
    WITH gone AS (
        DELETE FROM queue q USING unnest(owners, ids) AS due (account, id)
            WHERE due.account = ANY (free) AND q.account = due.account AND q.id = due.id
            RETURNING q.recipient, q.size
    ), sums AS (
        SELECT recipient, count(*) AS messages, sum(size) AS bytes FROM gone GROUP BY recipient
    ), changed AS (
        UPDATE recipient r SET messages = r.messages - s.messages, bytes = r.bytes - s.bytes
            FROM sums s WHERE r.id = s.recipient
    )
    SELECT count(*) INTO gone FROM gone;
    RETURN gone;
END $$;

-- The recipient and all its mail go from one account to another; the locks of both are held.
CREATE FUNCTION move_recipient(box bigint, giver bigint, taker bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE recipient r SET account = taker, proven = true WHERE r.id = box;
    IF giver <> taker THEN
        UPDATE queue q SET account = taker WHERE q.account = giver AND q.recipient = box;
    END IF;
END $$;

CREATE FUNCTION open_account(owner bytea, named text, moment bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    mine bigint;
    box  record;
    seen bigint;
BEGIN
    INSERT INTO account (digest, did, created) VALUES (owner, named, moment) ON CONFLICT DO NOTHING;
    SELECT r.account INTO seen FROM recipient r WHERE r.digest = owner AND NOT r.proven;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT a.id INTO mine FROM account a WHERE a.digest = owner;
    PERFORM lock_accounts(ARRAY[mine, seen]);
    SELECT r.id, r.account, r.proven INTO box FROM recipient r WHERE r.digest = owner;
    IF box.account IS DISTINCT FROM seen THEN
        PERFORM again();
    END IF;
    IF NOT box.proven THEN
        PERFORM move_recipient(box.id, box.account, mine);
    END IF;
END $$;

CREATE FUNCTION bind(
    owner bytea, name bytea, named text, is_proven boolean, keys bytea[], key_dids text[],
    max_recipients int,
    OUT change text, OUT bound int
) LANGUAGE plpgsql AS $$
DECLARE
    mine bigint;
    box  record;
    seen bigint;
BEGIN
    SELECT a.id INTO mine FROM account a WHERE a.digest = owner;
    IF NOT FOUND THEN
        change := 'client_error';
        RETURN;
    END IF;
    SELECT r.account INTO seen FROM recipient r WHERE r.digest = name;
    PERFORM lock_accounts(ARRAY[mine, seen]);
    SELECT r.id, r.account, r.proven INTO box FROM recipient r WHERE r.digest = name;
    IF box.account IS DISTINCT FROM seen
       OR NOT EXISTS (SELECT FROM account a WHERE a.id = mine AND a.digest = owner) THEN
        PERFORM again();
    END IF;
    IF seen IS NULL THEN
        SELECT count(*) INTO bound FROM recipient r WHERE r.account = mine;
        IF bound >= max_recipients THEN
            change := 'full';
            RETURN;
        END IF;
        INSERT INTO recipient (digest, did, account, proven) VALUES (name, named, mine, is_proven)
            ON CONFLICT DO NOTHING RETURNING id INTO box.id;
        IF NOT FOUND THEN
            PERFORM again();
        END IF;
        INSERT INTO recipient_key (key, did, recipient)
            SELECT k.key, k.did, box.id FROM unnest(keys, key_dids) AS k (key, did)
            ON CONFLICT DO NOTHING;
        change := 'success';
    ELSIF seen <> mine AND NOT is_proven THEN
        change := 'client_error';
    ELSE
        change := CASE WHEN seen = mine THEN 'no_change' ELSE 'success' END;
        IF is_proven THEN
            PERFORM move_recipient(box.id, seen, mine);
        END IF;
    END IF;
END $$;

CREATE FUNCTION unbind(owner bytea, name bytea) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    mine bigint;
    box  bigint;
BEGIN
    SELECT a.id INTO mine FROM account a WHERE a.digest = owner;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM lock_accounts(ARRAY[mine]);
    SELECT r.id INTO box FROM recipient r WHERE r.digest = name AND r.account = mine;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM queue q WHERE q.account = mine AND q.recipient = box;
    DELETE FROM recipient r WHERE r.id = box;
    RETURN true;
END $$;

-- An account goes from one DID to another, and into the account that the other may have.
CREATE FUNCTION rotate(
    old_name bytea, old_did text, new_name bytea, new_did text, signed bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    mine  bigint;
    there bigint;
    box   record;
BEGIN
    SELECT a.id INTO mine FROM account a WHERE a.digest = old_name;
    SELECT a.id INTO there FROM account a WHERE a.digest = new_name;
    SELECT r.account INTO box FROM recipient r WHERE r.digest = new_name AND NOT r.proven;
    PERFORM lock_accounts(ARRAY[mine, there, box.account]);
    IF mine IS NULL
       OR EXISTS (SELECT FROM rotation r WHERE r.old = old_name AND r.issued >= signed) THEN
        RETURN false;
    END IF;
    IF mine IS DISTINCT FROM (SELECT a.id FROM account a WHERE a.digest = old_name)
       OR there IS DISTINCT FROM (SELECT a.id FROM account a WHERE a.digest = new_name) THEN
        PERFORM again();
    END IF;
    INSERT INTO rotation VALUES (old_name, old_did, new_did, signed)
        ON CONFLICT (old) DO UPDATE SET new = excluded.new, issued = excluded.issued;
    IF there IS NULL THEN
        UPDATE account a SET did = new_did, digest = new_name WHERE a.id = mine;
        there := mine;
    ELSE
        UPDATE recipient r SET account = there WHERE r.account = mine;
        UPDATE queue q SET account = there WHERE q.account = mine;
        DELETE FROM account a WHERE a.id = mine;
    END IF;
    SELECT r.id, r.account INTO box FROM recipient r WHERE r.digest = new_name AND NOT r.proven;
    IF FOUND THEN
        PERFORM move_recipient(box.id, box.account, there);
    END IF;
    RETURN true;
EXCEPTION WHEN unique_violation THEN
    PERFORM again();
END $$;

-- False if there is no room: for this target, or at all.
CREATE FUNCTION add_parcels(
    named text, name bytea, into_inbox boolean, due_at bigint, until bigint, hop int,
    from_whom bytea, envelopes bytea[], digests bytea[],
    max_parcels bigint, max_bytes bigint, max_of_target int, max_bytes_of_target bigint,
    OUT kept boolean, OUT there bigint
) LANGUAGE plpgsql AS $$
DECLARE
    total bigint;
    added bigint;
    more  bigint;
BEGIN
    SELECT coalesce(sum(octet_length(e)), 0) INTO more FROM unnest(envelopes) AS e;
    SELECT coalesce(sum(c.parcels), 0), coalesce(sum(c.parcel_bytes), 0) INTO there, total
        FROM counter c;
    kept := there + cardinality(envelopes) <= max_parcels AND total + more <= max_bytes;
    IF NOT kept THEN
        RETURN;
    END IF;
    SELECT count(*), coalesce(sum(p.size), 0) INTO there, total
        FROM parcel p WHERE p.goal = name AND p.inbox = into_inbox;
    kept := there + cardinality(envelopes) <= max_of_target AND total + more <= max_bytes_of_target;
    IF NOT kept THEN
        RETURN;
    END IF;
    WITH new AS (
        INSERT INTO parcel (target, goal, inbox, due, expires, hops, size, digest, sender, envelope)
            SELECT named, name, into_inbox, due_at, until, hop, octet_length(e), d, from_whom, e
                FROM unnest(envelopes, digests) WITH ORDINALITY AS letter (e, d, place)
                ORDER BY place
            ON CONFLICT DO NOTHING RETURNING size
    )
    SELECT count(*), coalesce(sum(size), 0) INTO added, more FROM new;
    PERFORM count_up(0, added, more);
END $$;

CREATE FUNCTION drop_parcels(ids bigint[]) RETURNS void LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM parcel p WHERE p.id = ANY (ids) RETURNING p.size)
    SELECT count_up(0, -count(*), -coalesce(sum(size), 0)) FROM gone;
$$;

CREATE FUNCTION expire_parcels(moment bigint, batch int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
BEGIN
    SELECT array_agg(due.id) INTO ids FROM (
        SELECT p.id FROM parcel p WHERE p.expires <= moment
            ORDER BY p.expires LIMIT batch FOR UPDATE SKIP LOCKED
    ) AS due;
    IF ids IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM drop_parcels(ids);
    RETURN cardinality(ids);
END $$;

-- Into the inbox of its target, or it stays where it is; no row if it is gone.
CREATE FUNCTION deliver_parcel(
    parcel_id bigint, moment bigint, max_messages int, max_bytes bigint, max_of_sender int
) RETURNS TABLE (outcome text, told text, there int, there_bytes bigint) LANGUAGE plpgsql AS $$
DECLARE
    one parcel;
BEGIN
    SELECT * INTO one FROM parcel p WHERE p.id = parcel_id FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT e.* INTO outcome, told, there, there_bytes FROM enqueue(
        ARRAY[one.goal], ARRAY[1], ARRAY[one.sender], ARRAY[one.expires],
        ARRAY[one.envelope], ARRAY[one.digest],
        moment, max_messages, max_bytes, max_of_sender
    ) AS e;
    IF outcome IN ('queued', 'nobody') THEN
        PERFORM drop_parcels(ARRAY[parcel_id]);
    END IF;
    RETURN NEXT;
END $$;
