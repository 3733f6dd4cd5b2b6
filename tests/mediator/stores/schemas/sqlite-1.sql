-- Everything a mediator knows, in one file. PRAGMA user_version is the number of this schema.

-- The DIDs the mediator answers to; it shows the one used last. Secrets are JWKs by key id.
CREATE TABLE identity (
    did        TEXT PRIMARY KEY,
    public_url TEXT NOT NULL UNIQUE,
    invitation TEXT NOT NULL,             -- id of its out-of-band invitation
    secrets    TEXT NOT NULL,
    used       INTEGER NOT NULL           -- when a run with its URL last began
) STRICT;

-- Whoever was granted mediation. Every read and every acknowledgement is scoped by one of these.
CREATE TABLE account (
    id      INTEGER PRIMARY KEY,
    did     TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL
) STRICT;

-- A DID that mail may be addressed to. One that was never proven is on probation.
CREATE TABLE recipient (
    id       INTEGER PRIMARY KEY,
    did      TEXT NOT NULL UNIQUE,
    account  INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    proven   INTEGER NOT NULL,
    messages INTEGER NOT NULL DEFAULT 0,  -- of its queue, the expired that are not yet swept included
    bytes    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX recipient_of_account ON recipient (account);

-- AUTOINCREMENT: the id of a message is never used again, or a late acknowledgement would
-- delete another message. Ids rise in the order of commits, so they are the order of delivery.
CREATE TABLE queue (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    recipient INTEGER NOT NULL REFERENCES recipient ON DELETE CASCADE,
    received  INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    digest    BLOB NOT NULL,              -- of the envelope: equal bytes are stored once
    sender    BLOB,                       -- digest of the DID that proved to have sent the forward
    envelope  BLOB NOT NULL
) STRICT;
CREATE INDEX queue_in_order ON queue (recipient, id, expires, size, received);
CREATE UNIQUE INDEX queue_equal ON queue (recipient, digest);
CREATE INDEX queue_by_sender ON queue (recipient, sender) WHERE sender IS NOT NULL;
CREATE INDEX queue_by_expiry ON queue (expires);

-- Mail for nobody is counted, and the count committed, so that it takes as long as mail for somebody.
CREATE TABLE counter (unknown_recipient INTEGER NOT NULL) STRICT;
INSERT INTO counter VALUES (0);
