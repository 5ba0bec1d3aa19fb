"""What could be read with no network: page by page, held against the tree that was put in, while the mount writes."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import trio

from fuse4dbricks.app.below import Below
from fuse4dbricks.app.offline import list_files, write_manifest
from fuse4dbricks.chunks import CacheFolder
from fuse4dbricks.cli.main import main
from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.index.offline import OfflineIndex, offline_index
from fuse4dbricks.paths import ROOT, RemotePath
from tests.support.indexes import HOST, counted_steps, new_chunk, opened, outside, post_walk

OTHER = "adb-2.azuredatabricks.net"
VOLUMES = (("main", "sales", "raw"), ("main", "sales", "raw2"), ("dev", "sales", "raw"))
#: By folder; "-" stands before "/" in the order of bytes and "0" behind it.
TREE = {
    "": ("a", "b", "sub-x", "z"),
    "sub": ("a", "b", "c", "d", "e"),
    "sub/b/c": ("a",),
    "sub-x": ("q",),
    "sub0": (),
    "subüber": ("a", "é"),
}


def empty(name: str) -> Entry:
    """A file of which all is here."""
    return Entry(name, Kind.FILE, Version(0, 1_700_000_000))


async def fill(folder: Path) -> list[tuple[str, RemotePath]]:
    """Two workspaces with the same paths."""
    made = []
    for host in (HOST, OTHER):
        async with opened(folder, workspace=host) as index:
            for volume in VOLUMES:
                for place, names in TREE.items():
                    path = RemotePath((*volume, *filter(None, place.split("/"))))
                    gone = Entry("not here", Kind.FILE, Version(5, 1_700_000_000))
                    post_walk(index, path, [[*map(empty, names), gone]])
                    made += [(host, path.child(name)) for name in names]
            await index.flush()
    return made


UNDER = [
    ROOT,
    RemotePath(("main",)),
    RemotePath(("main", "sales")),
    *map(RemotePath, VOLUMES),
    *(
        RemotePath((*VOLUMES[0], *place.split("/")))
        for place in ("sub", "sub/b", "sub/a", "z", "su", "subüber")
    ),
]


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
async def test_files_are_told_once_in_order_whatever_a_page_is(tmp_path: Path, page: int) -> None:
    made = await fill(tmp_path)
    with offline_index(tmp_path / "index.sqlite") as index:
        for under in UNDER:
            for host in (None, HOST, OTHER):
                found = [(each.host, each.path) for each in index.files(under, host, page=page)]
                expected = [
                    key
                    for key in made
                    if key[1].parts[: len(under.parts)] == under.parts and host in {None, key[0]}
                ]
                assert sorted(found, key=repr) == sorted(expected, key=repr), (under, host)
                order = [
                    (its, path.parent.parts and "/".join(path.parent.parts), path.name) for its, path in found
                ]
                assert order == sorted(order)


async def test_a_file_is_found_by_its_name_alone(tmp_path: Path) -> None:
    await fill(tmp_path)
    with offline_index(tmp_path / "index.sqlite") as index:
        path = RemotePath((*VOLUMES[0], "sub", "c"))
        found = index.find(path, OTHER)
        assert found is not None
        assert (found.host, found.path) == (OTHER, path)
        absent = index.find(path.parent.child("not here"), HOST)
        assert absent is not None
        assert not absent.is_here
        assert index.find(path.parent, HOST) is None
        assert index.find(path, "adb-3.azuredatabricks.net") is None


async def test_no_log_waits_for_who_reads_slowly(tmp_path: Path) -> None:
    made = await fill(tmp_path)
    async with opened(tmp_path) as index:
        path = RemotePath((*VOLUMES[0], "a"))
        await index.chunks.add(path, Version(1, 1), [new_chunk(path=path)])
    with offline_index(tmp_path / "index.sqlite") as offline:
        files = offline.files(ROOT, page=2)
        seen = [next(files)]
        mount = outside(tmp_path, write=True)
        mount.execute("UPDATE chunk SET hits = hits + 1").fetchall()
        is_busy, *_ = mount.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0]
        mount.close()
        assert not is_busy
        seen += files
        assert len(seen) == len(made)


async def with_files(folder: Path, count: int) -> Path:
    """A cache folder that knows of so many empty files, half of them in one folder."""
    with CacheFolder.open(folder):
        pass
    volume = RemotePath(VOLUMES[0])
    async with opened(folder) as index:
        for number in range(5):
            in_it = count // 2 if number == 0 else count // 8
            post_walk(index, volume.child(f"{number}"), [[empty(f"{name:06}") for name in range(in_it)]])
            await index.flush()
    return folder


async def test_the_first_file_costs_the_same_however_many_follow(tmp_path: Path) -> None:
    async def steps_with(files: int) -> int:
        folder = await with_files(tmp_path / str(files), files)
        with counted_steps(folder) as (db, steps):
            next(OfflineIndex(db).files(ROOT, page=8))
        return steps.taken

    assert await steps_with(80) == await steps_with(800)


def ls(folder: Path) -> None:
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        assert main(["offline", "ls", "--json", "--disk-cache-dir", str(folder)]) == 0


def manifest(folder: Path) -> None:
    out = folder.parent / "manifest.json"
    written = write_manifest(folder, Below(ROOT), out, lambda _done, _of: None)
    assert written.files == sum(1 for _ in list_files(folder, Below(ROOT)))


@pytest.mark.parametrize("command", [ls, manifest])
async def test_no_more_is_held_for_many_files_than_for_some(
    tmp_path: Path, command: Callable[[Path], None]
) -> None:
    def peak(folder: Path) -> int:
        tracemalloc.start()
        try:
            command(folder)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    some, many = [await with_files(tmp_path / str(count), count) for count in (4000, 10_000)]
    await trio.to_thread.run_sync(command, some)  # what is imported and kept for good
    few = await trio.to_thread.run_sync(peak, some)
    assert await trio.to_thread.run_sync(peak, many) < 1.5 * few
