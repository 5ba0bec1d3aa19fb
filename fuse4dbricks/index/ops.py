"""Operations on their way to the writer thread.

The difficulties: a listing of a thousand rows and one access time are not the same load, so the queue is bounded in
rows; whoever waits for a result may be cancelled, and the operation must not notice; and a thread that is no longer
there must answer what is queued and refuse what comes, or its clients wait for ever.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trio

from fuse4dbricks.errors import IndexUnavailable
from fuse4dbricks.index.session import Session

#: Rows that may wait: 65 pages of a listing, some 20 MB. Awaited operations may exceed it by a tenth.
MAX_ROWS = 65_000
#: Rows per transaction: some 25 ms.
BATCH_ROWS = 5_000
#: Seconds for which operations that nobody waits for are gathered.
LINGER_SECONDS = 0.05


class Reply:
    """The outcome of one operation, for one waiting task."""

    def __init__(self) -> None:
        self._settled = trio.Event()
        self._value: Any = None
        self._error: Exception | None = None

    def settle(self, value: Any, error: Exception | None) -> None:
        """In the loop: let the waiting task go on."""
        self._value, self._error = value, error
        self._settled.set()

    async def wait(self) -> Any:
        """The value.

        Raises:
            IndexUnavailable: it could not be done.
            CacheFolderError: (opening only) the index is not one to be used.
        """
        await self._settled.wait()
        if self._error is not None:
            raise self._error
        return self._value


@dataclass(slots=True, eq=False)
class Op:
    """One operation.

    Attributes:
        write: what to do inside the transaction; may be called again after a rollback.
        rows: its weight.
        reply: where the outcome goes; None: nobody waits.
        wants_touches: whether the times of use in RAM must be written before it.
        otherwise: what to answer, by reading only, when the disk refuses the write; None: that it did not happen.
    """

    write: Callable[[Session], Any]
    rows: int = 1
    reply: Reply | None = None
    wants_touches: bool = False
    otherwise: Callable[[Session], Any] | None = None


class OpQueue:
    """From the loop to the writer thread."""

    def __init__(self) -> None:
        self._ops: deque[Op] = deque()
        self._rows = 0
        self._urgent = 0
        self._closed = False
        self._is_woken = False
        self._changed = threading.Condition()

    def put(self, op: Op) -> bool:
        """Queue an operation; False when there is no room.

        Raises:
            IndexUnavailable: nobody takes operations any more.
        """
        limit = MAX_ROWS if op.reply is None else MAX_ROWS * 11 // 10
        with self._changed:
            if self._closed:
                raise IndexUnavailable("the index is closed")
            if self._rows + op.rows > limit and self._ops:
                return False
            self._ops.append(op)
            self._rows += op.rows
            self._urgent += op.reply is not None
            if len(self._ops) == 1 or op.reply is not None:
                self._changed.notify()
            return True

    def take(self, get_patience: Callable[[], float | None]) -> list[Op] | None:
        """The next batch; empty when nothing came for so many seconds (None: for ever); None when closed and empty.

        Who calls :meth:`wake` after changing what ``get_patience`` goes by is never overheard.
        """
        with self._changed:
            if not self._ops and not self._closed and not self._is_woken:
                self._changed.wait(get_patience())
            self._is_woken = False
            if self._ops and not self._urgent and not self._closed:
                self._changed.wait_for(self._is_pressing, LINGER_SECONDS)
            if not self._ops:
                return None if self._closed else []
            return self._pop_batch()

    def _is_pressing(self) -> bool:
        return self._closed or self._urgent > 0 or self._rows >= BATCH_ROWS

    def _pop_batch(self) -> list[Op]:
        batch: list[Op] = []
        rows = 0
        while self._ops and (not batch or rows + self._ops[0].rows <= BATCH_ROWS):
            op = self._ops.popleft()
            self._urgent -= op.reply is not None
            rows += op.rows
            batch.append(op)
        self._rows -= rows
        return batch

    def wake(self) -> None:
        """Make :meth:`take` return though nothing was queued."""
        with self._changed:
            self._is_woken = True
            self._changed.notify()

    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._ops

    def close(self) -> None:
        """Take no more; what is queued is still given out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def drain(self) -> list[Op]:
        """Take no more, and give out all that is left."""
        with self._changed:
            self._closed = True
            left = list(self._ops)
            self._ops.clear()
            self._rows = self._urgent = 0
            return left
