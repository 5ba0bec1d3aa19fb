"""Orders that need more than a cache folder: the workspace, its users, and what a mount shows.

The difficulty: these are given by a person who waits, in whose name the workspace is asked, and may take hours. Whoever may
give orders at all (the user who mounted, and root) acts in his own name; root, who is seldom signed in himself, in that
of the user who mounted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import trio

from fuse4dbricks.app.upkeep.fields import numbered, path_from, texts, worded
from fuse4dbricks.app.upkeep.wire import Answer, Order, OrderRefused
from fuse4dbricks.app.warming.job import WarmJob
from fuse4dbricks.app.warming.keeper import PinKeeper, settle_all
from fuse4dbricks.app.warming.scene import Progress, WarmScene, Wish
from fuse4dbricks.app.warming.walk import Surveyor
from fuse4dbricks.clock import Clock
from fuse4dbricks.errors import (
    CacheError,
    InvalidToken,
    NotFound,
    NoToken,
    PermissionDenied,
    RemoteError,
    Unreachable,
)
from fuse4dbricks.index.records import Pin
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.units import format_bytes

#: Ranges at once: the Files API serves ten calls, and readers are to find some free.
MAX_JOBS = 8

#: Paths in one order; there may be more lines with more of them.
MAX_PATHS = 100_000

#: Seconds for which who changes a pin waits for the marks of its chunks; what is left the keeper does.
SETTLE_SECONDS = 20.0

#: What a command ends with (as `explain` does): nobody is signed in; the workspace did not say, refuses, or has no such thing.
NOT_SIGNED_IN = 5
REFUSED = 8
ABSENT = 9
NOT_SAID = 7


@dataclass(slots=True)
class Task:
    """Work that takes long.

    Attributes:
        progress: how far it is.
        run: does it.
    """

    progress: Progress
    run: Callable[[], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Attendant:
    """Carries such orders out.

    Attributes:
        scene: what filling the cache works on.
        keeper: of the pins; None where nobody stays to keep them.
        max_pinned: bytes that pins may take of the disk.
        owner_uid: who mounted.
        root: what is at the mount point.
        filters: the lists of the mount, as given: shown, hidden.
        counts: what writes down the counts of the mount, and returns when that is done; None where nothing counts.
    """

    scene: WarmScene
    keeper: PinKeeper | None
    clock: Clock
    max_pinned: int
    owner_uid: int
    root: RemotePath
    filters: tuple[tuple[str, ...], tuple[str, ...]] = field(default=((), ()))
    counts: Callable[[], Awaitable[None]] | None = None

    # --- quick ones ------------------------------------------------------------------------------

    def describe(self) -> Answer:
        """What this mount shows, and where."""
        return {"root": str(self.root), "shown": self.filters[0], "hidden": self.filters[1]}

    async def note_counts(self) -> None:
        """Write down what was counted; returns when others can read it.

        Raises:
            CacheError: the index cannot be written now.
        """
        if self.counts is not None:
            await self.counts()

    async def list_pins(self) -> Answer:
        """All pins.

        Raises:
            OrderRefused: the index is busy.
        """
        pins = self.scene.pins.load_all()
        if pins is None:
            raise OrderRefused("the index cannot be read now; try again")
        now = self.clock.wall()
        shown = [pin for pin in pins if not pin.has_ended(now) and self.scene.visibility.shows(pin.path)]
        return {
            "pins": [self._pin(pin) for pin in shown],
            "pinned_bytes": self.scene.get_pinned_bytes(),
            "max_bytes": self.max_pinned,
        }

    def _pin(self, pin: Pin) -> dict[str, Any]:
        state = {} if self.keeper is None else self.keeper.get_state(pin.path).snapshot()
        return {
            "path": str(pin.path),
            "uid": pin.created_by,
            "created_at": pin.created_at,
            "expires_at": pin.expires_at,
            **state,
        }

    async def unpin(self, order: Order) -> Answer:
        """Let a pin end."""
        path = path_from(worded(order, "path") or "")
        pins = [pin.path for pin in self.scene.pins.load_all() or []]
        found = next((each for each in pins if each.folded == path.folded), path)
        ended = self.scene.visibility.shows(found) and await self.scene.pins.end(found)
        await self._pins_changed()
        return {"path": str(found), "ended": ended}

    async def _pins_changed(self) -> None:
        if self.keeper is None:
            await settle_all(self.scene.pins, self.clock)
            return
        # The keeper may be busy with a large pin for hours; what has ended is let go now.
        with trio.move_on_after(SETTLE_SECONDS):
            await settle_all(self.scene.pins, self.clock)
        self.keeper.ask()

    # --- long ones -------------------------------------------------------------------------------

    def begin(self, order: Order, paths: list[str], uid: int) -> Task:
        """Prepare a ``warm`` or ``pin`` order.

        Args:
            order: the order's fields.
            paths: from further lines of it.
            uid: who gives it.

        Raises:
            OrderRefused: it is not understood, or there is no disk cache.
        """
        given = [path_from(text) for text in [*texts(order, "paths"), *paths]]
        if not given:
            raise OrderRefused("no path is given", 2)
        wish = Wish(
            tuple(given),
            uid,
            max(1, min(int(numbered(order, "jobs") or 6), MAX_JOBS)),
            is_dry_run=bool(order.get("dry_run")),
            is_checked=bool(order.get("check")),
        )
        if order["order"] == "pin":
            return self._begin_pin(wish, numbered(order, "ttl"))
        job = WarmJob(self.scene, wish)
        return Task(job.progress, lambda: self._warm(job, wish))

    async def _warm(self, job: WarmJob, wish: Wish) -> Answer:
        await self._in_words(job.run, wish.uid)
        return job.progress.snapshot()

    def _begin_pin(self, wish: Wish, ttl: float | None) -> Task:
        if len(wish.paths) > 1:
            raise OrderRefused("one path at a time can be pinned", 2)
        job = WarmJob(self.scene, wish)

        async def run() -> Answer:
            pin = await self._in_words(lambda: self._pin_down(job, wish, ttl), wish.uid)
            await self._pins_changed()
            return {**job.progress.snapshot(), "path": str(pin.path), "expires_at": pin.expires_at}

        return Task(job.progress, run)

    async def _pin_down(self, job: WarmJob, wish: Wish, ttl: float | None) -> Pin:
        path = (await Surveyor(self.scene, wish.uid).resolve(wish.paths[0]))[0]
        await job.look()
        progress, taken = job.progress, self.scene.get_pinned_bytes()
        # What is below a pin already is counted in both; then it is only fetched anew.
        needed = 0 if self.scene.pins.covers(path) else progress.disk_bytes
        if taken + needed > self.max_pinned:
            raise OrderRefused(
                f"{path} takes {format_bytes(needed)} of the disk; pins may take {format_bytes(self.max_pinned)}, of "
                f"which {format_bytes(taken)} are taken: unpin something, or mount with a larger --pin-max-gb"
            )
        now = self.clock.wall()
        pin = Pin(path, wish.uid, now, None if ttl is None else now + ttl)
        if not await self.scene.pins.put(pin):
            raise OrderRefused("there are too many pins")
        progress.phase = "done"
        return pin

    async def _in_words(self, work: Callable[[], Awaitable[Any]], uid: int) -> Any:
        """What went wrong, for the person who waits."""
        try:
            return await work()
        except (NoToken, InvalidToken) as error:
            raise OrderRefused(f"nobody is signed in as uid {uid}: {error}", NOT_SIGNED_IN) from error
        except Unreachable as error:
            raise OrderRefused(
                f"the workspace cannot be reached: {error}; what was fetched stays, and running it again goes on",
                NOT_SAID,
            ) from error
        except CacheError as error:
            raise OrderRefused(f"the cache cannot do it now: {error}") from error
        except PermissionDenied as error:
            raise OrderRefused(f"the workspace refuses: {error}", REFUSED) from error
        except NotFound as error:
            raise OrderRefused(f"there is no such thing: {error}", ABSENT) from error
        except RemoteError as error:
            raise OrderRefused(f"the workspace does not let us go on: {error}", NOT_SAID) from error

    async def whose(self, uid: int) -> int:
        """In whose name the order of ``uid`` is carried out."""
        if uid != self.owner_uid and not await self.scene.gate.has_token(uid):
            return self.owner_uid
        return uid
