-- The index of one cache folder: what is known of the remote tree, which chunk files there are, who may read what.
--
-- Everything here is derived: losing it costs calls, never bytes. It may outlive the mount by years, be read by
-- other processes while the mount writes, and lie on a disk that flips bits, hence three rules:
--
-- * STRICT everywhere, so that a damaged type is an error and not a surprise.
-- * `rowsum`: a third of the single-bit flips in a SQLite file change rows that integrity_check calls sound. Each row
--   that an answer is made of carries xxh3_64 over what it means (host, path, viewer and all values, not the surrogate
--   ids), as a signed integer; a row that does not fit its rowsum is a miss. fuse4dbricks/index/rowsum.py makes them.
-- * REFERENCES say what belongs to what; `check` verifies them. They are not enforced on each write, because there is
--   one writer, and a lookup per row is half the price of a listing page.
--
-- Times are Unix seconds (REAL) unless the name ends in _ms. Paths are catalog/schema/volume/… without a leading
-- slash; '' is the root. Text is UTF-8 as the server gave it, compared byte by byte.

-- One Databricks workspace; every other row hangs on one, so one cache folder serves several without mixing them.
CREATE TABLE workspace (
    id               INTEGER PRIMARY KEY,
    host             TEXT NOT NULL UNIQUE,  -- normalised host[:port]
    fingerprint_key  BLOB NOT NULL,         -- random; keys the hash by which a token is recognised, never the token
    created_at       REAL NOT NULL
) STRICT;

-- ------------------------------------------------------------------------------------------------ the tree

-- A folder that something is known about. Only folders have a row of their own: a file has one name in one folder,
-- so its attributes live in its dentry, which halves the size and the writes of a listing. Found by its whole path in
-- one look-up, however deep.
CREATE TABLE folder (
    id            INTEGER PRIMARY KEY,
    workspace_id  INTEGER REFERENCES workspace (id),      -- NULL: gone; its rows are being cleared away in batches
    path          TEXT NOT NULL,
    UNIQUE (workspace_id, path)
) STRICT;

CREATE INDEX folder_gone ON folder (id) WHERE workspace_id IS NULL;

-- A name in a folder, as last seen. An expired one is kept: it is what offline serves.
CREATE TABLE dentry (
    folder_id      INTEGER NOT NULL REFERENCES folder (id),
    viewer         TEXT NOT NULL,     -- '' inside volumes (shared by all who may read the volume), else principal id
    name           TEXT NOT NULL,
    kind           INTEGER NOT NULL,  -- entry.Kind
    size           INTEGER,           -- of a file, bytes; NULL: version not known, or not a file
    last_modified  INTEGER,           -- whole seconds; NULL where the server gives none
    etag           TEXT,              -- as sent, quotes included; NULL where the server gives none
    unsettled_at   INTEGER NOT NULL,  -- entry.Version.unsettled_at
    mtime          REAL,              -- of catalogs, schemas and volumes that have one
    fetched_at     REAL NOT NULL,
    expires_at     REAL NOT NULL,     -- 0: told to be stale
    walk           INTEGER NOT NULL,  -- listing.walk of the last walk that saw it
    rowsum         INTEGER NOT NULL,  -- over all but walk
    PRIMARY KEY (folder_id, viewer, name)
) STRICT, WITHOUT ROWID;

-- Whether all names of a folder are known. A walk is complete when all of its pages have arrived; until then what
-- an earlier walk said stands, with its own age.
CREATE TABLE listing (
    folder_id   INTEGER NOT NULL REFERENCES folder (id),
    viewer      TEXT NOT NULL,     -- as in dentry
    walk        INTEGER NOT NULL,  -- number of the newest walk; names with an older one were not seen by it
    pages       INTEGER NOT NULL,  -- pages of that walk stored so far; a gap means that it can never be complete
    complete    INTEGER NOT NULL,  -- 1: some walk ended; entries, fetched_at and expires_at are of that one
    entries     INTEGER NOT NULL,  -- dentry rows of this folder and viewer
    fetched_at  REAL NOT NULL,
    expires_at  REAL NOT NULL,
    rowsum      INTEGER NOT NULL,
    PRIMARY KEY (folder_id, viewer)
) STRICT, WITHOUT ROWID;

-- A name that was asked for and is not there; seconds long, and only for the principal who asked.
CREATE TABLE absence (
    folder_id   INTEGER NOT NULL REFERENCES folder (id),
    name        TEXT NOT NULL,
    viewer      TEXT NOT NULL,     -- as in dentry
    fetched_at  REAL NOT NULL,
    expires_at  REAL NOT NULL,
    rowsum      INTEGER NOT NULL,
    PRIMARY KEY (folder_id, name, viewer)
) STRICT, WITHOUT ROWID;

-- ------------------------------------------------------------------------------------------------ the chunks

-- A volume that chunks belong to, in pieces, so that totals by catalog and by schema are one GROUP BY.
CREATE TABLE volume (
    id            INTEGER PRIMARY KEY,
    workspace_id  INTEGER NOT NULL REFERENCES workspace (id),
    catalog       TEXT NOT NULL,
    schema        TEXT NOT NULL,
    name          TEXT NOT NULL,
    files         INTEGER NOT NULL DEFAULT 0,  -- rolled up: rows of file_version
    UNIQUE (workspace_id, catalog, schema, name)
) STRICT;

-- Who caused a fetch; for accounting and quotas.
CREATE TABLE owner (
    id            INTEGER PRIMARY KEY,
    workspace_id  INTEGER NOT NULL REFERENCES workspace (id),
    name          TEXT NOT NULL,
    UNIQUE (workspace_id, name)
) STRICT;

-- One version of one file that has at least one chunk. Independent of the tree above: chunks stay readable, and can be
-- recorded again from the chunk files, whatever is known of the folders.
CREATE TABLE file_version (
    id             INTEGER PRIMARY KEY,
    workspace_id   INTEGER NOT NULL REFERENCES workspace (id),
    volume_id      INTEGER NOT NULL REFERENCES volume (id),
    path           TEXT NOT NULL,
    version_key    INTEGER NOT NULL,  -- xxh3_64 over the four columns of the version, below; NULLs do not compare
    size           INTEGER NOT NULL,  -- bytes of the whole file
    last_modified  INTEGER,
    etag           TEXT,
    unsettled_at   INTEGER NOT NULL,
    extension      TEXT NOT NULL,     -- lower case without the dot, or ''
    chunks         INTEGER NOT NULL,  -- rolled up: rows of chunk
    cached_bytes   INTEGER NOT NULL,  -- rolled up: their length; the file is here as a whole when this equals size
    UNIQUE (workspace_id, path, version_key)
) STRICT;

-- A chunk file. No index on last_access_ms: it costs 8 times as much on each touch as it saves; victims are found
-- by scan, thousands at a time.
CREATE TABLE chunk (
    id              INTEGER PRIMARY KEY,
    version_id      INTEGER REFERENCES file_version (id),  -- NULL: displaced by another file; waits for eviction
    chunk_index     INTEGER NOT NULL,
    last_access_ms  INTEGER NOT NULL,            -- Unix milliseconds; written in batches about every 30 s
    pinned          INTEGER NOT NULL DEFAULT 0,  -- 1: a pin matches its path; eviction leaves it alone
    disk_bytes      INTEGER NOT NULL,            -- what the file takes on the disk
    owner_id        INTEGER NOT NULL REFERENCES owner (id),
    volume_id       INTEGER NOT NULL REFERENCES volume (id),   -- again, so that a scan by volume needs no join
    hits            INTEGER NOT NULL DEFAULT 0,  -- reads answered from it
    created_at      REAL NOT NULL,
    length          INTEGER NOT NULL,            -- bytes of payload
    name            BLOB NOT NULL UNIQUE,        -- 16 bytes; the file is named by them in hexadecimal
    checksum        INTEGER NOT NULL,            -- of the payload, xxh3_64 as a signed integer
    rowsum          INTEGER NOT NULL,            -- host, path, version, chunk_index, name, length, checksum
    UNIQUE (version_id, chunk_index)
) STRICT;

-- Chunks rolled up by volume, owner and extension, in the same transaction as the rows, because adding up
-- 1,000,000 rows takes seconds with the joins.
CREATE TABLE usage (
    volume_id      INTEGER NOT NULL REFERENCES volume (id),
    owner_id       INTEGER NOT NULL REFERENCES owner (id),
    extension      TEXT NOT NULL,
    chunks         INTEGER NOT NULL,
    disk_bytes     INTEGER NOT NULL,
    pinned_chunks  INTEGER NOT NULL,
    pinned_bytes   INTEGER NOT NULL,
    PRIMARY KEY (volume_id, owner_id, extension)
) STRICT, WITHOUT ROWID;

-- Chunks rolled up by the day of their last use: the age histogram, and an independent sum to hold usage against.
CREATE TABLE usage_day (
    day         INTEGER PRIMARY KEY,  -- last_access_ms / 86400000
    chunks      INTEGER NOT NULL,
    disk_bytes  INTEGER NOT NULL
) STRICT;

-- Paths that eviction leaves alone.
CREATE TABLE pin (
    id            INTEGER PRIMARY KEY,
    workspace_id  INTEGER NOT NULL REFERENCES workspace (id),
    pattern       TEXT NOT NULL,     -- GLOB over file_version.path
    created_by    INTEGER NOT NULL,  -- uid
    created_at    REAL NOT NULL,
    expires_at    REAL,              -- NULL: until unpinned
    UNIQUE (workspace_id, pattern)
) STRICT;

-- ------------------------------------------------------------------------------------------------ who may read

-- A Databricks identity that has been seen.
CREATE TABLE principal (
    workspace_id  INTEGER NOT NULL REFERENCES workspace (id),
    principal     TEXT NOT NULL,  -- id from SCIM Me
    user_name     TEXT NOT NULL,  -- for people to read
    seen_at       REAL NOT NULL,
    PRIMARY KEY (workspace_id, principal)
) STRICT, WITHOUT ROWID;

-- A token that has been resolved to a principal, and the local user who brought it.
CREATE TABLE sign_in (
    workspace_id  INTEGER NOT NULL REFERENCES workspace (id),
    fingerprint   BLOB NOT NULL,     -- keyed hash of the token
    uid           INTEGER NOT NULL,
    principal     TEXT NOT NULL,
    user_name     TEXT NOT NULL,
    proved_at     REAL NOT NULL,
    rowsum        INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, fingerprint)
) STRICT, WITHOUT ROWID;

-- A remembered answer of the workspace itself: this principal may read this volume.
CREATE TABLE grant (
    workspace_id  INTEGER NOT NULL REFERENCES workspace (id),
    principal     TEXT NOT NULL,
    volume        TEXT NOT NULL,     -- catalog/schema/volume
    proved_at     REAL NOT NULL,     -- the grant is void while the clock stands before this
    expires_at    REAL NOT NULL,
    rowsum        INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, principal, volume)
) STRICT, WITHOUT ROWID;

-- ------------------------------------------------------------------------------------------------ the mount

-- Counters that outlive the mount; names as in telemetry/metrics.py with their labels.
CREATE TABLE stat_counter (
    workspace_id  INTEGER NOT NULL REFERENCES workspace (id),
    name          TEXT NOT NULL,
    value         INTEGER NOT NULL,
    PRIMARY KEY (workspace_id, name)
) STRICT, WITHOUT ROWID;

-- The mount that uses this folder, or the last one that did; a folder has one mount at a time.
CREATE TABLE mount (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    workspace_id  INTEGER NOT NULL REFERENCES workspace (id),
    pid           INTEGER NOT NULL,
    mountpoint    TEXT NOT NULL,
    settings      TEXT NOT NULL,     -- JSON: limits in force, for cache-stats
    started_at    REAL NOT NULL,
    ended_at      REAL               -- NULL: still there, or killed
) STRICT;
