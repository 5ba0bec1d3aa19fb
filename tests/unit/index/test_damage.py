"""Bits that flip: an answer is right or it is a miss, and nothing falls over."""

import os
import random
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.errors import CacheFolderError, IndexUnavailable
from fuse4dbricks.index import ChunkRow, Index, StoredGrant, VictimQuery
from fuse4dbricks.index.checks import check
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Principal
from tests.support.indexes import (
    FOLDER,
    VERSION,
    VOLUME,
    HandClock,
    checked,
    file_entry,
    is_healthy,
    new_chunk,
    opened,
    outside,
    post_walk,
)

#: For each of four seeds; 2,500 in the long run.
FLIPS = int(os.environ.get("FUSE4DBRICKS_FLIPS", "30"))

PRINCIPALS = tuple(Principal(f"{n}", f"user-{n}@example.com") for n in range(1000, 1032))
VOLUMES = tuple(VOLUME.parent.child(f"volume-{n}") for n in range(8))
FILES = tuple(FOLDER.child(f"file {n:03}.csv") for n in range(120))
GRANTED = frozenset(
    (p.id, v) for n, p in enumerate(PRINCIPALS) for m, v in enumerate(VOLUMES) if (n + m) % 3 == 0
)


@dataclass
class Answers:
    """Everything that can be asked of the index, with what it said."""

    said: dict[tuple[object, ...], object] = field(default_factory=dict)

    @classmethod
    def of(cls, index: Index) -> "Answers":
        answers = cls()
        said = answers.said
        for path in FILES:
            said["entry", path] = index.tree.load_entry(path, None)
            said["absent", path] = index.tree.load_entry(path.child("x"), "1000")
            for number, row in (index.chunks.load_span(path, VERSION, 0, 10) or {}).items():
                said["chunk", path, number] = ChunkRow(0, number, row.name, row.length, row.checksum)
        for principal in PRINCIPALS:
            said["who", principal] = index.grants.load_principal(principal.id.encode())
            said["volumes", principal] = names_of(index, VOLUME.parent, principal.id)
            for volume in VOLUMES:
                said["grant", principal, volume] = index.grants.load_grant(principal.id, volume)
        said["listing",] = index.tree.load_listing(FOLDER, None)
        said["names",] = names_of(index, FOLDER, None)
        return answers

    def wrong_against(self, truth: "Answers") -> list[tuple[object, ...]]:
        """Questions that were answered otherwise than with the truth or with a miss."""
        return [key for key, value in self.said.items() if value not in {None, truth.said.get(key)}]


def names_of(index: Index, folder: RemotePath, principal: str | None) -> tuple[Entry, ...] | None:
    """A whole listing, if the index vouches for it."""
    listing = index.tree.load_listing(folder, principal)
    entries = index.tree.load_listing_entries(folder, principal, None, 1000)
    return None if listing is None or not listing.complete or entries is None else tuple(entries)


async def fill(index: Index) -> None:
    for number, principal in enumerate(PRINCIPALS):
        index.grants.post_principal(principal.id.encode(), number, principal)
        seen = [Entry(v.name, Kind.VOLUME) for v in VOLUMES if (principal.id, v) in GRANTED]
        post_walk(index, VOLUME.parent, [seen], principal=principal.id)
    for principal_id, volume in GRANTED:
        index.grants.post_grant(principal_id, volume, proved_at=1.0, expires_at=2.0)
    for path in FILES:
        index.tree.post_absent(path.child("x"), "1000", fetched_at=1.0, expires_at=2.0)
        await index.chunks.add(path, VERSION, [new_chunk(n, path=path) for n in range(4)])
    post_walk(index, FOLDER, [[file_entry(path.name, size=n) for n, path in enumerate(FILES)]])
    await index.flush()


@pytest.fixture
async def sound(tmp_path: Path) -> tuple[bytes, Answers]:
    """The bytes of a sound index, and what it says."""
    folder = tmp_path / "sound"
    folder.mkdir()
    async with opened(folder) as index:
        await fill(index)
    async with opened(folder) as index:
        truth = Answers.of(index)
    assert len(truth.said) > 900
    assert checked(folder).is_clean
    return (folder / "index.sqlite").read_bytes(), truth


@asynccontextmanager
async def damaged(folder: Path, content: bytes) -> AsyncIterator[Index]:
    put_file(folder, content)
    async with opened(folder) as index:
        yield index


def put_file(folder: Path, content: bytes) -> Path:
    folder.mkdir()
    file = folder / "index.sqlite"
    file.write_bytes(content)
    return file


def flip(content: bytes, chance: random.Random) -> bytes:
    position, bit = chance.randrange(len(content)), chance.randrange(8)
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    return bytes(changed)


@pytest.mark.timeout(120 + FLIPS)
@pytest.mark.parametrize("seed", range(4))
async def test_a_flipped_bit_never_makes_a_wrong_answer(
    tmp_path: Path, sound: tuple[bytes, Answers], seed: int
) -> None:
    content, truth = sound
    chance = random.Random(seed)
    noticed = 0
    for number in range(FLIPS):
        with suppress(CacheFolderError):  # the bit that makes it "newer": refused, and left alone
            async with damaged(tmp_path / f"{number}", flip(content, chance)) as index:
                answers = Answers.of(index)
                assert answers.wrong_against(truth) == []
                noticed += answers.said != truth.said
                with suppress(IndexUnavailable):
                    await index.chunks.take_victims(VictimQuery(free_bytes=10_000))
                    await index.chunks.add(FILES[0], VERSION, [new_chunk(n, path=FILES[0]) for n in range(9)])
                    post_walk(index, FOLDER, [[file_entry("a")], [file_entry("b")]])
                    await index.flush()
        shutil.rmtree(tmp_path / f"{number}")
    print(f"{FLIPS} bits flipped, {noticed} of them changed an answer into a miss, 0 wrong answers")
    assert noticed > 2


async def test_a_search_that_ends_at_a_neighbours_row_is_a_miss(
    tmp_path: Path, sound: tuple[bytes, Answers]
) -> None:
    """The flip that makes the text '' of one key a BLOB: the order of keys is broken, each row is sound in itself."""
    content, truth = sound
    misses = 0
    for number in range(30, 40):
        # The serial types of an empty viewer and of a name of 12 characters, in the row of that name.
        found = re.search(rb"\x0d(?=\x25.{9,13}file %03d\.csv)" % number, content, re.DOTALL)
        assert found is not None
        place = found.start()
        changed = content[:place] + b"\x0c" + content[place + 1 :]
        async with damaged(tmp_path / f"{number}", changed) as index:
            answers = Answers.of(index)
            assert answers.wrong_against(truth) == []
            misses += answers.said != truth.said
    assert misses == 10


async def test_a_name_that_became_bytes_is_a_miss(tmp_path: Path, sound: tuple[bytes, Answers]) -> None:
    """One bit of its serial type makes a BLOB of a text, which compares with none."""
    content, truth = sound
    found = re.search(rb"\x0d\x25(?=.{8,12}file 033\.csv)", content, re.DOTALL)
    assert found is not None
    place = found.start() + 1
    changed = content[:place] + b"\x24" + content[place + 1 :]
    async with damaged(tmp_path / "bytes", changed) as index:
        answers = Answers.of(index)
        assert answers.wrong_against(truth) == []
        assert answers.said != truth.said


async def test_a_file_that_has_grown_beyond_reason_is_read_as_far_as_it_is_ours(
    tmp_path: Path, sound: tuple[bytes, Answers]
) -> None:
    content, truth = sound
    file = put_file(tmp_path / "huge", content)
    os.truncate(file, 1 << 40)
    async with opened(tmp_path / "huge") as index:
        assert Answers.of(index).wrong_against(truth) == []
        await index.flush()
        await fill(index)
        assert Answers.of(index).said == truth.said


async def test_pages_of_rubbish_never_make_a_wrong_answer(
    tmp_path: Path, sound: tuple[bytes, Answers]
) -> None:
    content, truth = sound
    chance = random.Random(1)
    for page in range(1, len(content) // 4096, 3):
        rubbish = chance.randbytes(4096)
        changed = content[: page * 4096] + rubbish + content[(page + 1) * 4096 :]
        async with damaged(tmp_path / f"{page}", changed) as index:
            assert Answers.of(index).wrong_against(truth) == []


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.9])
async def test_a_cut_file_never_makes_a_wrong_answer(
    tmp_path: Path, sound: tuple[bytes, Answers], part: float
) -> None:
    content, truth = sound
    async with damaged(tmp_path / "cut", content[: int(len(content) * part)]) as index:
        assert Answers.of(index).wrong_against(truth) == []
        await index.flush()
        await fill(index)
        assert Answers.of(index).said == truth.said


async def test_damage_met_while_running_is_replaced_without_a_stop(
    tmp_path: Path, sound: tuple[bytes, Answers]
) -> None:
    content, truth = sound
    metrics = Metrics()
    folder = tmp_path / "running"
    file = put_file(folder, content)
    async with opened(folder, metrics=metrics) as index:
        key = index.fingerprint_key
        overwrite(file, content)
        assert Answers.of(index).wrong_against(truth) == []
        assert metrics.get("index.misses", reason="corrupt") > 0
        await index.flush()
        assert index.was_rebuilt
        assert is_healthy(index)
        assert index.fingerprint_key == key
        assert index.chunks.get_totals().chunks == 0
        await fill(index)
        assert Answers.of(index).said == truth.said
    assert checked(folder).is_clean
    assert len(list(folder.glob("*.corrupt-*"))) >= 1


def overwrite(file: Path, content: bytes) -> None:
    """Rubbish over all pages but the first four."""
    with file.open("r+b") as stream:
        stream.seek(4 * 4096)
        stream.write(random.Random(2).randbytes(len(content) - 4 * 4096))


async def test_a_disk_that_damages_again_and_again_is_not_fed(
    tmp_path: Path, sound: tuple[bytes, Answers]
) -> None:
    content, _ = sound
    clock = HandClock()
    folder = tmp_path / "again"
    file = put_file(folder, content)
    async with opened(folder, clock=clock) as index:
        overwrite(file, content)
        Answers.of(index)
        await index.flush()
        await fill(index)
    async with opened(folder, clock=clock) as index:
        assert not index.was_rebuilt
        for round_ in range(2):
            overwrite(file, file.read_bytes())
            Answers.of(index)
            if round_ == 0:
                await index.flush()
                await fill(index)
                db = outside(folder, write=True)
                db.wal_checkpoint()
                db.close()
        with suppress(IndexUnavailable):
            await index.flush()
        clock.step(120)
        await index.flush()
        assert is_healthy(index)


async def test_totals_that_disagree_are_counted_again(tmp_path: Path) -> None:
    path = FILES[0]
    async with opened(tmp_path) as index:
        await index.chunks.add(path, VERSION, [new_chunk(n, path=path) for n in range(5)])
        totals = index.chunks.get_totals()
    db = outside(tmp_path, write=True)
    db.execute("UPDATE usage SET disk_bytes = disk_bytes + 1000000")
    db.close()
    assert not checked(tmp_path).is_clean
    async with opened(tmp_path) as index:
        assert index.chunks.get_totals() == totals
    assert checked(tmp_path).is_clean


# --- row by row ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE dentry SET size = size + 1",
        "UPDATE dentry SET expires_at = 1e12",
        "UPDATE dentry SET kind = 4",
        "UPDATE dentry SET name = 'file 999.csv' WHERE name = 'file 000.csv'",
        "UPDATE dentry SET viewer = 'bob'",
        "UPDATE dentry SET etag = CAST(x'ff' AS TEXT)",
        "UPDATE folder SET path = 'main/sales/raw/other'",
        "UPDATE workspace SET host = 'other'",
    ],
)
async def test_a_changed_entry_is_a_miss_and_heals(tmp_path: Path, damage: str) -> None:
    clock, metrics = HandClock(), Metrics()
    async with opened(tmp_path) as index:
        post_walk(index, FOLDER, [[file_entry("file 000.csv")]])
    db = outside(tmp_path, write=True)
    db.execute(damage)
    assert db.changes() == 1
    db.close()
    places = [(folder, viewer) for folder in (FOLDER, VOLUME.child("other")) for viewer in (None, "bob")]
    for host in ("adb-1.azuredatabricks.net", "other"):
        async with opened(tmp_path, clock=clock, metrics=metrics, workspace=host) as index:
            for folder, viewer in places:
                for name in ("file 000.csv", "file 999.csv"):
                    assert index.tree.load_entry(folder.child(name), viewer) is None
                assert not index.tree.load_listing_entries(folder, viewer, None, 10)
    assert metrics.get("index.misses") > 0
    async with opened(tmp_path) as index:
        post_walk(index, FOLDER, [[file_entry("file 000.csv")]])
        await index.flush()
        assert index.tree.load_listing_entries(FOLDER, None, None, 10) == [file_entry("file 000.csv")]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE chunk SET length = length + 1",
        "UPDATE chunk SET checksum = checksum + 1",
        "UPDATE chunk SET name = x'00112233445566778899aabbccddeeff'",
        "UPDATE chunk SET chunk_index = 1",
        "UPDATE file_version SET path = 'main/sales/raw/other'",
        "UPDATE file_version SET version_key = 1",
        "UPDATE workspace SET host = 'other'",
    ],
)
async def test_a_changed_chunk_is_a_miss(tmp_path: Path, damage: str) -> None:
    path, other = FILES[0], RemotePath(("main", "sales", "raw", "other"))
    async with opened(tmp_path) as index:
        await index.chunks.add(path, VERSION, [new_chunk(path=path)])
    db = outside(tmp_path, write=True)
    db.execute(damage)
    assert db.changes() == 1
    db.close()
    for host in ("adb-1.azuredatabricks.net", "other"):
        async with opened(tmp_path, workspace=host) as index:
            for place in (path, other):
                for version in (VERSION, Version(1, 2)):
                    assert index.chunks.load_span(place, version, 0, 10) == {}


async def test_a_damaged_listing_promises_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as index:
        index.tree.post_listing(
            FOLDER, None, [file_entry("a")], fetched_at=1.0, expires_at=2.0, first=True, last=False
        )
    db = outside(tmp_path, write=True)
    db.execute("UPDATE listing SET complete = 1")
    db.close()
    async with opened(tmp_path) as index:
        assert index.tree.load_listing(FOLDER, None) is None
        index.tree.post_entry(FOLDER.child("b"), None, file_entry("b"), fetched_at=1.0, expires_at=2.0)
        index.tree.post_expire(FOLDER)
        await index.flush()
        listing = index.tree.load_listing(FOLDER, None)
        assert listing is not None
        assert not listing.complete
        assert listing.count == 2


async def test_granted_stays_granted_and_denied_denied(sound: tuple[bytes, Answers]) -> None:
    """The positive control of this file: the truth has both kinds."""
    _, truth = sound
    for principal in PRINCIPALS:
        for volume in VOLUMES:
            expected = StoredGrant(1.0, 2.0) if (principal.id, volume) in GRANTED else None
            assert truth.said["grant", principal, volume] == expected


def test_a_check_of_rubbish_says_so(tmp_path: Path) -> None:
    (tmp_path / "index.sqlite").write_bytes(b"rubbish" * 1000)
    with pytest.raises(IndexUnavailable):
        check(tmp_path / "index.sqlite")
