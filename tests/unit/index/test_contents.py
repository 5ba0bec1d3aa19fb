"""What is cached below a path: page by page, held against what was put in, while the mount writes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fuse4dbricks.entry import Version
from fuse4dbricks.index.contents import CachedFile, Contents, contents_of
from fuse4dbricks.paths import RemotePath
from tests.support.indexes import HOST, counted_steps, new_chunk, opened, outside

OTHER = "adb-2.azuredatabricks.net"
#: "-" stands before "/" in the order of bytes and "0" behind it; "sub" was a file before it was a folder.
NAMES = ("sub", "sub/a", "sub/b/c", "sub-x", "sub0", "subüber/a", "z")
VOLUMES = (
    ("main", "sales", "raw"),
    ("main", "sales", "raw2"),
    ("main", "hr", "pay"),
    ("dev", "sales", "raw"),
)
EVERYTHING_IS_SHOWN = bool


def version(number: int) -> Version:
    return Version(size=100_000 + number, last_modified=1_700_000_000 + number)


async def fill(folder: Path) -> list[CachedFile]:
    """Two workspaces with the same paths, two versions of some files; what ``files`` is to tell."""
    made = []
    for host in (HOST, OTHER):
        async with opened(folder, workspace=host) as index:
            for number, path in enumerate(
                RemotePath((*volume, *name.split("/"))) for volume in VOLUMES for name in NAMES
            ):
                for other in range(1 + (number % 3 == 0)):
                    its = version(other)
                    count = 1 + number % 2
                    rows = [
                        new_chunk(k, path=path, version=its, disk_bytes=1000 + number, salt=host)
                        for k in range(count)
                    ]
                    await index.chunks.add(path, its, rows)
                    size, modified = its.size, its.last_modified
                    told = (host, path, size, 1024 * count, count, (1000 + number) * count, modified)
                    made.append(CachedFile(*told, last_access=1_700_000_000.0))
    return made


def is_below(path: RemotePath, under: RemotePath) -> bool:
    return path.parts[: len(under.parts)] == under.parts


FOLDERS = [
    RemotePath(()),
    RemotePath(("main",)),
    RemotePath(("main", "sales")),
    *(RemotePath(volume) for volume in VOLUMES),
    RemotePath(("main", "sales", "raw", "sub")),
    RemotePath(("main", "sales", "raw", "subüber")),
    RemotePath(("main", "sales", "raw", "z")),
    RemotePath(("main", "sales", "ra")),
]


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
async def test_files_are_told_once_in_order_whatever_a_page_is(tmp_path: Path, page: int) -> None:
    made = await fill(tmp_path)
    with contents_of(tmp_path / "index.sqlite") as contents:
        for under in FOLDERS:
            for host in (None, HOST, OTHER):
                found = list(contents.files(under, host, page=page))
                expected = [each for each in made if is_below(each.path, under) and host in {None, each.host}]
                assert sorted(found, key=repr) == sorted(expected, key=repr), (under, host)
                order = [(each.host, "/".join(each.path.parts)) for each in found]
                if under.parts:
                    order = [key for key in order if key[1] != "/".join(under.parts)]
                assert order == sorted(order)


@pytest.mark.parametrize("at_once", [1, 2, 5000])
async def test_what_the_entries_of_a_folder_take(tmp_path: Path, at_once: int) -> None:
    made = await fill(tmp_path)
    with contents_of(tmp_path / "index.sqlite") as contents:
        for under in FOLDERS:
            for host in (None, OTHER):
                expected: Counter[str] = Counter()
                for each in made:
                    if is_below(each.path, under) and host in {None, each.host}:
                        expected["".join(each.path.parts[len(under.parts) :][:1])] += each.disk_bytes
                assert contents.disk_use(under, host, EVERYTHING_IS_SHOWN, at_once=at_once) == dict(
                    expected
                ), (under, host)


async def test_what_is_hidden_takes_nothing(tmp_path: Path) -> None:
    made = await fill(tmp_path)

    def shows(path: RemotePath) -> bool:
        return path.parts[:2] != ("main", "hr") and path.parts[:3] != ("main", "sales", "raw")

    with contents_of(tmp_path / "index.sqlite") as contents:
        use = contents.disk_use(RemotePath(()), None, shows)
        assert sum(use.values()) == sum(each.disk_bytes for each in made if shows(each.path))
        assert contents.disk_use(RemotePath(("main", "sales", "raw")), None, shows) == {}
        assert set(contents.disk_use(RemotePath(("main",)), None, shows)) == {"sales"}


async def test_a_chunk_that_was_displaced_is_no_files(tmp_path: Path) -> None:
    path = RemotePath((*VOLUMES[0], "a"))
    async with opened(tmp_path) as index:
        await index.chunks.add(path, version(0), [new_chunk(path=path, disk_bytes=4096)])
        await index.chunks.add(path, version(0), [new_chunk(path=path, disk_bytes=8192, salt="again")])
        assert index.chunks.get_totals().bytes == 12_288
        with contents_of(tmp_path / "index.sqlite") as contents:
            assert contents.disk_use(RemotePath(()), None, EVERYTHING_IS_SHOWN) == {"main": 8192}
            assert contents.disk_use(path, None, EVERYTHING_IS_SHOWN) == {"": 8192}
            assert [each.disk_bytes for each in contents.files(path)] == [8192]


async def test_no_log_waits_for_who_reads_slowly(tmp_path: Path) -> None:
    await fill(tmp_path)
    with contents_of(tmp_path / "index.sqlite") as contents:
        files = contents.files(RemotePath(()), page=2)
        seen = [next(files)]
        mount = outside(tmp_path, write=True)
        mount.execute("UPDATE chunk SET hits = hits + 1").fetchall()
        is_busy, *_ = mount.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0]
        mount.close()
        assert not is_busy
        seen += files
        assert len(seen) == len(set(seen)) == 2 * (len(VOLUMES) * len(NAMES) + 10)


async def test_above_the_volumes_the_number_of_files_does_not_matter(tmp_path: Path) -> None:
    """Rollups answer: SQLite takes the same steps for 10 files as for 100."""

    async def steps_with(files: int) -> int:
        async with opened(tmp_path) as index:
            for number in range(files):
                path = RemotePath((*VOLUMES[0], f"{number}.csv"))
                await index.chunks.add(path, version(0), [new_chunk(path=path)])
        with counted_steps(tmp_path) as (db, steps):
            use = Contents(db).disk_use(RemotePath(()), None, EVERYTHING_IS_SHOWN)
        assert use == {"main": files * 1024}
        return steps.taken

    assert await steps_with(10) == await steps_with(100)
