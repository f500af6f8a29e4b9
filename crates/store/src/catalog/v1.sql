-- Version 1 of the catalog. Integers are 64 bits; times are Unix milliseconds; ids and hashes are blobs.
-- Numbers of states and kinds are fixed here and in the enums of the same name: they never change their meaning.

-- The one row of facts about the store itself.
CREATE TABLE meta (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    store_id    BLOB    NOT NULL,
    -- Drawn at every opening and compared in every write: whoever opened last is the only one that writes.
    instance_id BLOB    NOT NULL,
    -- 1 while a process has the store open; found 1 at opening, that process died.
    is_open     INTEGER NOT NULL,
    -- Grows with every pack intent, commit, trash, purge, condemn, delete and revocation.
    generation  INTEGER NOT NULL,
    -- Grows when garbage collection starts marking.
    epoch       INTEGER NOT NULL,
    -- Grows when packs are condemned and when objects are moved out of a pack.
    condemn_seq INTEGER NOT NULL,
    -- Why nothing may be deleted; set at opening, kept until reindex.
    latch       TEXT,
    created_ms  INTEGER NOT NULL
) STRICT;

CREATE TABLE account (
    account    INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL UNIQUE,
    role       INTEGER NOT NULL,               -- 1 admin, 2 member, 3 read-only
    created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE device (
    device       INTEGER PRIMARY KEY AUTOINCREMENT,
    id           BLOB    NOT NULL UNIQUE,
    account      INTEGER NOT NULL REFERENCES account,
    name         TEXT    NOT NULL,
    token_hash   BLOB    NOT NULL,
    created_ms   INTEGER NOT NULL,
    last_seen_ms INTEGER,
    revoked_ms   INTEGER
) STRICT;
CREATE INDEX device_by_account ON device (account);

CREATE TABLE enrolment (
    secret_hash BLOB    PRIMARY KEY,
    account     INTEGER NOT NULL REFERENCES account,
    device_name TEXT    NOT NULL,
    created_ms  INTEGER NOT NULL,
    expires_ms  INTEGER NOT NULL,
    device      INTEGER REFERENCES device      -- who used it
) STRICT, WITHOUT ROWID;

CREATE TABLE vault (
    vault         INTEGER PRIMARY KEY AUTOINCREMENT,
    id            BLOB    NOT NULL UNIQUE,
    account       INTEGER NOT NULL REFERENCES account,
    name          TEXT    NOT NULL,
    mode          INTEGER NOT NULL,            -- 1 managed, 2 sealed
    created_ms    INTEGER NOT NULL,
    -- The drive's last version number.
    drive_version INTEGER NOT NULL DEFAULT 0,
    UNIQUE (account, name)
) STRICT;

-- Wrapped keys; the store cannot open them.
CREATE TABLE vault_slot (
    vault INTEGER NOT NULL REFERENCES vault,
    slot  INTEGER NOT NULL,
    bytes BLOB    NOT NULL,
    PRIMARY KEY (vault, slot)
) STRICT, WITHOUT ROWID;

-- Snapshots of one device's job.
CREATE TABLE chain (
    chain    INTEGER PRIMARY KEY AUTOINCREMENT,
    vault    INTEGER NOT NULL REFERENCES vault,
    device   INTEGER NOT NULL REFERENCES device,
    name     TEXT    NOT NULL,
    last_seq INTEGER NOT NULL DEFAULT 0,
    UNIQUE (vault, device, name)
) STRICT;

CREATE TABLE pack (
    pack               INTEGER PRIMARY KEY AUTOINCREMENT,
    id                 BLOB    NOT NULL UNIQUE,
    vault              INTEGER NOT NULL REFERENCES vault,
    class              INTEGER NOT NULL,       -- 0 data, 1 metadata
    state              INTEGER NOT NULL,       -- 1 writing, 2 sealed, 3 condemned, 4 deleting, 5 bad
    -- Epoch of the last seal or commit that relied on the pack; garbage collection condemns older ones only.
    touched_epoch      INTEGER NOT NULL,
    condemned_epoch    INTEGER,
    -- meta.condemn_seq when the pack was last condemned, or objects last moved out of it.
    condemn_seq        INTEGER NOT NULL DEFAULT 0,
    created_generation INTEGER NOT NULL,
    bytes              INTEGER NOT NULL DEFAULT 0,
    record_count       INTEGER NOT NULL DEFAULT 0,
    object_count       INTEGER NOT NULL DEFAULT 0,
    -- 0: its rows in `object` are still to be written, at the latest when the store is next opened.
    is_indexed         INTEGER NOT NULL DEFAULT 0,
    hash               BLOB,
    sealed_ms          INTEGER,
    verified_ms        INTEGER
) STRICT;
-- Packs that recovery and garbage collection look for; nearly all packs are sealed.
CREATE INDEX pack_unsealed ON pack (state) WHERE state <> 2;
CREATE INDEX pack_unindexed ON pack (pack) WHERE is_indexed = 0;

-- Where each copy of each object is: marker and record of `len` bytes at `offset`. Ids are cut to 16 bytes, which halves
-- what is written per object. No foreign keys: there is no index by pack to check them with, and none is wanted in a
-- table of this size.
CREATE TABLE object (
    vault   INTEGER NOT NULL,
    half_id BLOB    NOT NULL,
    pack    INTEGER NOT NULL,
    offset  INTEGER NOT NULL,
    len     INTEGER NOT NULL,
    form    INTEGER NOT NULL,                  -- kind (1..4), + 8 as a delta, + 16 damaged
    PRIMARY KEY (vault, half_id, pack, offset)
) STRICT, WITHOUT ROWID;

CREATE TABLE snapshot (
    snapshot       INTEGER PRIMARY KEY AUTOINCREMENT,
    vault          INTEGER NOT NULL REFERENCES vault,
    id             BLOB    NOT NULL,
    chain          INTEGER NOT NULL REFERENCES chain,
    seq            INTEGER NOT NULL,           -- receive order within the chain
    state          INTEGER NOT NULL,           -- 1 live, 2 trash, 3 purged
    received_ms    INTEGER NOT NULL,
    generation     INTEGER NOT NULL,
    bytes_stored   INTEGER NOT NULL,
    objects_stored INTEGER NOT NULL,
    delta_objects  INTEGER NOT NULL,
    UNIQUE (vault, id),
    UNIQUE (chain, seq)
) STRICT;
CREATE INDEX snapshot_by_vault ON snapshot (vault, state);

-- Clients that are writing, or were cut off and may come back. They pin for liveness; nothing relies on them.
CREATE TABLE session (
    session        INTEGER PRIMARY KEY AUTOINCREMENT,
    id             BLOB    NOT NULL UNIQUE,
    vault          INTEGER NOT NULL REFERENCES vault,
    device         INTEGER REFERENCES device,
    chain          INTEGER REFERENCES chain,   -- null: a drive session
    parent         INTEGER REFERENCES snapshot ON DELETE SET NULL,
    started_epoch  INTEGER NOT NULL,
    started_ms     INTEGER NOT NULL,
    last_active_ms INTEGER NOT NULL
) STRICT;

-- Answers already given.
CREATE TABLE idempotency (
    vault        INTEGER NOT NULL REFERENCES vault,
    key          BLOB    NOT NULL,
    request_hash BLOB    NOT NULL,
    response     BLOB    NOT NULL,
    created_ms   INTEGER NOT NULL,
    PRIMARY KEY (vault, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created_ms);

-- Files and directories of the drives. Names are keyed hashes and sealed text.
CREATE TABLE drive_node (
    node        INTEGER PRIMARY KEY AUTOINCREMENT,
    vault       INTEGER NOT NULL REFERENCES vault,
    parent      INTEGER REFERENCES drive_node, -- null: the drive's root
    name_key    BLOB    NOT NULL,
    sealed_name BLOB    NOT NULL,
    is_dir      INTEGER NOT NULL,
    version     INTEGER NOT NULL,              -- of the last change to this node
    created_ms  INTEGER NOT NULL,
    trashed_ms  INTEGER
) STRICT;
CREATE UNIQUE INDEX drive_node_by_name ON drive_node (parent, name_key) WHERE trashed_ms IS NULL;
CREATE UNIQUE INDEX drive_root ON drive_node (vault) WHERE parent IS NULL;
CREATE INDEX drive_trash ON drive_node (vault, trashed_ms) WHERE trashed_ms IS NOT NULL;

-- What a file held, each time it was put. Every row is a root.
CREATE TABLE drive_version (
    node            INTEGER NOT NULL REFERENCES drive_node,
    version         INTEGER NOT NULL,
    content_kind    INTEGER NOT NULL,          -- 0 empty, 1 chunk, 2 list
    content         BLOB,                      -- null when empty
    size            INTEGER NOT NULL,
    sealed_metadata BLOB    NOT NULL,
    device          INTEGER REFERENCES device,
    received_ms     INTEGER NOT NULL,
    generation      INTEGER NOT NULL,
    PRIMARY KEY (node, version)
) STRICT, WITHOUT ROWID;
