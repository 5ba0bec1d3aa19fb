"""One folder's names, as far as they have been read.

The difficulty: a folder may have a million entries and its listing a thousand pages, while a reader may stop
after the first and the kernel wants each ``readdir`` answered in seconds. So a listing grows page by page as far
as somebody reads, positions in it never change once given out (they are the offsets that ``readdir`` resumes
from), and several handles and lookups share it.
"""

from __future__ import annotations

from collections.abc import Iterable

from fuse4dbricks.cache.freshness import Known
from fuse4dbricks.entry import Entry, Kind
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.workspace.pages import PageTrail

#: Walks over one listing before it is given up: page tokens end after a while, and then it is walked again.
MAX_WALKS = 3


class Listing:
    """The growing, append-only listing of one folder.

    Attributes:
        path: the folder.
        stamp: when its first page was asked for, and until when it may serve new readers.
        entries: positions in it never change.
        folder_places: positions at which a folder came, ascending.
        distrusted: names whose entry is known to be no longer true.
        is_complete: whether the last page is in.
        pages: how many pages are in.
        next_token: where the next page begins: the service's token, or the last name read from the index.
        from_index: whether it is being read back from the index.
    """

    __slots__ = (
        "_by_name",
        "_trail",
        "_walks",
        "distrusted",
        "entries",
        "folder_places",
        "from_index",
        "is_complete",
        "next_token",
        "pages",
        "path",
        "stamp",
    )

    def __init__(self, path: RemotePath, stamp: Known, *, from_index: bool = False) -> None:
        self.path = path
        self.stamp = stamp
        self.from_index = from_index
        self.is_complete = False
        self.pages = 0
        self.next_token: str | None = None
        self.entries: list[Entry] = []
        self.folder_places: list[int] = []
        self.distrusted: set[str] = set()
        self._by_name: dict[str, int] = {}
        self._trail = PageTrail(path)
        self._walks = 1

    def __len__(self) -> int:
        return len(self.entries)

    def get(self, name: str) -> Entry | None:
        """The entry of that name among the pages read so far."""
        position = self._by_name.get(name)
        return None if position is None else self.entries[position]

    def get_place(self, name: str) -> int | None:
        """The position of that name among the pages read so far."""
        return self._by_name.get(name)

    def is_doubtful(self, entry: Entry) -> bool:
        """Whether a listed entry has to be asked for by itself before it is shown."""
        return entry.needs_head or entry.name in self.distrusted

    def add_page(self, entries: Iterable[Entry], *, next_token: str | None) -> None:
        """Append a page.

        Pages of one listing are no snapshot, so a name may come twice: the first position stays. On flat
        stores a file and a folder may share a name: the file is shown (README, "Semantics").

        Raises:
            ProtocolViolation: the listing goes in circles, or on and on without a new name.
        """
        before = len(self.entries)
        for entry in entries:
            position = self._by_name.get(entry.name)
            if position is None:
                self._by_name[entry.name] = len(self.entries)
                if entry.kind is not Kind.FILE:
                    self.folder_places.append(len(self.entries))
                self.entries.append(entry)
            elif entry.kind is Kind.FILE:
                self.entries[position] = entry
        self.next_token = self._trail.follow(next_token, len(self.entries) - before)
        self.pages += 1
        self.is_complete = next_token is None

    def walk_again(self) -> bool:
        """Begin at the first page again, keeping what is there; False when that was done often enough."""
        self._walks += 1
        self._trail = PageTrail(self.path)
        self.next_token, self.from_index = None, False
        return self._walks <= MAX_WALKS

    def replace(self, entry: Entry) -> None:
        """Put a newer observation of a listed name in its place."""
        position = self._by_name.get(entry.name)
        if position is not None:
            self.entries[position] = entry
            self.distrusted.discard(entry.name)
