"""What the writer thread does: commit in groups, and get over what goes wrong.

The difficulties:

* A commit each would be 11 µs of the loop and a lock; so operations are queued, and what waits is committed together.
* The cache is advisory. When the disk is full or fails, what was posted is dropped and counted, who waits is told, and
  it is tried again by itself, so that the mount recovers without anybody's help. When the file is damaged it is
  replaced, and the mount does not notice.
* One bad operation (a name that is no Unicode, a size beyond 64 bits) must not take its batch with it: the batch is
  run again one by one.
* However the thread ends, its clients are refused, never left waiting.

What the loop sees (``totals``, ``epoch``, …) is one reference each, replaced whole, so it needs no lock.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import apsw
import trio

from fuse4dbricks.clock import Clock
from fuse4dbricks.errors import CacheFolderError, IndexUnavailable
from fuse4dbricks.index.ailments import Ailment, diagnose
from fuse4dbricks.index.ops import Op, OpQueue, Reply
from fuse4dbricks.index.records import Totals
from fuse4dbricks.index.shares import Shares, load_shares
from fuse4dbricks.index.store import Opened, Store
from fuse4dbricks.index.touches import FLUSH_SECONDS, TouchLog, write_uses
from fuse4dbricks.index.tree_writes import clear_gone_folder
from fuse4dbricks.telemetry.metrics import Metrics

log = logging.getLogger("fuse4dbricks.index")

#: Seconds after a failed write until the next try, doubled each time.
RETRY_FIRST, RETRY_MOST = 1.0, 30.0
#: A second damaged file within so many seconds says that the disk is at fault: wait instead of replacing again.
REBUILD_SECONDS = 60.0

#: An operation, its value, and why it did not happen.
Outcome = tuple[Op, Any, Exception | None]


class Writing:
    """The thread's work.

    Attributes:
        epoch: changes when the file was replaced.
        opened: the file, as last opened.
        totals: of all chunks, as committed.
        shares: what each user and each catalog takes, as committed; None: not known.
        is_healthy: whether the last write worked.
        was_rebuilt: whether a damaged file was set aside.
        is_complete: whether the file knows all chunk files, as committed.
        suspicion: set by the loop: the epoch in which a reader met damage, and what it said.
        wants_shares: set by the loop: to keep ``shares`` from now on.
        condemned: set by the loop: the epoch of a file that somebody wants replaced, sound or not.
        listeners: called in the loop after the file was replaced.
        gate: held while the file is replaced, until ``epoch`` says so, and while the loop reads: a reader that opens
            the old file between two renames makes a ``-shm`` that the new file is given, too, and SQLite, whose
            locks do not hold within one process, cuts it under the other's map (SIGBUS).
    """

    def __init__(
        self, store: Store, queue: OpQueue, touches: TouchLog, clock: Clock, metrics: Metrics
    ) -> None:
        self.epoch = 0
        self.opened: Opened
        self.totals = Totals(0, 0)
        self.shares: Shares | None = None
        self.wants_shares = False
        self.is_healthy = False
        self.was_rebuilt = False
        self.is_complete = False
        self.suspicion: tuple[int, str] | None = None
        self.condemned: int | None = None
        self.listeners: list[Callable[[], object]] = []
        self.gate = threading.Lock()
        self._store = store
        self._queue = queue
        self._touches = touches
        self._clock = clock
        self._metrics = metrics
        self._loop: trio.lowlevel.TrioToken
        self._opening: Reply
        self._in_hand: list[Op] = []
        self._retry_at: float | None = None
        self._retry_after = RETRY_FIRST
        self._rebuilt_at: float | None = None

    def prepare(self, loop: trio.lowlevel.TrioToken) -> Reply:
        """In the loop, before the thread starts: where results go, and what tells that the file is open."""
        self._loop, self._opening = loop, Reply()
        return self._opening

    def run(self) -> None:
        """The thread, from beginning to end."""
        try:
            if self._open():
                self._serve()
        except Exception:  # a dead writer must reach its clients, below, and the log
            log.exception("the index writer failed; the cache is not written to any more")
        finally:  # its end must reach its clients, whatever the reason
            self.is_healthy = False
            left = [*self._in_hand, *self._queue.drain()]
            self._report([(op, None, IndexUnavailable("the index is closed")) for op in left], "closed")
            self._store.close(checkpoint=False)

    def _open(self) -> bool:
        error: Exception | None = None
        try:
            self._store.open()
            self._show()
        except CacheFolderError as refusal:
            error = refusal
        except Exception as failure:  # noqa: BLE001 - whatever it is, the waiting start() must hear of it
            error = IndexUnavailable(f"the index cannot be opened: {failure}")
            error.__cause__ = failure
        self._in_loop(partial(self._opening.settle, None, error))
        return error is None

    def _serve(self) -> None:
        while (batch := self._queue.take(self._get_patience)) is not None:
            self._in_hand = batch
            self._heed_suspicion()
            self._write(batch)
            self._in_hand = []
            self._tidy()
        if self._retry_at is None:
            self._write([], is_last=True)
            self._store.close(checkpoint=True)

    def _get_patience(self) -> float | None:
        """Seconds to wait for operations before looking what else there is to do; None: nothing, until somebody says."""
        if self._retry_at is not None:
            return RETRY_FIRST
        if self._store.session.has_gone_folders:
            return 0.0
        if self._store.is_wal_left:
            return FLUSH_SECONDS
        return self._touches.get_patience()

    def _show(self) -> None:
        """Let the loop see the file as it is now."""
        self.opened = self._store.opened
        self.was_rebuilt = self._store.was_rebuilt
        self._show_sums()
        self.is_healthy = True
        if self.epoch != self._store.generation:
            self.epoch = self._store.generation
            for listener in self.listeners:
                self._in_loop(listener)

    def _show_sums(self) -> None:
        session = self._store.session
        self.totals = session.totals
        self.is_complete = session.is_complete
        if self.wants_shares:
            self.shares = session.shares.get_snapshot()

    # --- writing ---------------------------------------------------------------------------------

    def _write(self, batch: list[Op], *, is_last: bool = False) -> None:
        if self._retry_at is not None and not self._try_again():
            self._report(self._answer_otherwise(batch, "the index cannot be written now"), "paused")
            return
        wants_touches = is_last or any(op.wants_touches for op in batch) or self._touches.is_due()
        uses = self._touches.take() if wants_touches else {}
        if uses:
            batch = [Op(partial(write_uses, uses=uses), len(uses)), *batch]
        if self.wants_shares and batch:
            batch = [Op(load_shares, 0), *batch]
        if batch:
            self._report(self._commit(batch))

    def _commit(self, batch: list[Op]) -> list[Outcome]:
        try:
            values = self._store.transact(batch)
        except Exception as error:  # noqa: BLE001 - an operation may raise anything; the thread must go on
            if diagnose(error) is Ailment.REJECTED and len(batch) > 1:
                return [outcome for op in batch for outcome in self._commit([op])]
            self._get_over(error)
            return self._answer_otherwise(batch, f"not recorded: {error}")
        self._show_sums()
        self._in_loop(partial(self._metrics.count, "index.commits"))
        return [(op, value, None) for op, value in zip(batch, values, strict=True)]

    def _answer_otherwise(self, ops: list[Op], why: str) -> list[Outcome]:
        """What operations that were not done are told."""
        outcomes: list[Outcome] = []
        for op in ops:
            value: Any = None
            error: Exception | None = IndexUnavailable(why)
            if op.otherwise is not None and self._retry_at is not None:
                try:
                    value, error = op.otherwise(self._store.session), None
                except Exception:  # not even reading works: then it is the refusal after all
                    log.debug("the index cannot be read either", exc_info=True)
            outcomes.append((op, value, error))
        return outcomes

    def _tidy(self) -> None:
        if self._retry_at is not None:
            return
        try:
            idle = self._queue.is_empty()
            if idle and self._store.session.has_gone_folders:
                self._store.transact([Op(clear_gone_folder)])
            self._store.tidy_wal(idle=idle)
            if self._store.is_wal_full:
                self._pause(apsw.BusyError("another program keeps a transaction open on the index"))
        except Exception as error:  # noqa: BLE001 - an operation may raise anything; the thread must go on
            self._get_over(error)

    # --- getting over it -------------------------------------------------------------------------

    def _get_over(self, error: Exception) -> None:
        ailment = diagnose(error)
        self._in_loop(partial(self._metrics.count, "index.write_errors", reason=ailment.value))
        if ailment is Ailment.CORRUPT:
            self._replace(str(error))
        elif ailment is Ailment.REJECTED:
            log.warning("the index could not record something: %s", error, extra={"rate_limit": 60})
        else:
            self._pause(error)

    def _pause(self, error: Exception) -> None:
        self.is_healthy = False
        self._retry_at = self._clock.monotonic() + self._retry_after
        self._retry_after = min(RETRY_MOST, self._retry_after * 2)
        log.warning(
            "the index cannot be written (%s); the cache does without for now",
            error,
            extra={"rate_limit": 60},
        )

    def _resume(self) -> None:
        self._retry_at, self._retry_after = None, RETRY_FIRST
        self._show()

    def _try_again(self) -> bool:
        if self._retry_at is not None and self._clock.monotonic() < self._retry_at:
            return False
        try:
            # Only without an open file does a probe open, or replace, one: else the loop goes on reading.
            with contextlib.nullcontext() if self._store.is_open else self.gate:
                self._store.probe()
                self._resume()
        except Exception as error:  # noqa: BLE001 - still sick, or worse: in any case not now
            self._get_over(error)
            return self._retry_at is None
        log.info("the index can be written again")
        return True

    def _heed_suspicion(self) -> None:
        suspicion, self.suspicion = self.suspicion, None
        if suspicion is not None and suspicion[0] == self._store.generation and self._retry_at is None:
            self._replace(suspicion[1])
        condemned, self.condemned = self.condemned, None
        if condemned == self._store.generation:
            self._rebuilt_at = None
            self._replace("it is to be made anew")

    def _replace(self, why: str) -> None:
        now = self._clock.monotonic()
        if self._rebuilt_at is not None and now - self._rebuilt_at < REBUILD_SECONDS:
            self._pause(IndexUnavailable(f"damaged again so soon: {why}"))
            return
        self._rebuilt_at = now
        try:
            with self.gate:
                self._store.rebuild(why)
                self._touches.take()  # of rows that are gone
                self._resume()
        except Exception as error:  # noqa: BLE001 - the thread must go on and try again later
            self._pause(error)

    # --- to the loop -----------------------------------------------------------------------------

    def _report(self, outcomes: Sequence[Outcome], reason: str = "failed") -> None:
        if outcomes:
            self._in_loop(partial(self._deliver, outcomes, reason))

    def _deliver(self, outcomes: Sequence[Outcome], reason: str) -> None:
        for op, value, error in outcomes:
            if op.reply is not None:
                op.reply.settle(value, error)
        dropped = sum(op.reply is None and error is not None for op, _, error in outcomes)
        if dropped:
            self._metrics.add("index.dropped_posts", dropped, reason=reason)

    def _in_loop(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(trio.RunFinishedError):  # nobody is left to hear it
            self._loop.run_sync_soon(call)
