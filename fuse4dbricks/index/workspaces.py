"""The row of a workspace, on which all others hang.

The difficulty: the row holds the key by which tokens are recognised, so a damaged one must not be taken for another
key; and a cache folder outlives its mounts, so somebody may work on it who serves no workspace at all.
"""

from __future__ import annotations

import secrets

import apsw

from fuse4dbricks.index.migrations import NotOurIndex

FINGERPRINT_KEY_BYTES = 32

#: The host of who serves no workspace, but looks after the folder; it has no row.
NOBODY = ""

_WORKSPACE = "SELECT id, fingerprint_key FROM workspace WHERE host = ?"
_NEW_WORKSPACE = "INSERT INTO workspace (host, fingerprint_key, created_at) VALUES (?, ?, ?)"


def enrol(db: apsw.Connection, host: str, now: float, key: bytes | None = None) -> tuple[int, bytes]:
    """The id and the key of the workspace's row, made (with ``key``) if it is new; (0, b"") for :data:`NOBODY`.

    Raises:
        NotOurIndex: the row is damaged.
        apsw.Error: the disk does not let us.
    """
    if host == NOBODY:
        return 0, b""
    rows = db.execute(_WORKSPACE, (host,)).fetchall()
    if not rows:
        db.execute(_NEW_WORKSPACE, (host, key or secrets.token_bytes(FINGERPRINT_KEY_BYTES), now)).fetchall()
        rows = db.execute(_WORKSPACE, (host,)).fetchall()
    workspace_id, found = rows[0]
    if (
        not isinstance(workspace_id, int)
        or not isinstance(found, bytes)
        or len(found) != FINGERPRINT_KEY_BYTES
    ):
        raise NotOurIndex("the workspace's row is damaged")
    return workspace_id, found
