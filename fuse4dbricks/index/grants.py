# ruff: noqa: S608 - statements are put together from constants of this package; values are always bound
"""Who was let in by the workspace, remembered over a restart.

The difficulty: this is the one table where a damaged row could open a door. A row's checksum is over the principal, the
volume and the host in words, so it fits only the question that it was written for; a row that does not fit, an index
that cannot be read and a clock that stands before the proof all mean "not proved", and the workspace is asked.
"""

from __future__ import annotations

from functools import partial

from fuse4dbricks.clock import Clock
from fuse4dbricks.index.reader import Reader, in_loop
from fuse4dbricks.index.records import StoredGrant
from fuse4dbricks.index.rowsum import seal
from fuse4dbricks.index.session import Session
from fuse4dbricks.index.tree_rows import index_path
from fuse4dbricks.index.writer import Writer
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Principal

#: Tokens remembered per local user: an OAuth token lives for an hour, so this is most of a day.
SIGN_INS_PER_USER = 16

_LOAD_SIGN_IN = in_loop(
    "SELECT principal, user_name, rowsum FROM sign_in WHERE workspace_id = ? AND fingerprint = ?"
)
_LOAD_GRANT = in_loop(
    "SELECT proved_at, expires_at, rowsum FROM grant WHERE workspace_id = ? AND principal = ? AND volume = ?"
)
_TRIM_SIGN_INS = """
    DELETE FROM sign_in WHERE workspace_id = ?1 AND uid = ?2 AND fingerprint NOT IN (
        SELECT fingerprint FROM sign_in WHERE workspace_id = ?1 AND uid = ?2 ORDER BY proved_at DESC LIMIT ?3)"""


class Grants:
    """Principals of tokens, and their proofs."""

    def __init__(self, reader: Reader, writer: Writer, host: str, clock: Clock) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host
        self._clock = clock

    def load_principal(self, fingerprint: bytes) -> Principal | None:
        """Whose token has this fingerprint (see :meth:`~fuse4dbricks.tokens.Token.fingerprint`)."""
        row = self._reader.row(_LOAD_SIGN_IN, (self._reader.workspace_id, fingerprint))
        if row is None:
            return None
        principal = Principal(row[0], row[1])
        if sign_in_rowsum(self._host, fingerprint, principal) != row[2]:
            self._reader.note_bad_row()
            return None
        return principal

    def load_grant(self, principal_id: str, volume: RemotePath) -> StoredGrant | None:
        """The last proof; void while the clock stands before it."""
        path = index_path(volume)
        row = self._reader.row(_LOAD_GRANT, (self._reader.workspace_id, principal_id, path))
        if row is None:
            return None
        proved_at, expires_at, rowsum = row
        if grant_rowsum(self._host, principal_id, path, proved_at, expires_at) != rowsum:
            self._reader.note_bad_row()
            return None
        return StoredGrant(proved_at, expires_at) if proved_at <= self._clock.wall() else None

    def post_principal(self, fingerprint: bytes, uid: int, principal: Principal) -> None:
        """A local user's token was resolved to a principal."""
        self._writer.post(
            partial(_write_sign_in, fingerprint=fingerprint, uid=uid, principal=principal),
            rows=SIGN_INS_PER_USER,
        )

    def post_grant(
        self, principal_id: str, volume: RemotePath, *, proved_at: float, expires_at: float
    ) -> None:
        """The workspace let the principal read the volume, at ``proved_at`` (Unix time)."""
        times = (float(proved_at) + 0.0, float(expires_at) + 0.0)
        self._writer.post(
            partial(_write_grant, principal=principal_id, volume=index_path(volume), times=times)
        )

    def post_revoked(self, principal_id: str, volume: RemotePath) -> None:
        """The workspace refused the principal on the volume: the proof is gone."""
        self._writer.post(partial(_delete_grant, principal=principal_id, volume=index_path(volume)))

    def post_drop_principal(self, principal_id: str) -> None:
        """The principal's token is not good any more: its proofs and all that recognised its tokens are gone."""
        self._writer.post(partial(_delete_principal, principal=principal_id))


def sign_in_rowsum(host: str, fingerprint: bytes, principal: Principal) -> int:
    """The checksum of a row of ``sign_in``."""
    return seal("sign_in", host, fingerprint, principal.id, principal.user_name)


def grant_rowsum(host: str, principal: str, volume: str, proved_at: float, expires_at: float) -> int:
    """The checksum of a row of ``grant``."""
    return seal("grant", host, principal, volume, proved_at, expires_at)


def _write_sign_in(session: Session, fingerprint: bytes, uid: int, principal: Principal) -> None:
    now, workspace_id = session.clock.wall(), session.workspace_id
    session.run(
        "INSERT OR REPLACE INTO principal (workspace_id, principal, user_name, seen_at) VALUES (?, ?, ?, ?)",
        (workspace_id, principal.id, principal.user_name, now),
    )
    rowsum = sign_in_rowsum(session.host, fingerprint, principal)
    session.run(
        "INSERT OR REPLACE INTO sign_in (workspace_id, fingerprint, uid, principal, user_name, proved_at, rowsum) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (workspace_id, fingerprint, uid, principal.id, principal.user_name, now, rowsum),
    )
    session.run(_TRIM_SIGN_INS, (workspace_id, uid, SIGN_INS_PER_USER))


def _write_grant(session: Session, principal: str, volume: str, times: tuple[float, float]) -> None:
    rowsum = grant_rowsum(session.host, principal, volume, *times)
    session.run(
        "INSERT OR REPLACE INTO grant (workspace_id, principal, volume, proved_at, expires_at, rowsum) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (session.workspace_id, principal, volume, *times, rowsum),
    )


def _delete_grant(session: Session, principal: str, volume: str) -> None:
    session.run(
        "DELETE FROM grant WHERE workspace_id = ? AND principal = ? AND volume = ?",
        (session.workspace_id, principal, volume),
    )


def _delete_principal(session: Session, principal: str) -> None:
    for table in ("grant", "sign_in"):
        session.run(
            f"DELETE FROM {table} WHERE workspace_id = ? AND principal = ?", (session.workspace_id, principal)
        )
