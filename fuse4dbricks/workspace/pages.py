"""Listings of many pages, from a server that may never end them.

The difficulty: a page may be empty and still name a next one, so only an absent token ends a listing, and a server
that repeats its tokens feeds a client for ever (the program this one learned from grew by 40 MB a second). And a
hostile folder may hold a thousand names that cannot be shown, which is one fact to log, not a thousand.
"""

from __future__ import annotations

import logging

from fuse4dbricks.errors import ProtocolViolation
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.workspace.wire import Listing

logger = logging.getLogger("fuse4dbricks.workspace")

#: Pages in a row that may bring nothing new; the service sends a few empty ones where grants hide objects.
MAX_IDLE_PAGES = 100
#: Pages of one listing: a hundred million entries in a folder, and an end for a server that invents them.
MAX_PAGES = 100_000
#: Folders remembered as complained about; the oldest is forgotten, which at worst repeats its line.
MAX_REMEMBERED = 1000


class PageTrail:
    """The page tokens that one walk through a listing has seen."""

    __slots__ = ("_idle", "_seen", "_what")

    def __init__(self, what: object) -> None:
        self._what = what
        # Hashes, because a token may have 16 KiB and a folder a thousand pages. A collision needs 2**32 pages.
        self._seen: set[int] = set()
        self._idle = 0

    def follow(self, next_token: str | None, new_entries: int) -> str | None:
        """Take note of a page with ``new_entries`` names not seen before and return the next page's token.

        Raises:
            ProtocolViolation: the token came before, too many pages in a row brought nothing new, or there are
                too many pages.
        """
        if next_token is None:
            return None
        self._idle = 0 if new_entries else self._idle + 1
        mark = hash(next_token)
        if mark in self._seen:
            raise ProtocolViolation(f"the listing of {self._what} repeats a page token")
        if self._idle > MAX_IDLE_PAGES:
            raise ProtocolViolation(f"the listing of {self._what} has {self._idle} pages with nothing new")
        if len(self._seen) >= MAX_PAGES:
            raise ProtocolViolation(f"the listing of {self._what} has more than {MAX_PAGES} pages")
        self._seen.add(mark)
        return next_token


class RejectLog:
    """Counts every entry that was left out, and logs each folder once."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._reported: dict[RemotePath, None] = {}

    def report(self, folder: RemotePath, listing: Listing) -> None:
        """Take note of what ``listing`` of ``folder`` left out."""
        if not listing.rejects:
            return
        self._metrics.add("remote.rejected_names", len(listing.rejects))
        if folder in self._reported:
            return
        while len(self._reported) >= MAX_REMEMBERED:
            del self._reported[next(iter(self._reported))]
        self._reported[folder] = None
        first = listing.rejects[0]
        logger.warning(
            "%s: %d of its names cannot be shown and are left out; the first is %.120s: %s",
            ascii(str(folder)),
            len(listing.rejects),
            ascii(first.name),
            first.why,
        )
