-- Pins are paths, not patterns: names may hold the characters of patterns, and a path is found by its index. Nothing ever
-- wrote a row of the former table.
DROP TABLE pin;

-- A file or a folder whose chunks eviction leaves alone, and which the mount keeps fresh. A chunk row says by itself
-- whether it is pinned, so that eviction needs no join; while `is_settled` is 0 these marks are behind this row, and
-- whoever finds it so brings them in line: before a new pin counts as done, and before the row of an ended one goes.
CREATE TABLE pin (
    id            INTEGER PRIMARY KEY,
    workspace_id  INTEGER NOT NULL REFERENCES workspace (id),
    path          TEXT NOT NULL,
    created_by    INTEGER NOT NULL,  -- uid, in whose name it is kept fresh
    created_at    REAL NOT NULL,
    expires_at    REAL,              -- NULL: until unpinned; past: it has ended
    is_settled    INTEGER NOT NULL,
    rowsum        INTEGER NOT NULL,  -- over host, path, created_by, created_at, expires_at
    UNIQUE (workspace_id, path)
) STRICT;
