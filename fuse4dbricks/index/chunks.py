"""Which chunks are on disk, for the loop.

The difficulty: a row that says too much is a wrong byte, one that says too little is a call. So a row that does not fit
its checksum is left out, an index that is busy answers "not now" (None) and not "nothing", and whoever removes
is told the files' names only after the COMMIT, so that a crash leaves a file without a row at worst.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fuse4dbricks.entry import Version
from fuse4dbricks.index.adoption import adopt_chunks, list_names
from fuse4dbricks.index.chunk_writes import File, add_chunks, name_victims, remove_chunks, take_victims
from fuse4dbricks.index.reader import Reader, in_loop
from fuse4dbricks.index.records import ChunkRow, Foundling, NewChunk, Selection, Totals, Victim, VictimQuery
from fuse4dbricks.index.rowsum import to_unsigned, version_key
from fuse4dbricks.index.selecting import Batch, count_again, take_selected
from fuse4dbricks.index.shares import Shares
from fuse4dbricks.index.tree_rows import index_path
from fuse4dbricks.index.writer import Writer
from fuse4dbricks.paths import RemotePath

#: Victims per transaction: some 5 ms.
VICTIM_BATCH = 256

_LOAD_SPAN = in_loop("""
    SELECT id, chunk_index, name, length, checksum, rowsum FROM chunk
    WHERE version_id = (SELECT id FROM file_version WHERE workspace_id = ? AND path = ? AND version_key = ?)
      AND chunk_index >= ? AND chunk_index < ?""")
_LOAD_NAME = in_loop("SELECT name FROM chunk WHERE name = ?")


class Chunks:
    """The chunk rows of one workspace, and the totals and victims of all."""

    def __init__(self, reader: Reader, writer: Writer, host: str) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host

    def load_span(
        self, path: RemotePath, version: Version, first: int, stop: int
    ) -> dict[int, ChunkRow] | None:
        """The chunks ``first`` ≤ index < ``stop`` that are on disk, by index; None: cannot be read now, try later."""
        key = (self._reader.workspace_id, index_path(path), version_key(version), first, stop)
        rows = self._reader.rows(_LOAD_SPAN, key)
        if rows is None:
            return None
        file = File(path, version)
        found: dict[int, ChunkRow] = {}
        for row_id, chunk_index, name, length, checksum, rowsum in rows:
            if file.chunk_rowsum(self._host, (chunk_index, name, length, checksum)) != rowsum:
                self._reader.note_bad_row()
                continue
            found[chunk_index] = ChunkRow(row_id, chunk_index, name, length, to_unsigned(checksum))
        return found

    def load_names(self, names: Sequence[bytes]) -> set[bytes] | None:
        """Which of the chunk names have a row; None: cannot be told now. 3 µs each."""
        found: set[bytes] = set()
        for name in names:
            rows = self._reader.rows(_LOAD_NAME, (name,))
            if rows is None:
                return None
            found.update(row[0] for row in rows)
        return found

    async def list_names(self, shards: range) -> list[bytes]:
        """The names with a first byte in ``shards`` that have a row, of whichever workspace; 2 ms for 4,000.

        Raises:
            IndexUnavailable: it cannot be told.
        """
        return await self._writer.run(partial(list_names, shards=shards), rows=0)

    async def add(self, path: RemotePath, version: Version, rows: Sequence[NewChunk]) -> None:
        """Record chunk files that are in place; to do it again changes nothing but the time of use.

        Where the index knew the chunk under another name (from a mount with another chunk size), that file is first
        in line for eviction.

        Raises:
            IndexUnavailable: nothing was recorded.
        """
        if rows:
            write = partial(add_chunks, file=File(path, version), chunks=tuple(rows))
            await self._writer.run(write, rows=len(rows))

    def touch(self, row_id: int) -> None:
        """The chunk was used now; written about every 30 s."""
        if self._writer.touches.note(row_id):
            self._writer.wake()

    async def remove(self, path: RemotePath, version: Version, indexes: Sequence[int] | None) -> list[bytes]:
        """Forget chunks of a version (None: all of them).

        Returns:
            Their names, to be unlinked now that the rows are gone and committed.

        Raises:
            IndexUnavailable: the rows are still there.
        """
        wanted = None if indexes is None else frozenset(indexes)
        return await self._writer.run(partial(remove_chunks, file=File(path, version), indexes=wanted))

    async def take_victims(self, want: VictimQuery, limit: int = VICTIM_BATCH) -> list[Victim]:
        """Forget the least recently used chunks that ``want`` is about; an empty list: there are none (left).

        A disk so full that the rows cannot be deleted could never be made less full, so then the victims are named
        and their rows stay: once the files are gone there is room, and the next call, which meets them first, deletes
        them. A row without a file is a miss meanwhile.

        Raises:
            IndexUnavailable: nothing may be unlinked.
        """
        write, name = (partial(f, query=want, limit=limit) for f in (take_victims, name_victims))
        return await self._writer.run(write, rows=limit, wants_touches=True, otherwise=name)

    async def adopt(self, found: Sequence[Foundling]) -> list[bytes]:
        """Record chunk files found in the folder, of whichever workspace; a name that has a row keeps it.

        Returns:
            The names of files that are not recorded, because another one holds their place.

        Raises:
            IndexUnavailable: nothing was recorded.
        """
        return await self._writer.run(partial(adopt_chunks, found=tuple(found)), rows=len(found))

    async def take_selected(self, selection: Selection, after: int = 0, limit: int = VICTIM_BATCH) -> Batch:
        """Forget chunks that somebody points out, a batch at a time, beginning behind row ``after``.

        Raises:
            IndexUnavailable: the rows are still there, and nothing may be unlinked.
        """
        write = partial(take_selected, selection=selection, after=after, limit=limit)
        return await self._writer.run(write, rows=limit, wants_touches=True)

    async def count_again(self) -> None:
        """Make the totals anew from the rows: seconds with 1,000,000 chunks.

        Raises:
            IndexUnavailable: they are as they were.
        """
        await self._writer.run(count_again)

    def get_totals(self) -> Totals:
        """All chunks of the cache folder as of the last commit."""
        return self._writer.totals

    async def track_shares(self) -> None:
        """Have :meth:`get_shares` answer from now on.

        Raises:
            IndexUnavailable: it will with the next write.
        """
        await self._writer.track_shares()

    def get_shares(self) -> Shares | None:
        """What each user and each catalog takes but for pinned chunks, as of the last commit; None: not known."""
        return self._writer.shares
