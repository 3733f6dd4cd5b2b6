-- Whom to tell if a parcel cannot be brought to its target: JSON; NULL if that is not known.
ALTER TABLE parcel ADD COLUMN origin text;

-- Whether the mediator that was started last passes mail on to others; NULL: none was.
ALTER TABLE registration ADD COLUMN passes_on boolean;

DROP FUNCTION add_parcels;

-- False if there is no room: for this target, or at all.
CREATE FUNCTION add_parcels(
    named text, name bytea, into_inbox boolean, due_at bigint, until bigint, hop int,
    from_whom bytea, whom_to_tell text, envelopes bytea[], digests bytea[],
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
        INSERT INTO parcel
            (target, goal, inbox, due, expires, hops, size, digest, sender, origin, envelope)
            SELECT named, name, into_inbox, due_at, until, hop, octet_length(e), d, from_whom,
                   whom_to_tell, e
                FROM unnest(envelopes, digests) WITH ORDINALITY AS letter (e, d, place)
                ORDER BY place
            ON CONFLICT DO NOTHING RETURNING size
    )
    SELECT count(*), coalesce(sum(size), 0) INTO added, more FROM new;
    PERFORM count_up(0, added, more);
END $$;

-- Whose sender is known is left to who carries them: it is told first.
CREATE OR REPLACE FUNCTION expire_parcels(moment bigint, batch int) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
BEGIN
    SELECT array_agg(due.id) INTO ids FROM (
        SELECT p.id FROM parcel p WHERE p.expires <= moment AND p.origin IS NULL
            ORDER BY p.expires LIMIT batch FOR UPDATE SKIP LOCKED
    ) AS due;
    IF ids IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM drop_parcels(ids);
    RETURN cardinality(ids);
END $$;
