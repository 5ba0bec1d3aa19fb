"""Recording chunk files that describe themselves, as after the loss of the index.

The difficulty: this runs beside a mount that stores and evicts, and beside the rows that are there already, which know
better when a chunk was last used than the file does. So a file whose name has a row is passed over, one whose place
another file holds is not wanted, and the folder may hold other workspaces' chunks, which go under their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from fuse4dbricks.index.chunk_writes import File, ensure_version, insert_chunk
from fuse4dbricks.index.records import Foundling
from fuse4dbricks.index.rollups import Rollup
from fuse4dbricks.index.session import Session

#: Of a chunk's name.
NAME_BYTES = 16

_NAMED = "SELECT 1 FROM chunk WHERE name = ?"
_PLACED = "SELECT 1 FROM chunk WHERE version_id = ? AND chunk_index = ?"
_IN_SHARD = "SELECT name FROM chunk WHERE name >= ? AND name <= ?"
_COMPLETE = "INSERT OR REPLACE INTO inventory (id, finished_at) VALUES (1, ?)"


def adopt_chunks(session: Session, found: Sequence[Foundling]) -> list[bytes]:
    """Record chunk files that are in place; the names of those whose place is another file's."""
    unwanted: list[bytes] = []
    for host, group in groupby(sorted(found, key=lambda each: each.host), key=lambda each: each.host):
        with session.serving(host):
            rollup = Rollup()
            unwanted += [each.chunk.name for each in group if not _adopt(session, rollup, each)]
            rollup.write(session)
    return unwanted


def _adopt(session: Session, rollup: Rollup, found: Foundling) -> bool:
    chunk = found.chunk
    if session.row(_NAMED, (chunk.name,)) is not None:
        return True
    file = File(found.path, found.version)
    version_id, volume_id = ensure_version(session, file)
    if session.row(_PLACED, (version_id, chunk.chunk_index)) is not None:
        return False
    insert_chunk(session, rollup, file, (version_id, volume_id), chunk)
    return True


def list_names(session: Session, shards: range) -> list[bytes]:
    """The names that begin with a byte of ``shards``."""
    last = bytes([shards.stop - 1]) + b"\xff" * NAME_BYTES
    return [row[0] for row in session.rows(_IN_SHARD, (bytes([shards.start]), last))]


def note_complete(session: Session, serial: int) -> None:
    """The file that was the ``serial``-th to be open knows all chunk files."""
    if session.serial == serial:
        session.run(_COMPLETE, (session.clock.wall(),))
        session.is_complete = True
