"""The loop's side of the writer thread.

The difficulty: whoever posts must not wait, whoever waits must hear the truth (done and committed, or not), may be
cancelled without the write noticing, and must never wait for a thread that is not there.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import trio

from fuse4dbricks.clock import Clock
from fuse4dbricks.errors import IndexUnavailable
from fuse4dbricks.index.log_sizes import LogSizes
from fuse4dbricks.index.ops import Op, OpQueue, Reply
from fuse4dbricks.index.records import Totals
from fuse4dbricks.index.session import Session
from fuse4dbricks.index.shares import Shares, load_shares
from fuse4dbricks.index.store import Opened, Store
from fuse4dbricks.index.touches import TouchLog
from fuse4dbricks.index.writing import Writing
from fuse4dbricks.telemetry.metrics import Metrics

log = logging.getLogger("fuse4dbricks.index")

T = TypeVar("T")

#: Seconds that closing waits for the thread.
CLOSE_SECONDS = 5.0


class Writer:
    """Takes writes in the loop and has them done in a thread.

    Attributes:
        touches: times of use, written about every 30 s.
    """

    def __init__(
        self, file: Path, host: str, clock: Clock, metrics: Metrics, log_sizes: LogSizes | None = None
    ) -> None:
        self.touches = TouchLog(clock)
        self._metrics = metrics
        self._queue = OpQueue()
        store = Store(file, host, clock, log_sizes)
        self._writing = Writing(store, self._queue, self.touches, clock, metrics)
        self._thread = threading.Thread(target=self._writing.run, name="fuse4dbricks-index", daemon=True)
        self._pid = os.getpid()

    # --- what it is like -------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Changes when the file was replaced: readers open it again."""
        return self._writing.epoch

    @property
    def gate(self) -> threading.Lock:
        """Held by who reads, never waited for in the loop; the thread holds it while it replaces the file."""
        return self._writing.gate

    @property
    def opened(self) -> Opened:
        """The file, as last opened."""
        return self._writing.opened

    @property
    def totals(self) -> Totals:
        """Of all chunks, as committed."""
        return self._writing.totals

    @property
    def shares(self) -> Shares | None:
        """What each user and each catalog takes, as committed; None: not known (yet)."""
        return self._writing.shares

    @property
    def is_healthy(self) -> bool:
        """Whether the last write worked."""
        return self._writing.is_healthy

    @property
    def was_rebuilt(self) -> bool:
        """Whether a damaged file was set aside."""
        return self._writing.was_rebuilt

    @property
    def is_complete(self) -> bool:
        """Whether the file knows all chunk files."""
        return self._writing.is_complete

    def tell_renewed(self, call: Callable[[], object]) -> None:
        """From now on ``call`` is called, too, in the loop, when the file was replaced."""
        if call not in self._writing.listeners:
            self._writing.listeners.append(call)

    def is_other_process(self) -> bool:
        """Whether this is a fork: SQLite must not be used across one, and the thread is not here."""
        return os.getpid() != self._pid

    # --- writing ---------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the file, in the thread.

        Raises:
            CacheFolderError: it was written by a newer program.
            IndexUnavailable: the disk does not let us.
        """
        opening = self._writing.prepare(trio.lowlevel.current_trio_token())
        self._thread.start()
        await opening.wait()

    def post(self, write: Callable[[Session], object], rows: int = 1) -> bool:
        """Queue a write that nobody waits for; False (and counted) when it was dropped."""
        try:
            reason = None if self._put(Op(write, rows)) else "full"
        except IndexUnavailable:
            reason = "closed"
        if reason is not None:
            self._metrics.count("index.dropped_posts", reason=reason)
        return reason is None

    async def run(
        self,
        write: Callable[[Session], T],
        *,
        rows: int = 1,
        wants_touches: bool = False,
        otherwise: Callable[[Session], T] | None = None,
    ) -> T:
        """Do a write and return its value after COMMIT. A cancelled caller leaves the write to happen.

        With ``otherwise`` a disk that refuses the write is no failure: the value is then what that reads.

        Raises:
            IndexUnavailable: it did not happen.
        """
        reply = Reply()
        if not self._put(Op(write, rows, reply, wants_touches, otherwise)):
            raise IndexUnavailable("too much is waiting to be written to the index")
        value: T = await reply.wait()
        return value

    def _put(self, op: Op) -> bool:
        if self.is_other_process():
            raise IndexUnavailable("the index belongs to another process")
        return self._queue.put(op)

    def suspect(self, epoch: int, why: str) -> None:
        """A reader met damage in the file of that epoch: it is replaced."""
        self._writing.suspicion = (epoch, why)
        self._queue.wake()

    def condemn(self, epoch: int) -> None:
        """Have the file of that epoch replaced, whatever its state."""
        self._writing.condemned = epoch
        self._queue.wake()

    async def track_shares(self) -> None:
        """Keep :attr:`shares` from now on.

        Raises:
            IndexUnavailable: they are not known yet, and will be with the next write.
        """
        self._writing.wants_shares = True
        await self.run(load_shares)

    def wake(self) -> None:
        """There are times of use to write, in time."""
        self._queue.wake()

    async def close(self) -> None:
        """Write what is queued, close the file and end the thread, within :data:`CLOSE_SECONDS`."""
        if self.is_other_process():
            return
        self._queue.close()
        with trio.CancelScope(shield=True):
            # A join by real time: the loop's clock may be a test's, and the disk does not care.
            try:
                await trio.to_thread.run_sync(self._thread.join, CLOSE_SECONDS)
            except RuntimeError:  # no thread to wait in; at the end the loop may wait itself
                self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            log.warning("the index did not close within %.0f s; what was not written is lost", CLOSE_SECONDS)
