"""Keeps what is pinned fresh: fetches what is new or has changed, calmly, and lets go of what is no more.

The difficulty: a pin may be on a million files, its user may not be signed in after a restart, the network may be away for
days, and a folder may grow beyond what pins may take. None of this may cost readers anything, or end the others: each
pin is looked at from time to time, with few calls, and what keeps it from being fresh is said to who asks.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from fuse4dbricks.app.warming.job import WarmJob
from fuse4dbricks.app.warming.scene import File, WarmScene, Wish
from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.clock import Clock
from fuse4dbricks.errors import CacheError, Fuse4dbricksError
from fuse4dbricks.index.pinning import Cursor, Seen, Wanted, seen_key
from fuse4dbricks.index.pins import Pins
from fuse4dbricks.index.records import Pin
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.units import format_bytes

logger = logging.getLogger("fuse4dbricks.pins")

#: Seconds between looks at one pin, and between looks at whether there is something to do.
REFRESH = 600.0
LOOK = 30.0

#: Ranges at once: readers have the rest.
JOBS = 2

#: Versions that are remembered of one pin, some 30 MB; with more than that, none is let go.
MAX_SEEN = 500_000


@dataclass(slots=True)
class PinState:
    """How a pin is.

    Attributes:
        state: waiting, fetching, fresh, or partial.
        why: of ``waiting`` and ``partial``.
        checked_at: Unix time of the last look that came to its end.
        files, bytes: found then.
        looked_at: monotonic second of the last look.
    """

    state: str = "waiting"
    why: str = ""
    checked_at: float | None = None
    files: int | None = None
    bytes: int | None = None
    looked_at: float = field(default=float("-inf"))

    def snapshot(self) -> dict[str, Any]:
        """As JSON has it."""
        names = ("state", "why", "checked_at", "files", "bytes")
        return {name: getattr(self, name) for name in names}


async def settle(pins: Pins, pin: Pin, wanted: Wanted) -> None:
    """Bring the marks of all chunks at and below a pin in line.

    Raises:
        IndexUnavailable: it has to be done again.
    """
    cursor: Cursor | None = None
    while (cursor := await pins.settle(pin, cursor, wanted)) is not None:
        pass


async def settle_all(pins: Pins, clock: Clock) -> list[Pin]:
    """Bring all marks in line, forget the pins that have ended, and return those that count.

    Raises:
        IndexUnavailable: it has to be done again.
    """
    active: list[Pin] = []
    for pin in pins.load_all() or []:
        has_ended = pin.has_ended(clock.wall())
        if has_ended or not pin.is_settled:
            await settle(pins, pin, (lambda _path, _key: False) if has_ended else (lambda _path, _key: True))
            await pins.finish(pin)
        if not has_ended:
            active.append(pin)
    if len(active) < len(pins.load_all() or []):
        # What ended may have lain below or above another one: that one's marks are made again.
        for pin in active:
            await settle(pins, pin, lambda _path, _key: True)
    return active


class PinKeeper:
    """The service that keeps pins."""

    def __init__(self, scene: WarmScene, *, connectivity: Connectivity, clock: Clock, max_bytes: int) -> None:
        self._scene = scene
        self._connectivity = connectivity
        self._clock = clock
        self._states: dict[RemotePath, PinState] = {}
        self._asked = trio.Event()
        self.max_bytes = max_bytes

    def ask(self) -> None:
        """Something about the pins has changed."""
        self._asked.set()

    def get_state(self, path: RemotePath) -> PinState:
        """How the pin on ``path`` is, as of the last look."""
        return self._states.get(path) or PinState(why="not looked at yet")

    async def run(self) -> None:
        """Keep them until cancelled."""
        is_limited = False
        while True:
            self._asked = trio.Event()
            pause = LOOK
            try:
                if not is_limited:
                    await self._scene.pins.limit(self.max_bytes)
                    is_limited = True
                pause = await self._look()
            except CacheError as error:
                logger.warning("the pins cannot be looked after now: %s", error, extra={"rate_limit": 60})
            with trio.move_on_after(pause):
                await self._asked.wait()

    async def _look(self) -> float:
        """Look after all of them; returns seconds until the next look, which nobody needs before there are pins."""
        active = await settle_all(self._scene.pins, self._clock)
        paths = {pin.path for pin in active}
        self._states = {path: state for path, state in self._states.items() if path in paths}
        for pin in active:
            state = self._states.setdefault(pin.path, PinState())
            if self._clock.monotonic() - state.looked_at >= REFRESH:
                await self._refresh(pin, state)
        if self._scene.pins.load_all() == []:
            return math.inf
        # Until the marks of an ended pin are gone, eviction leaves its chunks alone.
        ends = (pin.expires_at - self._clock.wall() for pin in active if pin.expires_at is not None)
        return min([LOOK, *(max(0.0, end) for end in ends)])

    async def _refresh(self, pin: Pin, state: PinState) -> None:
        if self._connectivity.get_outage() is not None:
            state.state, state.why = "waiting", "the workspace cannot be reached"
            return
        state.looked_at = self._clock.monotonic()
        try:
            job = PinJob(self._scene, pin, self.max_bytes)
            state.state, state.why = "fetching", ""
            await job.run()
        except CacheError:
            raise
        except Fuse4dbricksError as error:
            state.state, state.why = "waiting", str(error)
            # What is in the way may be gone soon: a token, the network, an index that is being rebuilt.
            state.looked_at += LOOK - REFRESH
            return
        progress = job.progress
        state.checked_at, state.files, state.bytes = self._clock.wall(), progress.files, progress.bytes
        state.state, state.why = ("partial", job.why) if job.why else ("fresh", "")


class PinJob(WarmJob):
    """Fetches what is missing below one pin, as far as pins may take so much."""

    def __init__(self, scene: WarmScene, pin: Pin, max_bytes: int) -> None:
        super().__init__(scene, Wish((pin.path,), pin.created_by, JOBS))
        self._pin = pin
        self._max_bytes = max_bytes
        self._seen: set[int] = set()
        self.why = ""

    async def run(self) -> None:
        """All of it.

        Raises:
            OrderRefused: the cache takes no more.
            CacheError: the index does not let us.
            RemoteError, NoToken: the workspace cannot be asked any more in this user's name.
        """
        await self.look()
        progress = self.progress
        if not progress.failed and len(self._seen) <= MAX_SEEN:
            await settle(self._scene.pins, self._pin, Seen(frozenset(self._seen)))
        taken = self._scene.get_pinned_bytes()
        if progress.to_fetch_bytes and taken + progress.to_fetch_bytes > self._max_bytes:
            self.why = (
                f"{format_bytes(progress.to_fetch_bytes)} are missing, and of the {format_bytes(self._max_bytes)} that "
                f"pins may take {format_bytes(taken)} are taken"
            )
            return
        if progress.to_fetch_bytes:
            await self.fetch()
        if progress.failed:
            self.why = "; ".join(progress.problems[:3])

    async def _count(self, folder: RemotePath, files: Sequence[File]) -> None:
        if len(self._seen) <= MAX_SEEN:
            self._seen.update(seen_key(path, version) for path, version in files)
        await super()._count(folder, files)
