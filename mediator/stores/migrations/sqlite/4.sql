-- Messages that changed an account: by these bytes it is changed once, also after a restart.
CREATE TABLE acted_on (
    who   BLOB NOT NULL,                  -- digest of the DID that proved to have sent it
    proof BLOB NOT NULL,                  -- digest of what authenticates it
    until INTEGER NOT NULL,               -- when it would be refused as too old
    PRIMARY KEY (who, proof)
) STRICT, WITHOUT ROWID;
CREATE INDEX acted_on_by_time ON acted_on (until);
