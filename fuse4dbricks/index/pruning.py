"""Forgetting what nobody has asked about for months, so that the index does not grow for ever.

The difficulty: expired names are kept on purpose, they are what an outage is survived with; so only folders go of which
nothing was seen for a long time and of which no chunk is here. The index may hold a million folders, so they are looked at
some hundred at a time, and their rows are cleared away by who does that for folders that are gone.

The file itself does not shrink: free pages are used again, and to give them back would take a copy of all the others.
"""

from __future__ import annotations

import json

from fuse4dbricks.index.session import Session

#: Folders per transaction: 2 ms.
FOLDERS_AT_ONCE = 200

_LAST = "SELECT max(id) FROM (SELECT id FROM folder WHERE id > ? ORDER BY id LIMIT ?)"
#: In the order of bytes "0" follows "/"; the root has no slash before what is in it.
_FORGOTTEN = """
    SELECT f.id FROM folder f
    WHERE f.id > :after AND f.id <= :last AND f.workspace_id IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM listing WHERE folder_id = f.id AND fetched_at >= :before)
      AND NOT EXISTS (SELECT 1 FROM absence WHERE folder_id = f.id AND fetched_at >= :before)
      AND NOT EXISTS (
          SELECT 1 FROM file_version v WHERE v.workspace_id = f.workspace_id
          AND v.path > CASE f.path WHEN '' THEN '' ELSE f.path || '/' END
          AND v.path < CASE f.path WHEN '' THEN char(1114111) ELSE f.path || '0' END)
      AND NOT EXISTS (SELECT 1 FROM dentry WHERE folder_id = f.id AND fetched_at >= :before)"""
_DETACH = "UPDATE folder SET workspace_id = NULL WHERE id IN (SELECT value FROM json_each(?))"

_PEOPLE = (
    "DELETE FROM grant WHERE expires_at < :before",
    "DELETE FROM sign_in WHERE proved_at < :before",
    """DELETE FROM principal WHERE seen_at < :before
       AND NOT EXISTS (SELECT 1 FROM sign_in s
                       WHERE s.workspace_id = principal.workspace_id AND s.principal = principal.principal)""",
)
_UNUSED = (
    "DELETE FROM owner WHERE id NOT IN (SELECT owner_id FROM usage)",
    "DELETE FROM volume WHERE files = 0 AND id NOT IN (SELECT volume_id FROM usage)",
)
#: Nothing is left of it but what it counted.
_VANISHED = """
    SELECT id FROM workspace w WHERE w.id <> :own AND w.created_at < :before
      AND NOT EXISTS (SELECT 1 FROM folder WHERE workspace_id = w.id)
      AND NOT EXISTS (SELECT 1 FROM file_version WHERE workspace_id = w.id)
      AND NOT EXISTS (SELECT 1 FROM volume WHERE workspace_id = w.id)
      AND NOT EXISTS (SELECT 1 FROM owner WHERE workspace_id = w.id)
      AND NOT EXISTS (SELECT 1 FROM principal WHERE workspace_id = w.id)
      AND NOT EXISTS (SELECT 1 FROM sign_in WHERE workspace_id = w.id)
      AND NOT EXISTS (SELECT 1 FROM grant WHERE workspace_id = w.id)
      AND NOT EXISTS (SELECT 1 FROM pin WHERE workspace_id = w.id)
      AND NOT EXISTS (SELECT 1 FROM mount WHERE workspace_id = w.id)"""


def prune_folders(session: Session, after: int, before: float) -> int | None:
    """Forget, of the next folders behind row ``after``, those of which nothing was seen since ``before``.

    Returns:
        Where to go on; None: there are no more.
    """
    last = session.rows(_LAST, (after, FOLDERS_AT_ONCE))[0][0]
    if last is None:
        return None
    found = session.rows(_FORGOTTEN, {"after": after, "last": last, "before": before})
    if found:
        session.run(_DETACH, (json.dumps([row[0] for row in found]),))
        session.forget_ids()
        session.has_gone_folders = True
    return int(last)


def prune_rest(session: Session, before: float) -> None:
    """Forget people who were not seen since ``before``, names of owners and volumes without a chunk, and workspaces of
    which nothing is left.
    """
    for sql in _PEOPLE:
        session.run(sql, {"before": before})
    for sql in _UNUSED:
        session.run(sql)
    for row in session.rows(_VANISHED, {"own": session.workspace_id, "before": before}):
        session.run("DELETE FROM stat_counter WHERE workspace_id = ?", row)
        session.run("DELETE FROM workspace WHERE id = ?", row)
    session.forget_ids()
    session.shares.forget()
