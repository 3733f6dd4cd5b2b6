-- Mail on its way: to somebody's address, or into an inbox here when its delay is over.

CREATE TABLE parcel (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    target   TEXT NOT NULL,               -- a DID, or the URL of a mediator
    inbox    INTEGER NOT NULL,            -- 1: into the inbox of that DID, here
    due      INTEGER NOT NULL,            -- UTC milliseconds: when it may be tried next
    expires  INTEGER NOT NULL,
    tries    INTEGER NOT NULL DEFAULT 0,
    hops     INTEGER NOT NULL,            -- mediators that passed it on
    size     INTEGER NOT NULL,
    digest   BLOB NOT NULL,
    sender   BLOB,
    envelope BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX parcel_equal ON parcel (target, inbox, digest, size);
CREATE INDEX parcel_by_due ON parcel (due, id);
CREATE INDEX parcel_by_expiry ON parcel (expires);

ALTER TABLE counter ADD COLUMN parcels INTEGER NOT NULL DEFAULT 0;
ALTER TABLE counter ADD COLUMN parcel_bytes INTEGER NOT NULL DEFAULT 0;

-- The key agreement keys of a recipient, as did:key: how a sender may name who it sends to.
CREATE TABLE recipient_key (
    key       TEXT NOT NULL,
    recipient INTEGER NOT NULL REFERENCES recipient ON DELETE CASCADE,
    PRIMARY KEY (key, recipient)
) STRICT, WITHOUT ROWID;
CREATE INDEX recipient_key_of ON recipient_key (recipient);

-- A DID that was left for another, and the time in the signature that said so: older ones are replays.
CREATE TABLE rotation (
    old    TEXT PRIMARY KEY,
    new    TEXT NOT NULL,
    issued INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
