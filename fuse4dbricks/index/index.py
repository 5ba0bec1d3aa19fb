"""The index of a cache folder: one writer thread, one reader in the loop, four tables' worth of questions.

The difficulty: the index must be there for every hot path and may be missing at any time. Everything that loads answers
"not known" when it cannot, everything that posts returns at once, and only who awaits hears that it failed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from fuse4dbricks.clock import Clock
from fuse4dbricks.errors import IndexUnavailable
from fuse4dbricks.index.adoption import note_complete
from fuse4dbricks.index.chunks import Chunks
from fuse4dbricks.index.counters import Counters
from fuse4dbricks.index.grants import Grants
from fuse4dbricks.index.holdings import HeldChunks
from fuse4dbricks.index.log_sizes import sizes_within
from fuse4dbricks.index.network_fs import refuse_network_folder
from fuse4dbricks.index.pins import Pins
from fuse4dbricks.index.pruning import FOLDERS_AT_ONCE, prune_folders, prune_rest
from fuse4dbricks.index.reader import Reader
from fuse4dbricks.index.tree import Tree
from fuse4dbricks.index.writer import Writer
from fuse4dbricks.telemetry.metrics import Metrics


class Index:
    """An open index; made by :meth:`open`.

    Attributes:
        tree: entries, listings and negative entries.
        chunks: which chunks are on disk, totals and victims.
        holdings: what is cached of single files.
        grants: principals and proofs.
        counters: what outlives the mount, and the mount itself.
        pins: what eviction leaves alone.
    """

    def __init__(self, file: Path, writer: Writer, *, workspace: str, clock: Clock, metrics: Metrics) -> None:
        self._writer = writer
        self._reader = Reader(file, writer, metrics)
        self.tree = Tree(self._reader, writer, workspace)
        self.chunks = Chunks(self._reader, writer, workspace)
        self.holdings = HeldChunks(self._reader)
        self.grants = Grants(self._reader, writer, workspace, clock)
        self.counters = Counters(self._reader, writer)
        self.pins = Pins(self._reader, writer, workspace, clock)

    @classmethod
    async def open(
        cls, file: Path, *, workspace: str, clock: Clock, metrics: Metrics, disk_limit: int | None = None
    ) -> Index:
        """Open or create the index ``file`` for a workspace (normalised host).

        It is migrated if it is older; set aside, with its WAL, if it is damaged or another program's. Its log is kept
        small where ``disk_limit``, the bytes that the cache folder may take, is small; None: there is no limit.

        Raises:
            CacheFolderError: it was written by a newer program, or is on a network file system.
            IndexUnavailable: the disk does not let us; the mount can do without.
        """
        refuse_network_folder(file.parent)
        # SQLite is told to follow no link, and means every part of the path by that.
        resolved = file.parent.resolve() / file.name
        log_sizes = None if disk_limit is None else sizes_within(disk_limit)
        writer = Writer(resolved, workspace, clock, metrics, log_sizes)
        await writer.start()
        return cls(resolved, writer, workspace=workspace, clock=clock, metrics=metrics)

    async def flush(self) -> None:
        """Wait until everything posted so far is committed, times of use included.

        Raises:
            IndexUnavailable: the index cannot be written now.
        """
        await self._writer.run(lambda _session: None, wants_touches=True)

    async def aclose(self) -> None:
        """Write what is queued and close, within some seconds; never raises."""
        await self._writer.close()
        self._reader.close()

    @property
    def fingerprint_key(self) -> bytes:
        """Random key of this workspace for :meth:`~fuse4dbricks.tokens.Token.fingerprint`."""
        return self._writer.opened.fingerprint_key

    @property
    def is_healthy(self) -> bool:
        """Whether the last write worked; it is tried again by itself."""
        return self._writer.is_healthy

    @property
    def was_rebuilt(self) -> bool:
        """Whether a damaged index was set aside, now or at the start."""
        return self._writer.was_rebuilt

    @property
    def is_complete(self) -> bool:
        """False from when it was begun anew, also in a former run, until each chunk file is recorded or gone."""
        return self._writer.is_complete

    @property
    def epoch(self) -> int:
        """Changes when the file was replaced."""
        return self._writer.epoch

    def tell_renewed(self, call: Callable[[], object]) -> None:
        """From now on ``call`` is called, too, in the loop, when the file was replaced while it was in use."""
        self._writer.tell_renewed(call)

    async def note_complete(self, epoch: int) -> None:
        """All chunk files that were there in ``epoch`` are recorded or gone; nothing if the file is another by now.

        Raises:
            IndexUnavailable: it is not noted.
        """
        await self._writer.run(partial(note_complete, serial=epoch))

    async def prune(self, after: int, before: float) -> int | None:
        """Forget names and people not seen since the Unix time ``before``, a batch at a time, beginning behind ``after``.

        Returns:
            Where to go on; None: that was all.

        Raises:
            IndexUnavailable: nothing was forgotten.
        """
        cursor = await self._writer.run(
            partial(prune_folders, after=after, before=before), rows=FOLDERS_AT_ONCE
        )
        if cursor is None:
            await self._writer.run(partial(prune_rest, before=before))
        return cursor

    async def renew(self) -> None:
        """Set the file aside, sound or not, and begin a new one, to be filled from the chunk files.

        Raises:
            IndexUnavailable: it could not be done.
        """
        before = self._writer.epoch
        self._writer.condemn(before)
        await self.flush()
        if self._writer.epoch == before:
            raise IndexUnavailable("the index could not be replaced")
