-- What a message has to find and to change of its mailbox lies side by side in one tree, so that it
-- touches one page of it however many mailboxes there are: indexes of their own would take a page
-- each. Triggers keep it, whoever writes to the queue; the views below give it names.
CREATE TABLE mailbox (
    recipient INTEGER NOT NULL,
    kind      INTEGER NOT NULL,           -- 0 sums, 1 by id, 2 by digest, 3 by sender
    key       ANY NOT NULL,               -- 0, or what its kind says
    number    INTEGER NOT NULL,           -- how many messages, or the id of this one
    size      INTEGER,
    expires   INTEGER,
    received  INTEGER,
    PRIMARY KEY (recipient, kind, key)
) STRICT, WITHOUT ROWID;

-- The expired that are not yet swept included.
CREATE VIEW sums AS
    SELECT recipient, number AS messages, size AS bytes FROM mailbox WHERE kind = 0 AND key = 0;
CREATE VIEW waiting AS
    SELECT recipient, key AS id, size, expires, received FROM mailbox WHERE kind = 1;
CREATE VIEW equal AS
    SELECT recipient, key AS digest, number AS id FROM mailbox WHERE kind = 2;
CREATE VIEW sent AS
    SELECT recipient, key AS sender, number AS messages FROM mailbox WHERE kind = 3;

INSERT INTO mailbox
    SELECT id, 0, 0, messages, bytes, NULL, NULL FROM recipient
    UNION ALL SELECT recipient, 1, id, id, size, expires, received FROM queue
    UNION ALL SELECT recipient, 2, digest, id, NULL, NULL, NULL FROM queue
    UNION ALL SELECT recipient, 3, sender, count(*), NULL, NULL, NULL FROM queue
        WHERE sender IS NOT NULL GROUP BY recipient, sender;

-- Of all queues, so that nobody has to look at each to tell.
ALTER TABLE counter ADD COLUMN messages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE counter ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE counter SET
    messages = (SELECT coalesce(sum(messages), 0) FROM recipient),
    bytes = (SELECT coalesce(sum(bytes), 0) FROM recipient);
ALTER TABLE recipient DROP COLUMN messages;
ALTER TABLE recipient DROP COLUMN bytes;

-- No foreign key: it would want an index of its own. A trigger deletes the mail of a recipient.
-- Ids go on where they were.
CREATE TABLE queue_6 (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    recipient INTEGER NOT NULL,
    received  INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    size      INTEGER NOT NULL,
    digest    BLOB NOT NULL,              -- of the envelope: equal bytes are stored once
    sender    BLOB,                       -- digest of the DID that proved to have sent the forward
    envelope  BLOB NOT NULL
) STRICT;
INSERT INTO queue_6 SELECT id, recipient, received, expires, size, digest, sender, envelope
    FROM queue ORDER BY id;
DELETE FROM sqlite_sequence WHERE name = 'queue_6';
INSERT INTO sqlite_sequence SELECT 'queue_6', seq FROM sqlite_sequence WHERE name = 'queue';
DROP TABLE queue;
ALTER TABLE queue_6 RENAME TO queue;
CREATE INDEX queue_by_expiry ON queue (expires);

CREATE TRIGGER mailbox_opens AFTER INSERT ON recipient BEGIN
    INSERT INTO mailbox (recipient, kind, key, number, size) VALUES (new.id, 0, 0, 0, 0);
END;

CREATE TRIGGER mailbox_closes BEFORE DELETE ON recipient BEGIN
    DELETE FROM queue WHERE id IN (SELECT id FROM waiting WHERE recipient = old.id);
    DELETE FROM mailbox WHERE recipient = old.id;
END;

CREATE TRIGGER message_comes AFTER INSERT ON queue BEGIN
    INSERT INTO mailbox (recipient, kind, key, number, size, expires, received) VALUES
        (new.recipient, 1, new.id, new.id, new.size, new.expires, new.received),
        (new.recipient, 2, new.digest, new.id, NULL, NULL, NULL);
    UPDATE mailbox SET number = number + 1, size = size + new.size
        WHERE recipient = new.recipient AND kind = 0 AND key = 0;
    UPDATE counter SET messages = messages + 1, bytes = bytes + new.size;
END;

CREATE TRIGGER message_of_known_sender_comes AFTER INSERT ON queue WHEN new.sender IS NOT NULL BEGIN
    INSERT INTO mailbox (recipient, kind, key, number) VALUES (new.recipient, 3, new.sender, 1)
        ON CONFLICT DO UPDATE SET number = number + 1;
END;

CREATE TRIGGER message_stays_longer AFTER UPDATE OF expires ON queue BEGIN
    UPDATE mailbox SET expires = new.expires
        WHERE recipient = new.recipient AND kind = 1 AND key = new.id;
END;

CREATE TRIGGER message_goes AFTER DELETE ON queue BEGIN
    DELETE FROM mailbox WHERE recipient = old.recipient AND kind = 1 AND key = old.id;
    DELETE FROM mailbox WHERE recipient = old.recipient AND kind = 2 AND key = old.digest;
    UPDATE mailbox SET number = number - 1, size = size - old.size
        WHERE recipient = old.recipient AND kind = 0 AND key = 0;
    UPDATE counter SET messages = messages - 1, bytes = bytes - old.size;
END;

CREATE TRIGGER message_of_known_sender_goes AFTER DELETE ON queue WHEN old.sender IS NOT NULL BEGIN
    UPDATE mailbox SET number = number - 1
        WHERE recipient = old.recipient AND kind = 3 AND key = old.sender;
    DELETE FROM mailbox
        WHERE recipient = old.recipient AND kind = 3 AND key = old.sender AND number = 0;
END;
