"""Harm to the cache folder, seen through a real mount (faults.md F7, F9): noticed, fetched again, counted, never served.

While the workspace is there every reader gets the right bytes; while it is not, right ones or an error.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fuse4dbricks.app.upkeep.inspection import inspect
from fuse4dbricks.chunks import CacheFolder
from fuse4dbricks.chunks.found import load_found
from fuse4dbricks.chunks.label import ChunkName
from fuse4dbricks.paths import RemotePath
from tests.support.indexes import outside
from tests.support.mounts import LiveMount, mounted, needs_fuse
from tests.support.trees import FIRST_MTIME, content_of
from tests.support.waiting import wait_for
from tests.support.workspace import Served

pytestmark = [needs_fuse, pytest.mark.mounted]

SIZE = 300_000


def flip(file: Path, other: Path) -> None:
    content = bytearray(file.read_bytes())
    content[1000] ^= 4
    file.write_bytes(content)


def flip_the_label(file: Path, other: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)


def cut(file: Path, other: Path) -> None:
    os.truncate(file, SIZE // 2)


def empty(file: Path, other: Path) -> None:
    os.truncate(file, 0)


def extend(file: Path, other: Path) -> None:
    with file.open("ab") as growing:
        growing.write(b"more")


def take_anothers_place(file: Path, other: Path) -> None:
    shutil.copyfile(other, file)


def delete(file: Path, other: Path) -> None:
    file.unlink()


def become_a_fifo(file: Path, other: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def become_a_link(file: Path, other: Path) -> None:
    file.unlink()
    file.symlink_to(other)


HARMS: list[Callable[[Path, Path], None]] = [
    flip, flip_the_label, cut, empty, extend, take_anothers_place, delete, become_a_fifo, become_a_link,
]  # fmt: skip
NAMES = [harm.__name__ for harm in HARMS]
SOUND = "sound"


def put(workspace: Served, name: str, mtime: float = FIRST_MTIME) -> bytes:
    content = content_of(f"{name} {mtime}".encode(), SIZE)
    (workspace.volume / name).write_bytes(content)
    os.utime(workspace.volume / name, (mtime, mtime))
    return content


def chunk_files(cache: Path) -> dict[RemotePath, Path]:
    """By what they say they are."""
    with CacheFolder.open(cache, exclusive=False) as folder:
        files = list(cache.rglob("*.chunk"))
        return {
            load_found(folder.fd, ChunkName(bytes.fromhex(file.stem))).trailer.label.path: file
            for file in files
        }


def remote(name: str) -> RemotePath:
    return RemotePath(("main", "sales", "raw", name))


def read(live: LiveMount, name: str) -> bytes:
    return (live.path / "main/sales/raw" / name).read_bytes()


def is_in_order(cache: Path) -> bool:
    with CacheFolder.open(cache, exclusive=False) as folder:
        return inspect(folder, is_mounted=False).is_clean


@pytest.fixture
def harmed(workspace: Served, tmp_path: Path) -> dict[str, bytes]:
    """The right bytes of files whose chunks, but for one, are harmed in one way each; nothing is mounted."""
    contents = {name: put(workspace, name) for name in [*NAMES, SOUND]}
    with mounted(workspace, tmp_path) as live:
        assert {name: read(live, name) for name in contents} == contents
        assert wait_for(lambda: len(list(live.cache.rglob("*.chunk"))) == len(contents))
        assert live.stop() == 0
    files = chunk_files(tmp_path / "cache")
    for harm in HARMS:
        harm(files[remote(harm.__name__)], files[remote(SOUND)])
    return contents


def test_each_harm_is_noticed_fetched_again_and_counted(
    workspace: Served, harmed: dict[str, bytes], tmp_path: Path
) -> None:
    workspace.journal.clear()
    with mounted(workspace, tmp_path) as live:
        assert {name: read(live, name) for name in harmed} == harmed
        assert workspace.counts["fs.files.get"] == len(HARMS)
        assert "is dropped from the cache" in live.log
        assert wait_for(lambda: len(list(live.cache.rglob("*.chunk"))) == len(harmed))
        assert live.stop() == 0
    db = outside(tmp_path / "cache")
    dropped = "SELECT sum(value) FROM stat_counter WHERE name LIKE 'disk.dropped%'"
    [(count,)] = db.execute(dropped).fetchall()
    # The one that was deleted may be noticed by the sweep of the start before it is by its reader.
    assert count in {len(HARMS) - 1, len(HARMS)}
    db.close()
    workspace.journal.clear()
    with mounted(workspace, tmp_path) as live:
        assert {name: read(live, name) for name in harmed} == harmed
        assert workspace.counts["fs.files.get"] == 0
        assert live.stop() == 0
    assert is_in_order(tmp_path / "cache")


def test_without_the_workspace_a_harmed_chunk_is_an_error_and_a_sound_one_is_read(
    workspace: Served, harmed: dict[str, bytes], tmp_path: Path
) -> None:
    with mounted(workspace, tmp_path) as live:
        assert sorted(os.listdir(live.path / "main/sales/raw")) == sorted(harmed)  # noqa: PTH208 - as ls does
        workspace.go_down()
        assert read(live, SOUND) == harmed[SOUND]
        for name in NAMES:
            with pytest.raises(OSError) as failure:
                read(live, name)
            assert failure.value.errno == errno.EHOSTUNREACH, name
        workspace.come_back()
        for name in NAMES:
            assert wait_for(lambda name=name: _is_right(live, name, harmed[name]), timeout=15)  # type: ignore[misc]


def _is_right(live: LiveMount, name: str, content: bytes) -> bool:
    try:
        return read(live, name) == content
    except OSError:
        return False


@pytest.mark.parametrize("with_index", [True, False])
def test_chunk_files_of_an_older_version_that_are_put_back_are_not_served(
    workspace: Served, tmp_path: Path, with_index: bool
) -> None:
    cache, backup = tmp_path / "cache", tmp_path / "backup"
    put(workspace, "a.bin")
    with mounted(workspace, tmp_path) as live:
        read(live, "a.bin")
        assert wait_for(lambda: list(live.cache.rglob("*.chunk")))
        live.stop()
    shutil.copytree(cache, backup)
    new = put(workspace, "a.bin", FIRST_MTIME + 1000)
    with mounted(workspace, tmp_path, "--clear-cache") as live:
        assert read(live, "a.bin") == new
        live.stop()
    for file in backup.rglob("*" if with_index else "*.chunk"):
        if file.is_file():
            shutil.copyfile(file, cache / file.relative_to(backup))
    with mounted(workspace, tmp_path, "--metadata-cache-ttl-sec", "0") as live:
        for _ in range(2):
            assert read(live, "a.bin") == new
        if not with_index:  # it gets a row, under its own version
            assert wait_for(lambda: "recorded again in the index: 1 chunk files" in live.log)
        assert read(live, "a.bin") == new
        assert live.stop() == 0
    assert is_in_order(cache)


def test_a_cache_folder_that_goes_while_mounted_costs_no_read(workspace: Served, tmp_path: Path) -> None:
    contents = {f"{n}.bin": put(workspace, f"{n}.bin") for n in range(6)}
    with mounted(workspace, tmp_path, "--ram-cache-mb", "16") as live:
        for name in list(contents)[:3]:
            assert read(live, name) == contents[name]

        def is_removed() -> bool:
            shutil.rmtree(live.cache, ignore_errors=True)  # the last chunks may be on their way to it
            return not live.cache.exists()

        assert wait_for(is_removed)
        for name, content in contents.items():
            assert read(live, name) == content
        assert live.process.poll() is None
        assert live.stop() == 0
        assert "Traceback" not in live.log
