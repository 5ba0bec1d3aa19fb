"""Listing folders ahead of a recursive walk.

The difficulty: ``find`` waits for each listing before it asks for the next, so on a line of 30 ms a hundred folders take
three seconds, of which the connections idle almost all. Guessing right saves that; guessing wrong costs calls that the
service counts. So nothing is asked for that the walk itself would not ask for (:class:`Order`), only as long as guesses
come true (:class:`Caution`), behind whatever somebody waits for, in the walker's own name and while he may read the
volume, and no more than fits into RAM beside what is in use.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fuse4dbricks.cache.ahead.order import Order
from fuse4dbricks.cache.ahead.runs import WIDEST, Caution
from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.cache.listings import ListingCache
from fuse4dbricks.clock import Clock
from fuse4dbricks.concurrency.flights import FlightAborted
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.errors import RemoteError
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token, Viewer

logger = logging.getLogger("fuse4dbricks.ahead")

#: Listings that nobody has come for may take this part of the entries that RAM holds.
SHARE = 4
#: After so many seconds nobody will come for it any more.
PATIENCE_SECONDS = 20.0
#: Folders remembered as looked at, so that each is asked for once.
MAX_SEEN = 4096

MayRead = Callable[[Viewer, RemotePath], bool]
Key = tuple[Token, RemotePath]


@dataclass(slots=True)
class _Guess:
    """A listing that was asked for ahead; ``entries`` is None until it has come."""

    made_at: float
    entries: int | None = None


class ListingsAhead:
    """Told of each folder that is opened.

    Args:
        may_read: whether the viewer's right to the volume of a path is proved now.
        max_entries: entries that RAM holds in all.
    """

    def __init__(
        self,
        *,
        listings: ListingCache,
        may_read: MayRead,
        connectivity: Connectivity,
        supervisor: Supervisor,
        metrics: Metrics,
        clock: Clock,
        max_entries: int,
    ) -> None:
        self._listings = listings
        self._may_read = may_read
        self._connectivity = connectivity
        self._supervisor = supervisor
        self._metrics = metrics
        self._clock = clock
        self._most_entries = max_entries // SHARE
        self._order = Order(lambda path: listings.get(None, path))
        self._caution = Caution()
        self._guesses: OrderedDict[Key, _Guess] = OrderedDict()
        self._seen: OrderedDict[Key, float] = OrderedDict()
        #: Calls under way or queued.
        self.in_flight = 0

    def folder_opened(self, viewer: Viewer, path: RemotePath) -> None:
        """The viewer, who may read it, opened the folder at ``path``: list what he will come to next."""
        if not path.in_volume:
            return
        self._settle((viewer.token, path))
        upcoming = self._order.note_opened(viewer.token, path, self._caution.least)
        if not upcoming or not self._may_ask(viewer, path):
            return
        for folder in upcoming:
            if not self._has_room():
                return
            if self._is_news((viewer.token, folder)) and not self._listings.is_known(viewer, folder):
                self._ask(viewer, folder)

    # --- what is asked for -----------------------------------------------------------------------

    def _may_ask(self, viewer: Viewer, path: RemotePath) -> bool:
        return self._connectivity.get_outage() is None and self._may_read(viewer, path.volume)

    def _has_room(self) -> bool:
        held = sum(guess.entries or 0 for guess in self._guesses.values())
        return self._caution.allows_more and self.in_flight < WIDEST and held < self._most_entries

    def _is_news(self, key: Key) -> bool:
        """Whether it was not looked at a moment ago."""
        now = self._clock.monotonic()
        if now - self._seen.get(key, float("-inf")) < PATIENCE_SECONDS:
            return False
        self._seen[key] = now
        self._seen.move_to_end(key)
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        return True

    def _ask(self, viewer: Viewer, folder: RemotePath) -> None:
        guess = self._guesses[viewer.token, folder] = _Guess(self._clock.monotonic())
        self._caution.guessed()
        self._metrics.count("ahead.started", what="listing")
        self.in_flight += 1
        self._supervisor.start_soon("listing-ahead", self._fetch, viewer, folder, guess)

    async def _fetch(self, viewer: Viewer, folder: RemotePath, guess: _Guess) -> None:
        try:
            if self._may_ask(viewer, folder):
                guess.entries = len(await self._listings.fetch_ahead(viewer, folder))
        except (RemoteError, FlightAborted) as error:
            # Whoever comes for it asks himself, and hears of it.
            logger.debug("listing %s ahead: %s", folder, error)
        finally:
            self.in_flight -= 1

    # --- what became of it -----------------------------------------------------------------------

    def _settle(self, opened: Key) -> None:
        """Count guesses that came true, and those that nobody came for."""
        if self._guesses.pop(opened, None) is not None:
            self._caution.won()
            self._metrics.count("ahead.used", what="listing")
        oldest = self._clock.monotonic() - PATIENCE_SECONDS
        while self._guesses and next(iter(self._guesses.values())).made_at < oldest:
            self._guesses.popitem(last=False)
            self._caution.lost()
            self._metrics.count("ahead.wasted", what="listing")
