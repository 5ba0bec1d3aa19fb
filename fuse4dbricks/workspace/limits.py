"""How many calls at once, how many a second, and who goes first.

The difficulty: the Files API serves 10 calls at a time and 100 a second (databricks-api 6) and answers 429 beyond
that, so what everybody wants must queue here. A reader who waits must not stand behind what was fetched ahead of
need; a listing not behind eight long downloads; one local user not behind a thousand calls of another, nor behind
ten of his that hang; and nobody behind the rate because the one who was to watch the clock was cancelled.

One :class:`CallLimiter` per service decides, with a :class:`~fuse4dbricks.workspace.rate.Rate` for the calls a second.
Its state changes only between awaits, so it needs no lock. On 429 it halves its width and wins it back one call per
round of successes (AIMD, as TCP does).
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field

import trio

from fuse4dbricks.workspace.rate import Rate

#: Throttling never shrinks the width below this: one call for data, one for all else.
NARROWEST = 2
#: After a 429 nothing starts for at most this long: the service's own window is a second.
LONGEST_HOLD = 1.0
#: While somebody else called within so many seconds, nobody gets all of the width: a fifth of it stays free for the
#: others, so that ten calls of one user that hang for their 20 s do not stop everybody.
COMPANY_SECONDS = 60.0
#: Parties remembered for that.
MAX_PARTIES = 256


class Urgency(enum.IntEnum):
    """Who waits for a call."""

    WAITED = 0
    AHEAD = 1


class Lane(enum.Enum):
    """What a call is for."""

    CATALOG = "catalog"
    METADATA = "metadata"
    DATA = "data"


class Ticket:
    """The urgency of one call, which may rise while the call queues.

    Attributes:
        urgency: as of now.
        promoted_at: trio time of the promotion, or None.
        on_promote: set by the limiter while the call queues or is in flight.
    """

    __slots__ = ("on_promote", "promoted_at", "urgency")

    def __init__(self, urgency: Urgency = Urgency.WAITED) -> None:
        self.urgency = urgency
        self.promoted_at: float | None = None
        self.on_promote: Callable[[], None] | None = None

    def promote(self) -> None:
        """Somebody waits for it now."""
        if self.urgency is Urgency.WAITED:
            return
        self.urgency = Urgency.WAITED
        self.promoted_at = trio.current_time()
        if self.on_promote is not None:
            self.on_promote()


@dataclass(frozen=True, slots=True)
class Limits:
    """Widths and rates. The Files API's are the backend's known limits with a margin for clock skew; the
    catalog's follow what the SDKs and the old control plane bear (databricks-api 6).

    Attributes:
        files_in_flight: Files-API calls at once.
        data_in_flight: of these, for file content.
        files_per_second: Files-API calls a second, and at once after a rest (:mod:`~fuse4dbricks.workspace.rate`).
        catalog_in_flight: Unity Catalog and SCIM calls at once.
        catalog_per_second: the same for Unity Catalog and SCIM calls.
    """

    files_in_flight: int = 10
    data_in_flight: int = 8
    files_per_second: int = 95
    catalog_in_flight: int = 8
    catalog_per_second: int = 30

    @property
    def connections(self) -> int:
        """What the connection pool must hold so that nobody queues in it."""
        return self.files_in_flight + self.catalog_in_flight


@dataclass(slots=True, eq=False)
class Lease:
    """The right to have one call in flight. Give it back with :meth:`CallLimiter.release`.

    Attributes:
        ticket: of the call.
        lane: of the call.
        party: in whose name.
        started_at: trio time.
        is_held: not given back yet.
        is_counted: the service has counted it, so its second runs.
    """

    ticket: Ticket
    lane: Lane
    party: Hashable
    started_at: float
    is_held: bool = True
    is_counted: bool = False

    @property
    def is_ahead(self) -> bool:
        """Whether nobody waits for it, as of now: tickets are promoted in flight too."""
        return self.ticket.urgency is Urgency.AHEAD


@dataclass(slots=True, eq=False)
class _Waiter:
    ticket: Ticket
    lane: Lane
    party: Hashable
    lease: Lease | None = None
    wake_at: float = float("inf")
    event: trio.Event = field(default_factory=trio.Event)


class CallLimiter:
    """Admits calls to one service."""

    def __init__(self, *, in_flight: int, data: int, per_second: int) -> None:
        self._widest = in_flight
        self._data_share = data / in_flight
        self._width = float(in_flight)
        self._held: set[Lease] = set()
        self._called_at: dict[Hashable, float] = {}
        self._rate = Rate(per_second)
        self._held_until = 0.0
        self._shrunk_at = float("-inf")
        # FIFO inside an urgency and a party; dicts because a cancelled waiter leaves from the middle.
        self._queues: dict[Urgency, dict[_Waiter, None]] = {urgency: {} for urgency in Urgency}
        self._timekeeper: _Waiter | None = None

    @property
    def width(self) -> int:
        """Calls admitted at once, as of now."""
        return int(self._width)

    @property
    def in_flight(self) -> int:
        """Calls admitted and not given back."""
        return len(self._held)

    @property
    def queued(self) -> int:
        """Calls that wait to be admitted."""
        return sum(map(len, self._queues.values()))

    async def acquire(self, ticket: Ticket, lane: Lane, party: Hashable = None) -> Lease:
        """Wait for a turn. Cancelling gives the place, or the turn, to the next.

        Args:
            ticket: how urgent it is.
            lane: what it is for.
            party: in whose name: of those who wait, whoever has the fewest calls in flight goes first.
        """
        waiter = _Waiter(ticket, lane, party)
        self._note_party(party)
        self._enqueue(waiter)
        ticket.on_promote = lambda: self._promote(waiter)
        try:
            self._dispatch()
            while waiter.lease is None:
                await self._doze(waiter)
            await trio.lowlevel.checkpoint_if_cancelled()
        except BaseException:  # raised on, cancellation too: the turn goes to the next
            ticket.on_promote = None
            if waiter.lease is not None:
                self.release(waiter.lease)
            raise
        finally:
            self._forget(waiter)
        return waiter.lease

    def release(self, lease: Lease) -> None:
        """The call is over, however it ended. Doing it twice is harmless."""
        if lease.is_held:
            self._count(lease)
            lease.is_held = False
            lease.ticket.on_promote = None
            self._held.discard(lease)
            self._dispatch()

    def note_answered(self, lease: Lease) -> None:
        """A reply has come, and it was not 429: widen by one per round of them."""
        self._count(lease)
        self._width = min(float(self._widest), self._width + 1 / self._width)
        self._dispatch()

    def note_throttled(self, lease: Lease, retry_after: float | None) -> None:
        """A reply has come, and it was 429: halve, once per round, and hold everything for a moment."""
        self._count(lease)
        now = trio.current_time()
        self._rate.note_refused(now)
        if lease.started_at > self._shrunk_at:
            self._width = max(float(min(NARROWEST, self._widest)), self._width / 2)
            self._shrunk_at = now
        self._held_until = max(self._held_until, now + min(retry_after or 0.0, LONGEST_HOLD))

    # --- the queue -------------------------------------------------------------------------------

    def _enqueue(self, waiter: _Waiter) -> None:
        self._queues[waiter.ticket.urgency][waiter] = None

    def _dequeue(self, waiter: _Waiter) -> None:
        for queue in self._queues.values():
            queue.pop(waiter, None)

    def _promote(self, waiter: _Waiter) -> None:
        if waiter.lease is None:
            self._dequeue(waiter)
            self._enqueue(waiter)
        self._dispatch()

    def _forget(self, waiter: _Waiter) -> None:
        self._dequeue(waiter)
        if self._timekeeper is waiter:
            # The next in line has to watch the clock now.
            self._timekeeper = None
            self._dispatch()

    async def _doze(self, waiter: _Waiter) -> None:
        """Wait for a turn or, as the timekeeper, for the rate to allow a call."""
        with trio.move_on_at(waiter.wake_at) as nap:
            await waiter.event.wait()
        waiter.event = trio.Event()
        if nap.cancelled_caught:
            waiter.wake_at = float("inf")
            if self._timekeeper is waiter:
                self._timekeeper = None
            self._dispatch()

    def _dispatch(self) -> None:
        """Admit whoever may go, in order."""
        now = trio.current_time()
        while (waiter := self._next(now)) is not None:
            is_ahead = waiter.ticket.urgency is Urgency.AHEAD
            opens_at = max(self._held_until, self._rate.get_opening(now, is_ahead=is_ahead))
            if opens_at > now:
                self._appoint_timekeeper(waiter, opens_at)
                return
            self._admit(waiter, now)

    def _admit(self, waiter: _Waiter, now: float) -> None:
        self._dequeue(waiter)
        waiter.lease = Lease(waiter.ticket, waiter.lane, waiter.party, now)
        self._held.add(waiter.lease)
        self._rate.note_started()
        waiter.event.set()

    def _appoint_timekeeper(self, waiter: _Waiter, opens_at: float) -> None:
        is_sooner = self._timekeeper is None or opens_at < self._timekeeper.wake_at
        if is_sooner and opens_at < float("inf"):
            self._timekeeper = waiter
            waiter.wake_at = opens_at
            waiter.event.set()

    def _count(self, lease: Lease) -> None:
        if not lease.is_counted:
            lease.is_counted = True
            self._rate.note_replied(trio.current_time())

    # --- who is next -----------------------------------------------------------------------------

    def _note_party(self, party: Hashable) -> None:
        self._called_at.pop(party, None)
        self._called_at[party] = trio.current_time()
        if len(self._called_at) > MAX_PARTIES:
            del self._called_at[next(iter(self._called_at))]

    def _next(self, now: float) -> _Waiter | None:
        """Of the most urgent who may go, the first of the party that has the least in flight."""
        held = Counter(lease.party for lease in self._held)
        for urgency in Urgency:
            waiter = min(self._eligible(urgency, now), key=lambda each: held[each.party], default=None)
            if waiter is not None:
                return waiter
        return None

    def _eligible(self, urgency: Urgency, now: float) -> Iterator[_Waiter]:
        """The first of each party and lane that has room."""
        rooms: dict[tuple[Hashable, Lane], bool] = {}
        for waiter in self._queues[urgency]:
            kind = (waiter.party, waiter.lane)
            if kind not in rooms:
                rooms[kind] = self._has_room(waiter, urgency, now)
                if rooms[kind]:
                    yield waiter

    def _has_room(self, waiter: _Waiter, urgency: Urgency, now: float) -> bool:
        """Whether a call of this kind may start beside those in flight.

        What is fetched ahead leaves a fifth of the width, and one data call, to those who wait; and so does whoever
        is not alone to the others.
        """
        width = self.width
        data_width = max(1, int(width * self._data_share))
        is_data = waiter.lane is Lane.DATA
        data = [lease for lease in self._held if lease.lane is Lane.DATA]
        if len(self._held) >= width or (is_data and len(data) >= data_width):
            return False
        if self._has_company(waiter.party, now):
            mine = sum(lease.party == waiter.party for lease in self._held)
            mine_data = sum(lease.party == waiter.party for lease in data)
            if not _leaves_some(mine, width) or (is_data and not _leaves_some(mine_data, data_width)):
                return False
        if urgency is Urgency.WAITED:
            return True
        ahead_data = sum(lease.is_ahead for lease in data)
        if is_data and not _leaves_some(ahead_data, data_width):
            return False
        return _leaves_some(sum(lease.is_ahead for lease in self._held), width)

    def _has_company(self, party: Hashable, now: float) -> bool:
        """Whether another party called lately; the dict is in the order of their last calls."""
        latest = next((each for each in reversed(self._called_at) if each != party), None)
        return latest is not None and now - self._called_at[latest] < COMPANY_SECONDS


def _leaves_some(taken: int, width: int) -> bool:
    """Whether one more of ``taken`` calls leaves a fifth of ``width``, and one at least, to others."""
    return taken < max(1, width - max(1, width // 5))
