-- DIDs are looked up by digest (16 bytes of SHA-256), as PostgreSQL's are: their own index would
-- hold hundreds of characters an entry, so few a page that it is ten pages deep at a million
-- mailboxes.
CREATE TABLE account_7 (
    id      INTEGER PRIMARY KEY,
    digest  BLOB NOT NULL,
    did     TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT;
INSERT INTO account_7 SELECT id, digest(did), did, created FROM account ORDER BY id;

CREATE TABLE recipient_7 (
    id      INTEGER PRIMARY KEY,
    digest  BLOB NOT NULL,
    did     TEXT NOT NULL,
    account INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
    proven  INTEGER NOT NULL
) STRICT;
INSERT INTO recipient_7 SELECT id, digest(did), did, account, proven FROM recipient ORDER BY id;

-- Foreign keys are off meanwhile, so nothing that refers to these goes with them.
DROP TABLE recipient;
DROP TABLE account;
ALTER TABLE account_7 RENAME TO account;
ALTER TABLE recipient_7 RENAME TO recipient;
CREATE UNIQUE INDEX account_by_digest ON account (digest);
CREATE UNIQUE INDEX recipient_by_digest ON recipient (digest);
CREATE INDEX recipient_of_account ON recipient (account);

-- They went with their table.
CREATE TRIGGER mailbox_opens AFTER INSERT ON recipient BEGIN
    INSERT INTO mailbox (recipient, kind, key, number, size) VALUES (new.id, 0, 0, 0, 0);
END;

CREATE TRIGGER mailbox_closes BEFORE DELETE ON recipient BEGIN
    DELETE FROM queue WHERE id IN (SELECT id FROM waiting WHERE recipient = old.id);
    DELETE FROM mailbox WHERE recipient = old.id;
END;
