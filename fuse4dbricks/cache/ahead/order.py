"""The order in which a walk will come to folders that are not listed yet.

The difficulty: ``find`` goes into each folder before it goes to the next one beside it, ``ls */*`` lists the folders of
a folder and nothing below, and both look the same at first. So for each folder it is remembered which of its sub-folders
were opened, in order, and how deep below it anybody has gone; what is predicted goes no deeper. What lies below a folder
is known when its own listing is, so the order grows while it is walked.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from fuse4dbricks.cache.ahead.runs import Run, Runs
from fuse4dbricks.cache.listing import Listing
from fuse4dbricks.entry import Kind
from fuse4dbricks.paths import RemotePath

#: Folders remembered as opened, for all users; a walk needs one for each level that it is in.
MAX_TRAILS = 512

#: A depth that no walk makes up for.
NEVER = -(10**6)

GetListing = Callable[[RemotePath], Listing | None]


@dataclass(slots=True)
class Trail:
    """What somebody did in a folder that he opened.

    Attributes:
        runs: which of its sub-folders he opened.
        reach: how many levels below it he has gone at most.
    """

    runs: Runs = field(default_factory=Runs)
    reach: int = 0


@dataclass(frozen=True, slots=True)
class _Level:
    """A folder on the way down to where somebody is.

    Attributes:
        path, listing: of the folder.
        reach: how deep below it he has gone before.
        run: his way through its sub-folders, there.
        width: how far ahead that is worth being, seen by itself.
    """

    path: RemotePath
    listing: Listing
    reach: int
    run: Run
    width: int


class Order:
    """The trails of all who open folders, and what they say comes next."""

    def __init__(self, get_listing: GetListing) -> None:
        self._get_listing = get_listing
        self._trails: OrderedDict[tuple[Hashable, RemotePath], Trail] = OrderedDict()

    def note_opened(self, who: Hashable, path: RemotePath, least: int) -> list[RemotePath]:
        """``who`` opened the folder at ``path``, which is inside a volume.

        Args:
            who: tells visitors apart.
            path: what he has opened.
            least: openings in order that make a walk.

        Returns:
            Folders that his walk will come to next, nearest first; none when he is not seen to walk.
        """
        self._step(who, path)
        levels = list(self._levels_above(who, path, least))
        width = max((level.width for level in levels), default=0)
        upcoming = list(islice(self._after(levels, path), width))
        for height, (_, trail) in enumerate(self._trails_above(who, path), 1):
            trail.reach = max(trail.reach, height)
        # Whoever opens it again begins anew.
        self._trails[who, path] = Trail()
        self._trails.move_to_end((who, path))
        if len(self._trails) > MAX_TRAILS:
            self._trails.popitem(last=False)
        return upcoming

    def _step(self, who: Hashable, path: RemotePath) -> None:
        trail = self._trails.get((who, path.parent))
        listing = self._get_listing(path.parent) if trail is not None else None
        rank = _rank_of(listing, path.name) if listing is not None else None
        if trail is not None and rank is not None:
            trail.runs.take(rank)

    def _levels_above(self, who: Hashable, path: RemotePath, least: int) -> Iterator[_Level]:
        """From the folder that holds ``path`` up, as far as they were opened and are in RAM."""
        name = path.name
        for folder, trail in self._trails_above(who, path):
            listing = self._get_listing(folder)
            rank = _rank_of(listing, name) if listing is not None else None
            run = trail.runs.find(rank) if rank is not None else None
            if listing is None or run is None:
                return
            yield _Level(folder, listing, trail.reach, run, run.get_width(least))
            name = folder.name

    def _trails_above(self, who: Hashable, path: RemotePath) -> Iterator[tuple[RemotePath, Trail]]:
        while path.depth > path.volume.depth:
            path = path.parent
            trail = self._trails.get((who, path))
            if trail is None:
                return
            yield path, trail

    def _after(self, levels: list[_Level], path: RemotePath) -> Iterator[RemotePath]:
        """What follows ``path`` in a walk of which ``levels`` lead there, the nearest first."""
        # How deep below ``path`` each walk goes: three levels below its own folder before means three here, too.
        depths = [level.reach - height if level.width else NEVER for height, level in enumerate(levels, 1)]
        yield from self._below(path, max(depths, default=0))
        for height, level in enumerate(levels, 1):
            # A walk through an upper folder that has gone as deep carries him through this one from the start.
            depth = max(depths[height - 1 :]) + height - 1
            if depth < 0:
                continue
            places = level.listing.folder_places
            ranks = level.run.get_next(len(places), len(places))
            for child in _folders_at(level.path, level.listing, (places[rank] for rank in ranks)):
                yield child
                yield from self._below(child, depth)

    def _below(self, path: RemotePath, depth: int) -> Iterator[RemotePath]:
        listing = self._get_listing(path) if depth > 0 else None
        if listing is not None:
            for child in _folders_at(path, listing, listing.folder_places):
                yield child
                yield from self._below(child, depth - 1)


def _folders_at(folder: RemotePath, listing: Listing, places: Iterable[int]) -> Iterator[RemotePath]:
    entries = (listing.entries[place] for place in places)
    # A place at which a folder came may be a file's by now.
    return (folder.child(entry.name) for entry in entries if entry.kind is not Kind.FILE)


def _rank_of(listing: Listing, name: str) -> int | None:
    """Which of the folders of a listing it is."""
    place = listing.get_place(name)
    return None if place is None else bisect_left(listing.folder_places, place)
