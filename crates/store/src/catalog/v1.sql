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
    created_ms  INTEGER NOT NULL,
    -- The clock as it was last believed: on the wall, and since the boot of this id. Null before the first look.
    clock_ms      INTEGER,
    clock_boot_ms INTEGER,
    clock_boot_id BLOB,
    -- Why the clock is not believed, until somebody confirms it; meanwhile nothing is deleted by age.
    clock_doubt   TEXT
) STRICT;

CREATE TABLE account (
    account     INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL UNIQUE,
    role        INTEGER NOT NULL,              -- 1 admin, 2 member, 3 read-only
    created_ms  INTEGER NOT NULL,
    password    TEXT,                          -- hashed, as a PHC string; null: no password opens it
    disabled_ms INTEGER,                       -- since when nobody gets in by it
    quota_bytes INTEGER                        -- most bytes its packs may take; null: as many as there are
) STRICT;

-- Codes that change with the time, asked for beside the password. Their secret is made of the salt and the master key.
CREATE TABLE second_factor (
    account      INTEGER PRIMARY KEY REFERENCES account,
    salt         BLOB    NOT NULL,
    confirmed_ms INTEGER,                      -- null: nobody has shown a code yet, so none is asked for
    last_step    INTEGER NOT NULL DEFAULT 0    -- of the last code that was taken: it and older ones are void
) STRICT;

-- What stands in for a code, once each.
CREATE TABLE recovery_code (
    account   INTEGER NOT NULL REFERENCES account,
    code_hash BLOB    NOT NULL,
    PRIMARY KEY (account, code_hash)
) STRICT, WITHOUT ROWID;

-- Browsers that are logged in.
CREATE TABLE web_session (
    secret_hash  BLOB    PRIMARY KEY,
    id           BLOB    NOT NULL UNIQUE,
    account      INTEGER NOT NULL REFERENCES account,
    created_ms   INTEGER NOT NULL,
    last_seen_ms INTEGER NOT NULL,             -- to the minute or so
    address      TEXT    NOT NULL,             -- at the login
    agent        TEXT    NOT NULL              -- what the browser calls itself
) STRICT, WITHOUT ROWID;
CREATE INDEX web_session_by_account ON web_session (account);

-- Who has the link of an account sets its name and password, once. A new link voids the one before.
CREATE TABLE setup_link (
    account     INTEGER PRIMARY KEY REFERENCES account,
    secret_hash BLOB    NOT NULL UNIQUE,
    created_ms  INTEGER NOT NULL,
    expires_ms  INTEGER NOT NULL
) STRICT;

-- What was done, by whom and to what. Rows are added, never changed, and go only when they are old.
CREATE TABLE audit (
    entry   INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms   INTEGER NOT NULL,
    actor   TEXT    NOT NULL,                  -- an account's name as it was then, or empty: the server, or a command
    means   TEXT    NOT NULL,                  -- how they were known: session, password, token, link, device, command, server
    address TEXT    NOT NULL,                  -- where they came from; empty when that is here
    event   TEXT    NOT NULL,
    subject TEXT    NOT NULL,                  -- what it was done to
    detail  TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_by_event ON audit (event, entry);
CREATE TRIGGER audit_is_final BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit log is never changed');
END;
-- 400 days.
CREATE TRIGGER audit_stays BEFORE DELETE ON audit
WHEN OLD.at_ms > (SELECT max(at_ms) FROM audit) - 34560000000 BEGIN
    SELECT RAISE(ABORT, 'the audit log keeps what is not old');
END;

-- What scripts log in with by HTTP.
CREATE TABLE api_token (
    token        INTEGER PRIMARY KEY AUTOINCREMENT,
    id           BLOB    NOT NULL UNIQUE,
    account      INTEGER NOT NULL REFERENCES account,
    name         TEXT    NOT NULL,
    token_hash   BLOB    NOT NULL,
    scope        INTEGER NOT NULL,             -- 1 put-only, 2 read, 3 restore, 4 admin
    created_ms   INTEGER NOT NULL,
    expires_ms   INTEGER,
    last_used_ms INTEGER,
    revoked_ms   INTEGER,
    is_suspended INTEGER NOT NULL DEFAULT 0    -- as of devices
) STRICT;
CREATE INDEX api_token_by_account ON api_token (account);

CREATE TABLE device (
    device       INTEGER PRIMARY KEY AUTOINCREMENT,
    id           BLOB    NOT NULL UNIQUE,
    account      INTEGER NOT NULL REFERENCES account,
    name         TEXT    NOT NULL,
    token_hash   BLOB    NOT NULL,
    scope        INTEGER NOT NULL,             -- 1 put-only, 2 read, 3 restore, 4 admin
    created_ms   INTEGER NOT NULL,
    last_seen_ms INTEGER,
    revoked_ms   INTEGER,
    -- 1: its token was in a catalog older than what was acknowledged, and may have been revoked since; void until an
    -- administrator confirms it.
    is_suspended INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX device_by_account ON device (account);

CREATE TABLE enrolment (
    secret_hash BLOB    PRIMARY KEY,
    account     INTEGER NOT NULL REFERENCES account,
    device_name TEXT    NOT NULL,
    scope       INTEGER NOT NULL,
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
    -- When, and with which generation: grace is counted from the one, catalog backups are compared with the other.
    condemned_ms       INTEGER,
    condemned_generation INTEGER,
    -- meta.condemn_seq when the pack was last condemned, or objects last moved out of it.
    condemn_seq        INTEGER NOT NULL DEFAULT 0,
    created_generation INTEGER NOT NULL,
    bytes              INTEGER NOT NULL DEFAULT 0,
    record_count       INTEGER NOT NULL DEFAULT 0,
    object_count       INTEGER NOT NULL DEFAULT 0,
    -- 0: its rows in `object` are still to be written, at the latest when the store is next opened.
    is_indexed         INTEGER NOT NULL DEFAULT 0,
    -- 1: garbage collection let go of copies in it, in favour of others: they stand in the file, and not in `object`.
    has_let_go         INTEGER NOT NULL DEFAULT 0,
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
-- Copies known to be damaged: few, and asked for whenever a session begins.
CREATE INDEX object_damaged ON object (vault, half_id) WHERE form >= 16;

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
    held_ms        INTEGER,                    -- since when nothing may take it away
    trashed_ms     INTEGER,                    -- since when it is in the trash
    -- Generation of the last change of state or hold: such changes stand in the ledger, too. 0: as it was committed.
    changed_generation INTEGER NOT NULL DEFAULT 0,
    UNIQUE (vault, id),
    UNIQUE (chain, seq)
) STRICT;
CREATE INDEX snapshot_by_vault ON snapshot (vault, state);
CREATE INDEX snapshot_trash ON snapshot (trashed_ms) WHERE state = 2;
CREATE INDEX snapshot_changed ON snapshot (changed_generation) WHERE changed_generation > 0;

-- Snapshots that somebody is restoring: roots of garbage collection, also when they are purged meanwhile.
CREATE TABLE pin (
    holder    BLOB    NOT NULL,                -- the connection
    snapshot  INTEGER NOT NULL REFERENCES snapshot ON DELETE CASCADE,
    device    INTEGER NOT NULL REFERENCES device,
    pinned_ms INTEGER NOT NULL,
    PRIMARY KEY (holder, snapshot)
) STRICT, WITHOUT ROWID;
CREATE INDEX pin_by_snapshot ON pin (snapshot);

-- What clients found when they restored a sample of a snapshot.
CREATE TABLE drill (
    snapshot    INTEGER NOT NULL REFERENCES snapshot ON DELETE CASCADE,
    reported_ms INTEGER NOT NULL,
    files       INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    problems    INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    PRIMARY KEY (snapshot, reported_ms)
) STRICT, WITHOUT ROWID;

-- What stays of each chain, in the words of the server; chain 0 is for those without a policy of their own.
CREATE TABLE retention (
    chain  INTEGER PRIMARY KEY,
    policy TEXT    NOT NULL
) STRICT;

-- Chains of which a snapshot keeps unusually little of the one before: nothing older than it goes until somebody confirms
-- the change.
CREATE TABLE alarm (
    chain     INTEGER PRIMARY KEY REFERENCES chain,
    seq       INTEGER NOT NULL,                -- of the last such snapshot
    snapshot  BLOB    NOT NULL,                -- its object
    raised_ms INTEGER NOT NULL,
    what      TEXT    NOT NULL                 -- what is unusual about it, in the words of the server
) STRICT;

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

-- Requests of accounts that named themselves with a key, and how they were answered.
CREATE TABLE request (
    account       INTEGER NOT NULL REFERENCES account,
    key           BLOB    NOT NULL,
    request_hash  BLOB    NOT NULL,
    sealed_answer BLOB,                        -- null: it was begun, and not answered
    created_ms    INTEGER NOT NULL,
    PRIMARY KEY (account, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_by_age ON request (account, created_ms);

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
    trashed_ms  INTEGER,
    -- The drive's version since which it is where it is, under this name, in the trash or not.
    placed      INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX drive_node_by_name ON drive_node (parent, name_key) WHERE trashed_ms IS NULL;
CREATE INDEX drive_node_by_parent ON drive_node (parent);
CREATE UNIQUE INDEX drive_root ON drive_node (vault) WHERE parent IS NULL;
CREATE INDEX drive_node_by_change ON drive_node (vault, max(placed, version));
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
CREATE INDEX drive_version_by_size ON drive_version (size);

-- What clients want to be remembered of a file or directory, for nobody but themselves.
CREATE TABLE drive_property (
    node   INTEGER PRIMARY KEY REFERENCES drive_node,
    vault  INTEGER NOT NULL REFERENCES vault,
    sealed BLOB    NOT NULL                     -- all of it, as the caller sealed it
) STRICT;
CREATE INDEX drive_property_by_vault ON drive_property (vault);

-- Links with which people without an account get at one file or folder, or put files into one.
CREATE TABLE share (
    share        INTEGER PRIMARY KEY AUTOINCREMENT,
    id           BLOB    NOT NULL UNIQUE,
    account      INTEGER NOT NULL REFERENCES account,
    vault        INTEGER NOT NULL REFERENCES vault,
    node         INTEGER NOT NULL REFERENCES drive_node ON DELETE CASCADE,
    kind         INTEGER NOT NULL,             -- 1 to download, 2 to upload
    token_hash   BLOB    NOT NULL UNIQUE,
    password     TEXT,                         -- hash of what is asked for beside the link
    created_ms   INTEGER NOT NULL,
    expires_ms   INTEGER,
    last_used_ms INTEGER,
    revoked_ms   INTEGER,
    uses         INTEGER NOT NULL DEFAULT 0,   -- downloads, or files that were put
    uses_max     INTEGER,
    file_len_max INTEGER
) STRICT;
CREATE INDEX share_by_account ON share (account);
CREATE INDEX share_by_node ON share (node);

-- Files on their way in, part by part. The content of every row is a root.
CREATE TABLE upload (
    upload         INTEGER PRIMARY KEY AUTOINCREMENT,
    id             BLOB    NOT NULL UNIQUE,
    vault          INTEGER NOT NULL REFERENCES vault,
    len            INTEGER NOT NULL,           -- of the whole file
    offset         INTEGER NOT NULL,           -- bytes that are here, and survive whatever happens
    is_done        INTEGER NOT NULL DEFAULT 0, -- 1: the file has its name; the row is kept to say so
    sealed_request BLOB    NOT NULL,           -- what is to become of it, as the caller sealed it
    content_kind   INTEGER NOT NULL DEFAULT 0, -- of the part that is stored; as in drive_version
    content        BLOB,
    content_len    INTEGER NOT NULL DEFAULT 0,
    sealed_rest    BLOB    NOT NULL,           -- what is behind that, less than a chunk, as the caller sealed it
    bytes_stored   INTEGER NOT NULL DEFAULT 0,
    last_active_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX upload_by_vault ON upload (vault);

-- Bytes that went through, for charts. Counts that are a minute old may be lost with the process.
CREATE TABLE traffic (
    account            INTEGER NOT NULL REFERENCES account,
    span               INTEGER NOT NULL,        -- 1 an hour, 2 a day, 3 all the time there was
    start_ms           INTEGER NOT NULL,
    source_bytes       INTEGER NOT NULL,
    deduplicated_bytes INTEGER NOT NULL,
    delta_bytes        INTEGER NOT NULL,
    sent_bytes         INTEGER NOT NULL,
    stored_bytes       INTEGER NOT NULL,
    restored_bytes     INTEGER NOT NULL,
    packed_bytes       INTEGER NOT NULL,        -- of the account's packs, at the last look
    PRIMARY KEY (account, span, start_ms)
) STRICT, WITHOUT ROWID;
