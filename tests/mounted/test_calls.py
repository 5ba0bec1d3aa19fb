"""Few calls, by count from the workspace's own log: what a listing, a read and an absence cost."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from fuse4dbricks.units import MIB
from tests.support.mounts import LiveMount, mounted
from tests.support.places import Place, names
from tests.support.trees import put_file
from tests.support.waiting import wait_for
from tests.support.workspace import VOLUME_NAME, Served

LISTING, READING, HEAD = "fs.directories.list", "fs.files.get", "fs.files.head"


def _fill(folder: Path, count: int, size: int = 3) -> None:
    folder.mkdir()
    for number in range(count):
        put_file(folder / f"{number:05d}", size)


def _read_again(path: Path) -> bytes:
    """The bytes of a file, asked of the daemon and not of the kernel's pages."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return os.read(descriptor, 16 * MIB)
    finally:
        os.close(descriptor)


# --- listings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 999, 1000, 1001, 2500])
def test_a_cold_ls_l_costs_a_call_for_each_thousand(served: Served, place: Place, count: int) -> None:
    _fill(place.source / "folder", count)
    names(place.top)
    served.journal.clear()
    shown = subprocess.check_output(["ls", "-l", place.top / "folder"], timeout=60)
    assert len(shown.splitlines()) == count + 1
    assert served.counts == Counter({LISTING: max(1, -(-count // 1000))})


def test_a_second_ls_l_costs_nothing(served: Served, place: Place) -> None:
    _fill(place.source / "folder", 1500)
    subprocess.check_output(["ls", "-l", place.top / "folder"], timeout=60)
    served.journal.clear()
    subprocess.check_output(["ls", "-l", place.top / "folder"], timeout=60)
    assert not served.counts


def test_the_first_ls_l_of_a_mount_costs_a_call_for_each_level_and_one_for_who_asks(
    workspace: Served, live: LiveMount
) -> None:
    _fill(workspace.volume / "folder", 10)
    folder = live.path.joinpath(*VOLUME_NAME.split("."), "folder")
    subprocess.check_output(["ls", "-l", folder], timeout=60)
    assert workspace.counts[HEAD] == workspace.counts["fs.directories.head"] == 0
    assert workspace.counts[LISTING] <= 2
    assert workspace.counts.total() <= 6


def test_16_listers_at_once_share_the_calls(served: Served, place: Place) -> None:
    _fill(place.source / "folder", 2500)
    names(place.top)
    served.journal.clear()
    with ThreadPoolExecutor(16) as pool:
        assert {len(names) for names in pool.map(names, [place.top / "folder"] * 16)} == {2500}
    assert served.counts == Counter({LISTING: 3})


# --- reading ---------------------------------------------------------------------------------------


def test_a_cold_cat_costs_one_call_and_a_warm_one_none(served: Served, place: Place) -> None:
    expected = place.put("a", 200_000)
    names(place.top)
    served.journal.clear()
    assert subprocess.check_output(["cat", place.top / "a"], timeout=30) == expected
    assert served.counts == Counter({READING: 1})
    served.journal.clear()
    assert subprocess.check_output(["cat", place.top / "a"], timeout=30) == expected
    assert _read_again(place.top / "a") == expected
    assert not served.counts


def test_a_big_file_is_read_once(served: Served, place: Place) -> None:
    place.put("a", 9 * MIB + 5)
    names(place.top)
    served.journal.clear()
    assert (place.top / "a").read_bytes() == (place.source / "a").read_bytes()
    assert set(served.counts) == {READING}
    assert served.journal.get_bytes()[READING] == 9 * MIB + 5


def test_an_empty_file_costs_no_call(served: Served, place: Place) -> None:
    place.put("empty", 0)
    names(place.top)
    served.journal.clear()
    assert (place.top / "empty").read_bytes() == b""
    assert not served.counts


def test_one_byte_of_a_huge_file_costs_one_small_call(served: Served, place: Place) -> None:
    place.put("a", 12 * MIB)
    names(place.top)
    served.journal.clear()
    with (place.top / "a").open("rb", buffering=0) as stream:
        assert (
            os.pread(stream.fileno(), 1, 7 * MIB) == (place.source / "a").read_bytes()[7 * MIB : 7 * MIB + 1]
        )
    # What the kernel reads ahead (4 MiB as root) is all that may come with it.
    assert served.journal.get_bytes()[READING] <= 6 * MIB


def test_16_readers_of_one_file_fetch_each_byte_once(served: Served, place: Place) -> None:
    place.put("a", 8 * MIB)
    names(place.top)
    served.journal.clear()
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(Path.read_bytes, [place.top / "a"] * 16))
    assert found == {(place.source / "a").read_bytes()}
    assert served.journal.get_bytes()[READING] == 8 * MIB


# --- the next mount --------------------------------------------------------------------------------


def _stored_bytes(index: Path) -> int:
    """How much the index says is on disk."""
    with closing(sqlite3.connect(f"file:{index}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT coalesce(sum(length), 0) FROM chunk").fetchone()[0])


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_read_is_still_there_after_the_end(
    workspace: Served, tmp_path: Path, end: signal.Signals
) -> None:
    put_file(workspace.volume / "a", 3 * MIB + 1)
    expected = (workspace.volume / "a").read_bytes()
    with mounted(workspace, tmp_path) as live:
        path = live.path.joinpath(*VOLUME_NAME.split("."), "a")
        assert path.read_bytes() == expected
        assert wait_for(lambda: _stored_bytes(live.cache / "index.sqlite") == 3 * MIB + 1)
        live.process.send_signal(end)
        live.process.wait(10)
    with mounted(workspace, tmp_path) as live:
        workspace.journal.clear()
        assert path.read_bytes() == expected
        assert workspace.counts[READING] == 0
        assert workspace.counts[LISTING] <= 1


# --- absent names ----------------------------------------------------------------------------------


def test_absent_names_of_a_listed_folder_cost_nothing(served: Served, place: Place) -> None:
    _fill(place.source / "folder", 10)
    names(place.top / "folder")
    served.journal.clear()
    for number in range(100):
        assert not (place.top / f"folder/absent {number}").exists()
    assert not served.counts


def test_an_absent_name_of_a_long_folder_is_asked_for_once(served: Served, place: Place) -> None:
    _fill(place.source / "folder", 1100)
    names(place.top)
    served.journal.clear()
    for _ in range(20):
        assert not (place.top / "folder/absent").exists()
    # Its first page, and then the name: is it a file, is it a folder?
    assert served.counts.total() <= 3
    for _ in range(20):
        assert not (place.top / "folder/absent too").exists()
    assert served.counts.total() <= 5


def test_an_absent_catalog_is_asked_for_once(served: Served, shared: LiveMount) -> None:
    names(shared.path)
    served.journal.clear()
    for _ in range(20):
        assert not (shared.path / "nosuchcatalog").exists()
    assert served.counts.total() <= 1


def test_a_new_file_is_seen_when_the_negative_answer_has_ended(workspace: Served, tmp_path: Path) -> None:
    with mounted(workspace, tmp_path, "--metadata-cache-ttl-negative-sec", "0.2") as live:
        path = live.path.joinpath(*VOLUME_NAME.split("."), "new")
        assert not path.exists()
        put_file(workspace.volume / "new", 10)
        assert wait_for(path.exists, timeout=5)
        assert path.read_bytes() == (workspace.volume / "new").read_bytes()
