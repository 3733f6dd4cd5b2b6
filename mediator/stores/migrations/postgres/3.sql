-- Messages that changed an account: by these bytes it is changed once, whichever process gets them.
CREATE TABLE acted_on (
    who   bytea NOT NULL,                   -- digest of the DID that proved to have sent it
    proof bytea NOT NULL,                   -- digest of what authenticates it
    until bigint NOT NULL,                  -- when it would be refused as too old
    call  bytea NOT NULL,                   -- which noted it: one that is made again is the same
    PRIMARY KEY (who, proof)
);
CREATE INDEX acted_on_by_time ON acted_on (until);

-- Whether it is new; of one sender so many are kept, the newest.
CREATE FUNCTION act_once(
    sender bytea, authentic bytea, last bigint, this bytea, most int
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    noted bytea;
BEGIN
    INSERT INTO acted_on AS a VALUES (sender, authentic, last, this)
        ON CONFLICT (who, proof) DO UPDATE SET call = a.call RETURNING a.call INTO noted;
    DELETE FROM acted_on a WHERE a.who = sender AND a.proof IN (
        SELECT o.proof FROM acted_on o WHERE o.who = sender
            ORDER BY o.until DESC, o.proof OFFSET most
    );
    RETURN noted = this;
END $$;
