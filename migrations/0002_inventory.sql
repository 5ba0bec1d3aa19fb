-- Whether all chunk files of the folder have been looked at since this file was made. An index that was begun anew
-- (the former one was damaged, or deleted) has no row here until each chunk file is recorded again or gone; until then
-- the totals are too small, and more may be on the disk than the limit allows. It is kept in the file because a kill in the
-- middle must not make the next start believe that it is done.
CREATE TABLE inventory (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    finished_at  REAL NOT NULL
) STRICT;

-- An index that was in use has grown with its folder.
INSERT INTO inventory (id, finished_at) SELECT 1, created_at FROM workspace ORDER BY id LIMIT 1;
