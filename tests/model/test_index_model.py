"""The index against plain dictionaries: any order of walks, answers, chunks, evictions and restarts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event, Thread
from typing import TypeVar

import trio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.index import Index, NewChunk, StoredEntry, StoredListing, VictimQuery
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from tests.support.indexes import HOST, HandClock, checked, chunk_name

T = TypeVar("T")

SCHEMA = RemotePath(("main", "sales"))
VOLUME = SCHEMA.child("raw")
SHARED_FOLDERS = (VOLUME, VOLUME.child("d"), VOLUME.child("d").child("d"), VOLUME.child("d0"))
VIEWERS = ("alice", "bob")
PLACES = [(folder, None) for folder in SHARED_FOLDERS] + [
    (folder, viewer) for folder in (SCHEMA.parent, SCHEMA) for viewer in VIEWERS
]
NAMES = ("a", "b", "d", "d0")
FILES = (VOLUME.child("a"), VOLUME.child("d").child("b.csv"))
VERSIONS = (Version(10, 1), Version(10, 2), Version(10, 2, '"e"'))

places = st.sampled_from(PLACES)
names = st.sampled_from(NAMES)
files = st.tuples(st.sampled_from(FILES), st.sampled_from(VERSIONS))
indexes = st.lists(st.integers(0, 5), max_size=4, unique=True)

Place = tuple[RemotePath, str | None]


@dataclass
class Seen:
    """A name in a folder."""

    stored: StoredEntry
    walk: int

    @property
    def is_folder(self) -> bool:
        return self.stored.entry is not None and self.stored.entry.kind is not Kind.FILE


@dataclass
class Folder:
    """What one viewer knows of a folder."""

    names: dict[str, Seen] = field(default_factory=dict)
    walk: int = 0
    listing: StoredListing | None = None

    def counted(self) -> StoredListing | None:
        return self.listing and replace(self.listing, count=len(self.names))


@dataclass
class Chunk:
    """A chunk file."""

    name: bytes
    size: int
    used_ms: int
    order: int


@dataclass
class Reference:
    """What the index should know."""

    folders: dict[Place, Folder] = field(default_factory=dict)
    absences: dict[tuple[RemotePath, str, str | None], StoredEntry] = field(default_factory=dict)
    chunks: dict[tuple[RemotePath, Version, int], Chunk] = field(default_factory=dict)
    displaced: list[Chunk] = field(default_factory=list)
    order: int = 0

    def folder(self, place: Place) -> Folder:
        return self.folders.setdefault(place, Folder())

    def forget(self, path: RemotePath, viewer: str | None) -> None:
        """The folder is gone: for all, or only for one viewer's view of catalogs and schemas."""

        def is_below(folder: RemotePath, whose: str | None) -> bool:
            inside = folder.parts[: path.depth] == path.parts
            return inside and (viewer is None or (whose == viewer and folder.depth < 3))

        self.folders = {key: value for key, value in self.folders.items() if not is_below(*key)}
        self.absences = {key: value for key, value in self.absences.items() if not is_below(key[0], key[2])}

    def see(self, place: Place, entry: Entry, stored: StoredEntry, walk: int) -> None:
        known = self.folder(place).names.get(entry.name)
        if known is not None and known.is_folder and entry.kind is Kind.FILE:
            self.forget(place[0].child(entry.name), place[1])
        self.folder(place).names[entry.name] = Seen(stored, walk)
        self.absences = {k: v for k, v in self.absences.items() if k[:2] != (place[0], entry.name)}

    def end_walk(self, place: Place, walk: int) -> None:
        folder = self.folder(place)
        for name in [name for name, seen in folder.names.items() if seen.walk != walk]:
            if folder.names.pop(name).is_folder:
                self.forget(place[0].child(name), place[1])


def entry_at(place: Place, name: str, size: int, *, is_file: bool) -> Entry:
    depth = place[0].depth + 1
    if depth <= 3:
        return Entry(name, Kind(depth), mtime=float(size))
    return Entry(name, Kind.FILE, Version(size, 1)) if is_file else Entry(name, Kind.DIRECTORY)


class IndexMachine(RuleBasedStateMachine):
    """Each rule does the same to the index and to the reference."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="index-model-"))
        self.clock = HandClock()
        self.reference = Reference()
        self.index: Index
        self.loop: trio.lowlevel.TrioToken
        self.over: trio.Event
        self.started = Event()
        self.thread = Thread(target=trio.run, args=(self.main,))

    # --- the loop, in a thread of its own --------------------------------------------------------

    async def main(self) -> None:
        self.over = trio.Event()
        self.loop = trio.lowlevel.current_trio_token()
        self.started.set()
        await self.over.wait()

    @initialize()
    def start(self) -> None:
        self.thread.start()
        assert self.started.wait(10)
        self.call(self.open)

    def call(self, work: Callable[..., Awaitable[T]], *args: object) -> T:
        return trio.from_thread.run(work, *args, trio_token=self.loop)

    async def open(self) -> None:
        self.index = await Index.open(
            self.home / "index.sqlite", workspace=HOST, clock=self.clock, metrics=Metrics()
        )

    def teardown(self) -> None:
        try:
            self.call(self.close)
            names = [chunk.name for chunk in (*self.reference.chunks.values(), *self.reference.displaced)]
            assert checked(self.home, names).is_clean
        finally:
            trio.from_thread.run_sync(self.over.set, trio_token=self.loop)
            self.thread.join()
            shutil.rmtree(self.home)

    async def close(self) -> None:
        await self.index.aclose()

    # --- the tree --------------------------------------------------------------------------------

    @rule(place=places, name=names, size=st.integers(0, 3), is_file=st.booleans())
    def see_one(self, place: Place, name: str, size: int, is_file: bool) -> None:
        entry = entry_at(place, name, size, is_file=is_file)
        stored = StoredEntry(entry, self.clock.unix, self.clock.unix + 30)

        async def post() -> None:
            self.index.tree.post_entry(
                place[0].child(name),
                place[1],
                entry,
                fetched_at=stored.fetched_at,
                expires_at=stored.expires_at,
            )

        self.call(post)
        self.reference.see(place, entry, stored, self.reference.folder(place).walk)
        self.clock.step(1)

    @rule(
        place=places,
        pages=st.lists(
            st.lists(st.tuples(names, st.integers(0, 3), st.booleans()), max_size=3), min_size=1, max_size=3
        ),
        ends=st.booleans(),
    )
    def walk(self, place: Place, pages: list[list[tuple[str, int, bool]]], ends: bool) -> None:
        fetched_at, expires_at = self.clock.unix, self.clock.unix + 30
        entries = [[entry_at(place, n, size, is_file=is_file) for n, size, is_file in page] for page in pages]

        async def post() -> None:
            for position, page in enumerate(entries):
                is_last = ends and position == len(entries) - 1
                self.index.tree.post_listing(
                    place[0],
                    place[1],
                    page,
                    fetched_at=fetched_at,
                    expires_at=expires_at,
                    first=position == 0,
                    last=is_last,
                )

        self.call(post)
        walk = self.reference.folder(place).walk + 1
        for page in entries:
            for entry in {entry.name: entry for entry in page}.values():
                self.reference.see(place, entry, StoredEntry(entry, fetched_at, expires_at), walk)
            self.reference.absences = {k: v for k, v in self.reference.absences.items() if k[0] != place[0]}
        folder = self.reference.folder(place)
        folder.walk = walk
        if ends:
            self.reference.end_walk(place, walk)
        if ends or folder.listing is None or not folder.listing.complete:
            folder.listing = StoredListing(ends, fetched_at, expires_at, 0)
        self.clock.step(1)

    @rule(place=places, name=names, viewer=st.sampled_from(VIEWERS))
    def miss(self, place: Place, name: str, viewer: str) -> None:
        """Inside a volume too, a negative answer is for who asked."""
        mine: Place = (place[0], viewer)
        stored = StoredEntry(None, self.clock.unix, self.clock.unix + 5)

        async def post() -> None:
            self.index.tree.post_absent(
                place[0].child(name), viewer, fetched_at=stored.fetched_at, expires_at=stored.expires_at
            )

        self.call(post)
        if mine in self.reference.folders:
            known = self.reference.folder(mine).names.pop(name, None)
            if known is not None and known.is_folder:
                self.reference.forget(place[0].child(name), viewer)
        self.reference.absences[place[0], name, viewer] = stored
        self.clock.step(1)

    @rule(place=places, name=names)
    def expire(self, place: Place, name: str) -> None:
        path = place[0].child(name)

        async def post() -> None:
            self.index.tree.post_expire(path)

        self.call(post)
        for (folder, _), known in self.reference.folders.items():
            if folder == place[0] and name in known.names:
                seen = known.names[name]
                known.names[name] = Seen(replace(seen.stored, expires_at=0.0), seen.walk)
            if folder == path and known.listing is not None:
                known.listing = replace(known.listing, expires_at=0.0)

    # --- chunks ----------------------------------------------------------------------------------

    @rule(file=files, numbers=indexes, size=st.integers(1, 3), salt=st.sampled_from(["", "other size"]))
    def add(self, file: tuple[RemotePath, Version], numbers: list[int], size: int, salt: str) -> None:
        rows = [NewChunk(n, chunk_name(*file, n, salt), size, n, "alice", size * 4096) for n in numbers]
        self.call(self.index.chunks.add, *file, rows)
        for row in rows:
            self.reference.displaced = [old for old in self.reference.displaced if old.name != row.name]
            old = self.reference.chunks.pop((*file, row.chunk_index), None)
            if old is not None and old.name != row.name:
                self.reference.displaced.append(replace(old, used_ms=0))
            self.reference.order += 1
            used_ms = int(self.clock.unix * 1000)
            self.reference.chunks[*file, row.chunk_index] = Chunk(
                row.name, size * 4096, used_ms, self.reference.order
            )
        self.clock.step(1)

    @rule(file=files, numbers=indexes)
    def use(self, file: tuple[RemotePath, Version], numbers: list[int]) -> None:
        async def touch() -> None:
            span = self.index.chunks.load_span(*file, 0, 10)
            assert span is not None
            for number in numbers:
                if number in span:
                    self.index.chunks.touch(span[number].id)

        self.call(touch)
        for number in numbers:
            if (*file, number) in self.reference.chunks:
                self.reference.chunks[*file, number].used_ms = int(self.clock.unix * 1000)
        self.clock.step(1)

    @rule(file=files, numbers=st.none() | indexes)
    def remove(self, file: tuple[RemotePath, Version], numbers: list[int] | None) -> None:
        gone = self.call(self.index.chunks.remove, *file, numbers)
        wanted = range(10) if numbers is None else numbers
        expected = [self.reference.chunks.pop((*file, n), None) for n in wanted]
        assert sorted(gone) == sorted(chunk.name for chunk in expected if chunk is not None)

    @rule(
        free=st.none() | st.integers(0, 8),
        age=st.none() | st.integers(0, 10),
        held=st.frozensets(files, max_size=2),
        limit=st.integers(1, 5),
    )
    def evict(
        self, free: int | None, age: int | None, held: frozenset[tuple[RemotePath, Version]], limit: int
    ) -> None:
        older_than = None if age is None else self.clock.unix - age
        query = VictimQuery(None if free is None else free * 4096, older_than, held)
        victims = self.call(self.index.chunks.take_victims, query, limit)
        assert [victim.name for victim in victims] == self.expected_victims(query, limit)

    def expected_victims(self, query: VictimQuery, limit: int) -> list[bytes]:
        known = self.reference.chunks
        open_to = [*self.reference.displaced] + [c for k, c in known.items() if k[:2] not in query.protected]
        wanted, taken = query.free_bytes or 0, list[bytes]()
        for chunk in sorted(open_to, key=lambda chunk: (chunk.used_ms, chunk.order)):
            is_old = query.older_than is not None and chunk.used_ms < int(query.older_than * 1000)
            if len(taken) == limit or not (wanted > 0 or is_old):
                break
            taken.append(chunk.name)
            wanted -= chunk.size
        self.reference.displaced = [c for c in self.reference.displaced if c.name not in taken]
        self.reference.chunks = {k: c for k, c in known.items() if c.name not in taken}
        return taken

    # --- the mount -------------------------------------------------------------------------------

    @rule()
    def remount(self) -> None:
        self.call(self.close)
        self.call(self.open)

    @precondition(lambda self: self.clock.unix > 1_699_999_000)
    @rule()
    def set_clock_back(self) -> None:
        self.clock.unix -= 7.5

    # --- the same --------------------------------------------------------------------------------

    @invariant()
    def knows_the_same(self) -> None:
        self.call(self.compare)

    async def compare(self) -> None:
        await self.index.flush()
        self.compare_tree()
        totals = self.index.chunks.get_totals()
        chunks = [*self.reference.chunks.values(), *self.reference.displaced]
        assert (totals.chunks, totals.bytes) == (len(chunks), sum(chunk.size for chunk in chunks))
        for path in FILES:
            for version in VERSIONS:
                span = self.index.chunks.load_span(path, version, 0, 10)
                assert span is not None
                expected = {
                    k[2]: c.name for k, c in self.reference.chunks.items() if k[:2] == (path, version)
                }
                assert {number: row.name for number, row in span.items()} == expected

    def compare_tree(self) -> None:
        tree = self.index.tree
        for folder in {place[0] for place in PLACES}:
            for viewer in (None, *VIEWERS):
                known = self.reference.folders.get((folder, viewer), Folder())
                for name in NAMES:
                    seen = known.names.get(name)
                    expected = seen.stored if seen else self.reference.absences.get((folder, name, viewer))
                    assert tree.load_entry(folder.child(name), viewer) == expected, (folder, name, viewer)
                assert tree.load_listing(folder, viewer) == known.counted()
                entries = tree.load_listing_entries(folder, viewer, None, 100)
                whole = [known.names[name].stored.entry for name in sorted(known.names)]
                assert entries == (whole if known.listing is not None else None)


TestIndexModel = IndexMachine.TestCase
TestIndexModel.settings = settings(
    max_examples=30, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
