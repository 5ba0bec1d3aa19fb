"""One folder's names, as far as they have been read.

The difficulty: a folder may have a million entries and its listing a thousand pages, while a reader may stop
after the first and the kernel wants each ``readdir`` answered in seconds. So a listing grows page by page as far
as somebody reads, positions in it never change once given out (they are the offsets that ``readdir`` resumes
from), and several handles and lookups share it.
"""

from __future__ import annotations

from collections.abc import Iterable

from fuse4dbricks.entry import Entry, Kind
from fuse4dbricks.paths import RemotePath


class Listing:
    """The growing, append-only listing of one folder.

    Attributes:
        path: the folder.
        fetched_at: Unix time at which its first page was asked for.
        fresh_until: monotonic second until which it may serve new readers.
        is_complete: whether the last page is in.
        pages: how many pages are in.
        next_token: the service's token for the next page.
        from_index: whether it is being read back from the index instead.
    """

    __slots__ = (
        "_by_name",
        "distrusted",
        "entries",
        "fetched_at",
        "fresh_until",
        "from_index",
        "is_complete",
        "next_token",
        "pages",
        "path",
    )

    def __init__(
        self, path: RemotePath, *, fetched_at: float, fresh_until: float, from_index: bool = False
    ) -> None:
        self.path = path
        self.fetched_at = fetched_at
        self.fresh_until = fresh_until
        self.from_index = from_index
        self.is_complete = False
        self.pages = 0
        self.next_token: str | None = None
        self.entries: list[Entry] = []
        self.distrusted: set[str] = set()
        self._by_name: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def get(self, name: str) -> Entry | None:
        """The entry of that name among the pages read so far."""
        position = self._by_name.get(name)
        return None if position is None else self.entries[position]

    def add_page(self, entries: Iterable[Entry], *, next_token: str | None) -> list[Entry]:
        """Append a page; returns the entries that were new.

        Pages of one listing are no snapshot, so a name may come twice: the first position stays. On flat
        stores a file and a folder may share a name: the file is shown (README, "Semantics").
        """
        added = []
        for entry in entries:
            position = self._by_name.get(entry.name)
            if position is None:
                self._by_name[entry.name] = len(self.entries)
                self.entries.append(entry)
                added.append(entry)
            elif entry.kind is Kind.FILE:
                self.entries[position] = entry
                added.append(entry)
        self.pages += 1
        self.next_token = next_token
        self.is_complete = next_token is None
        return added

    def replace(self, entry: Entry) -> None:
        """Put a newer observation of a listed name in its place."""
        position = self._by_name.get(entry.name)
        if position is not None:
            self.entries[position] = entry
            self.distrusted.discard(entry.name)
