"""What was asked: a bounded log, counts and bytes, and a way to wait for a call without guessing at time.

The difficulty: a client has its last byte before the server knows that it was the last, so a log line written at
the end of a reply would come too late for a test that reads it at once. A record is therefore made when the call
arrives and filled before each piece is handed to the socket.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Side = Literal["workspace", "cloud"]


@dataclass(slots=True, kw_only=True)
class Record:
    """One request, as far as it has come.

    Attributes:
        at: Unix time of arrival.
        kind: such as ``files.get``; see ``app.py`` for all of them.
        path: decoded, without the query.
        query: as sent.
        range: the Range header, or None.
        headers: of the request, lower-case, without Authorization.
        user: who asked, when a good token said so.
        token: fingerprint of the token that was shown; never the token.
        status: of the reply, None before there is one.
        bytes_sent: of the body.
        finished: the reply ended, as it should or not.
        faults: names of the effects that were played on it.
    """

    request_id: str
    side: Side
    kind: str
    method: str
    path: str
    query: str = ""
    range: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    at: float = field(default_factory=time.time)
    user: str | None = None
    token: str | None = None
    status: int | None = None
    bytes_sent: int = 0
    finished: bool = False
    faults: tuple[str, ...] = ()


class Journal:
    """Requests of both servers. Safe to use from any thread."""

    def __init__(self, keep: int) -> None:
        self._changed = threading.Condition()
        self._records: deque[Record] = deque(maxlen=keep)
        self._counts: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._in_flight: Counter[str] = Counter()
        self._peaks: Counter[str] = Counter()
        self.leaked_authorization = 0

    def begin(self, record: Record) -> None:
        """A call has arrived."""
        with self._changed:
            self._records.append(record)
            self._counts[record.kind] += 1
            self._in_flight[record.kind] += 1
            self._in_flight[record.side] += 1
            for key in (record.kind, record.side):
                self._peaks[key] = max(self._peaks[key], self._in_flight[key])
            self._changed.notify_all()

    def sending(self, record: Record, length: int) -> None:
        """So many bytes of the body are about to go."""
        with self._changed:
            record.bytes_sent += length
            self._bytes[record.kind] += length
            self._changed.notify_all()

    def end(self, record: Record) -> None:
        """The reply is over, well or badly."""
        with self._changed:
            record.finished = True
            self._in_flight[record.kind] -= 1
            self._in_flight[record.side] -= 1
            self._changed.notify_all()

    def note_leak(self) -> None:
        """The cloud store was shown an Authorization header."""
        with self._changed:
            self.leaked_authorization += 1

    def get_log(self, kind: str | None = None) -> list[Record]:
        """The requests, oldest first; of one kind when asked."""
        with self._changed:
            return [record for record in self._records if kind in (None, record.kind)]

    def get_counts(self) -> Counter[str]:
        """Calls by kind."""
        with self._changed:
            return self._counts.copy()

    def get_bytes(self) -> Counter[str]:
        """Body bytes sent by kind."""
        with self._changed:
            return self._bytes.copy()

    def get_in_flight(self) -> Counter[str]:
        """Calls being answered, by kind and by side."""
        with self._changed:
            return +self._in_flight

    def get_peaks(self) -> Counter[str]:
        """The most calls that were being answered at one time, by kind and by side."""
        with self._changed:
            return self._peaks.copy()

    def clear(self) -> None:
        """Empty log, counts and peaks; calls in flight stay in flight."""
        with self._changed:
            self._records.clear()
            self._counts.clear()
            self._bytes.clear()
            self._peaks = self._in_flight.copy()
            self.leaked_authorization = 0

    def wait_until(self, condition: Callable[[Journal], bool], timeout: float = 10) -> bool:
        """Block until the condition holds; it is looked at when a call arrives, sends or ends.

        Returns:
            False when ``timeout`` seconds passed first.
        """
        # The lock is re-entrant, so the condition may call the getters above.
        with self._changed:
            return self._changed.wait_for(lambda: condition(self), timeout)
