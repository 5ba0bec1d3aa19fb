"""Fetching small files ahead of who reads a folder in order.

The difficulty: ``cat *``, ``tar`` and a training loop open one small file after the other, so each costs a whole round
trip, while a folder that is read in shuffled order gives nothing to guess. So the next files of a listing are fetched only
while openings follow it (:class:`Runs`), the more of them the longer that goes on, and a guess in vain asks for more
evidence the next time. What is fetched goes the way of all bytes, so that a reader who comes joins it; it is held, within a
bound, until he does, and let go when he does not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import trio

from fuse4dbricks.cache.ahead.runs import Caution, Run, Runs
from fuse4dbricks.cache.connectivity import Connectivity
from fuse4dbricks.cache.listing import Listing
from fuse4dbricks.cache.listings import ListingCache
from fuse4dbricks.concurrency.supervise import Supervisor
from fuse4dbricks.entry import Kind, Version
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Token, Viewer
from fuse4dbricks.units import MIB

#: A larger file is read in pieces anyway, and its own reader fetches ahead in it.
LARGEST_BYTES = 4 * MIB
#: Files on their way at once: as many as the service takes of data calls.
MOST_IN_FLIGHT = 8
#: Files held for readers who have not come yet.
MOST_HELD = 64
#: They may take this part of the RAM tier.
SHARE = 8
#: After so many seconds without a reader a guess was wrong.
PATIENCE_SECONDS = 10.0
#: Openings remembered while the kernel answers all reads: more than eight readers that take turns need to be recognised.
MAX_OPENINGS = 64
#: Folders remembered in which files were opened.
MAX_FOLDERS = 256

#: The viewer who reads at a path, with a token that is good, after his right was checked.
ViewerAt = Callable[[RemotePath], Awaitable[Viewer]]


class Anticipated(Protocol):
    """A file on its way."""

    @property
    def missing(self) -> int:
        """Bytes that are fetched."""
        ...

    @property
    def landed(self) -> trio.Event:
        """Nothing more will come."""
        ...

    def close(self, *, was_used: bool) -> None:
        """Hold it no longer."""
        ...


class SmallFiles(Protocol):
    """The data cache."""

    def anticipate(
        self, viewer_of: Callable[[], Awaitable[Viewer]], path: RemotePath, version: Version
    ) -> Anticipated | None:
        """Begin to fetch it; None when it is here, or there is no room."""
        ...


@dataclass(slots=True)
class _Guess:
    """A file that was fetched ahead, until its reader comes."""

    anticipated: Anticipated
    opened: trio.Event = field(default_factory=trio.Event)


@dataclass(slots=True)
class _Folder:
    """What somebody opens in a folder, and how guesses about it went."""

    runs: Runs = field(default_factory=Runs)
    caution: Caution = field(default_factory=Caution)


class FilesAhead:
    """Told of each file that is opened."""

    def __init__(
        self,
        *,
        files: SmallFiles,
        listings: ListingCache,
        connectivity: Connectivity,
        supervisor: Supervisor,
        metrics: Metrics,
        ram_bytes: int,
    ) -> None:
        self._files = files
        self._listings = listings
        self._connectivity = connectivity
        self._supervisor = supervisor
        self._metrics = metrics
        self._most_bytes = ram_bytes // SHARE
        self._folders: OrderedDict[tuple[Token, RemotePath], _Folder] = OrderedDict()
        self._openings: deque[tuple[Viewer, RemotePath, Version, ViewerAt]] = deque(maxlen=MAX_OPENINGS)
        self._guesses: dict[tuple[RemotePath, Version], _Guess] = {}
        #: Files on their way, and bytes held or on their way.
        self.in_flight = 0
        self.held_bytes = 0

    def file_opened(self, viewer: Viewer, path: RemotePath, version: Version, viewer_at: ViewerAt) -> None:
        """The viewer, who may read it, opened a file: fetch those that he will come to next.

        Unless the kernel has all that is opened, which shows when bytes are asked for, or not.
        """
        self._openings.append((viewer, path, version, viewer_at))
        if self._guesses:
            self.bytes_asked()

    def bytes_asked(self) -> None:
        """Somebody reads what the kernel does not have, so whoever opens one file after the other may be waiting."""
        while self._openings:
            opening = self._openings.popleft()
            self._note(*opening, goes_on=not self._openings)

    def _note(
        self, viewer: Viewer, path: RemotePath, version: Version, viewer_at: ViewerAt, *, goes_on: bool
    ) -> None:
        """Learn from an opening, and if he ``goes_on`` from there, be ahead of him."""
        guess = self._guesses.get((path, version))
        if guess is not None:
            guess.opened.set()
        parent = path.parent
        listing = self._listings.get(None, parent)
        place = listing.get_place(path.name) if listing is not None else None
        if listing is None or place is None:
            return
        folder = self._folder(viewer, parent)
        run = folder.runs.take(place - bisect_left(listing.folder_places, place))
        if goes_on:
            self._go_on(folder, run, listing, viewer_at)

    def _folder(self, viewer: Viewer, path: RemotePath) -> _Folder:
        key = (viewer.token, path)
        folder = self._folders.get(key)
        if folder is None:
            folder = self._folders[key] = _Folder()
            if len(self._folders) > MAX_FOLDERS:
                self._folders.popitem(last=False)
        self._folders.move_to_end(key)
        return folder

    def _go_on(self, folder: _Folder, run: Run, listing: Listing, viewer_at: ViewerAt) -> None:
        """Fetch as far ahead of a run as is worth it and has room."""
        width = run.get_width(folder.caution.least)
        count = len(listing) - len(listing.folder_places)
        while width and (ahead := run.get_unseen(width, count)):
            if not (folder.caution.allows_more and self._has_room() and self._is_online()):
                return
            rank = ahead[0]
            run.note_seen(rank, was_needed=self._guess(folder, run, listing, rank, viewer_at))

    def _guess(self, folder: _Folder, run: Run, listing: Listing, rank: int, viewer_at: ViewerAt) -> bool:
        """Fetch the file of that rank, unless it is large, doubtful or here already. Whether it was fetched."""
        entry = listing.entries[_place_of(listing, rank)]
        version = entry.version
        if entry.kind is not Kind.FILE or version is None or not 0 < version.size <= LARGEST_BYTES:
            return False
        path = listing.path.child(entry.name)
        if (path, version) in self._guesses or listing.is_doubtful(entry):
            return False
        anticipated = self._files.anticipate(partial(viewer_at, path), path, version)
        if anticipated is None:
            return False
        guess = self._guesses[path, version] = _Guess(anticipated)
        folder.caution.guessed()
        self._metrics.count("ahead.started", what="file")
        self.in_flight += 1
        self.held_bytes += anticipated.missing
        again = partial(self._go_on, folder, run, listing, viewer_at)
        self._supervisor.start_soon("file-ahead", self._hold, (path, version), guess, folder.caution, again)
        return True

    def _is_online(self) -> bool:
        return self._connectivity.get_outage() is None

    def _has_room(self) -> bool:
        is_held = len(self._guesses) < MOST_HELD and self.held_bytes < self._most_bytes
        return is_held and self.in_flight < MOST_IN_FLIGHT

    async def _hold(
        self, key: tuple[RemotePath, Version], guess: _Guess, caution: Caution, again: Callable[[], None]
    ) -> None:
        """Keep a file until its reader comes, or for a while."""
        try:
            try:
                await guess.anticipated.landed.wait()
            finally:
                self.in_flight -= 1
            again()  # one may take its place
            with trio.move_on_after(PATIENCE_SECONDS):
                await guess.opened.wait()
        finally:
            self.held_bytes -= guess.anticipated.missing
            del self._guesses[key]
            guess.anticipated.close(was_used=guess.opened.is_set())
        self._judge(guess, caution)

    def _judge(self, guess: _Guess, caution: Caution) -> None:
        if guess.opened.is_set():
            caution.won()
            self._metrics.count("ahead.used", what="file")
        else:
            caution.lost()
            self._metrics.count("ahead.wasted", what="file")
            self._metrics.add("ahead.wasted_bytes", guess.anticipated.missing)


def _place_of(listing: Listing, rank: int) -> int:
    """The position of the file that has ``rank`` files before it."""
    place = rank
    while (better := rank + bisect_left(listing.folder_places, place + 1)) != place:
        place = better
    return place
