"""An index on a temporary folder, a clock moved by hand, and short ways to make what goes into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import apsw

from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.index import Index, NewChunk
from fuse4dbricks.index.checks import CheckReport, check
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics

HOST = "adb-1.azuredatabricks.net"
VOLUME = RemotePath(("main", "sales", "raw"))
FOLDER = VOLUME.child("2024 über")
FILE = FOLDER.child("a.csv")
VERSION = Version(size=10_000, last_modified=1_700_000_000)
KIB = 1024


@dataclass
class HandClock:
    """Both clocks, moved by hand."""

    now: float = 1000.0
    unix: float = 1_700_000_000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.unix

    def step(self, seconds: float) -> None:
        self.now += seconds
        self.unix += seconds


@asynccontextmanager
async def opened(
    folder: Path, *, clock: HandClock | None = None, metrics: Metrics | None = None, workspace: str = HOST
) -> AsyncIterator[Index]:
    """An open index, closed at the end."""
    index = await Index.open(
        folder / "index.sqlite",
        workspace=workspace,
        clock=clock or HandClock(),
        metrics=metrics or Metrics(),
    )
    try:
        yield index
    finally:
        await index.aclose()


def checked(folder: Path, chunk_files: Iterable[bytes] | None = None) -> CheckReport:
    """The report on the index in ``folder``."""
    return check(folder / "index.sqlite", chunk_files)


def file_entry(name: str, size: int = 1, last_modified: int = 1_700_000_000) -> Entry:
    return Entry(name, Kind.FILE, Version(size, last_modified))


def folder_entry(name: str) -> Entry:
    return Entry(name, Kind.DIRECTORY)


def chunk_name(path: RemotePath, version: Version, index: int, salt: str = "") -> bytes:
    return blake2b(f"{path} {version} {index} {salt}".encode(), digest_size=16).digest()


def new_chunk(
    index: int = 0,
    *,
    path: RemotePath = FILE,
    version: Version = VERSION,
    length: int = KIB,
    owner: str = "alice",
    disk_bytes: int | None = None,
    salt: str = "",
) -> NewChunk:
    name = chunk_name(path, version, index, salt)
    return NewChunk(index, name, length, int.from_bytes(name[:8]), owner, disk_bytes)


def post_walk(
    index: Index,
    path: RemotePath,
    pages: Sequence[Sequence[Entry]],
    *,
    principal: str | None = None,
    fetched_at: float = 100.0,
    expires_at: float = 130.0,
) -> None:
    """Post a complete walk over a folder."""
    for position, page in enumerate(pages):
        index.tree.post_listing(
            path,
            principal,
            page,
            fetched_at=fetched_at,
            expires_at=expires_at,
            first=position == 0,
            last=position == len(pages) - 1,
        )


def names_in(index: Index, path: RemotePath, principal: str | None = None, page: int = 100) -> list[str]:
    """All names of a folder, read page by page."""
    names: list[str] = []
    while True:
        entries = index.tree.load_listing_entries(path, principal, names[-1] if names else None, page)
        assert entries is not None
        names += [entry.name for entry in entries]
        if len(entries) < page:
            return names


def outside(folder: Path, *, write: bool = False) -> apsw.Connection:
    """Another program's connection to the index."""
    flags = apsw.SQLITE_OPEN_READWRITE if write else apsw.SQLITE_OPEN_READONLY
    return apsw.Connection(str(folder / "index.sqlite"), flags=flags)


@dataclass
class Steps:
    """What SQLite has done."""

    taken: int = 0

    def count(self) -> bool:
        self.taken += 1
        return False


@contextmanager
def counted_steps(folder: Path) -> Iterator[tuple[apsw.Connection, Steps]]:
    """A connection as :func:`outside`, with a count of the steps of SQLite's machine: a measure without a clock."""
    db, steps = outside(folder), Steps()
    db.set_progress_handler(steps.count, 1)
    with closing(db):
        yield db, steps


def is_healthy(index: Index) -> bool:
    """Asked anew each time: a type checker takes a property for a constant."""
    return index.is_healthy
