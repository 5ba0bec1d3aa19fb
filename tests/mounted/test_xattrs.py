"""Extended attributes through the kernel, and the programs that copy them."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mounts import LiveMount, has_program, mounted
from tests.support.places import Place
from tests.support.trees import FIRST_MTIME, read_tree
from tests.support.waiting import wait_for
from tests.support.workspace import Served

PREFIX = "user.fuse4dbricks."
MIB = 1024 * 1024


def values(path: Path) -> dict[str, str]:
    return {
        name.removeprefix(PREFIX): os.getxattr(path, name).decode()
        for name in os.listxattr(path)
        if name.startswith(PREFIX)
    }


def run(*command: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, capture_output=True, timeout=60, check=False)


def test_what_they_say_before_and_after_reading(place: Place, served: Served) -> None:
    place.put("a", 3 * MIB + 5)
    path = place.top / "a"
    before = values(path)
    assert before["version"] == f"{int(FIRST_MTIME)}:{3 * MIB + 5}:-"
    assert before["last_modified"] == str(int(FIRST_MTIME))
    assert before["cached_bytes"] == "0"
    assert {"cached_ranges", "fetched_at", "owner", "etag", "pinned"}.isdisjoint(before)
    path.read_bytes()
    assert wait_for(lambda: "fetched_at" in values(path))
    calls = served.counts.copy()
    after = values(path)
    assert (after["cached_bytes"], after["cached_ranges"]) == (str(3 * MIB + 5), f"0-{3 * MIB + 4}")
    assert after["owner"] == served.user
    assert int(after["validated_at"]) <= int(after["fetched_at"]) + 1
    assert served.counts == calls, "no call is made for them"


def test_what_is_not_there_has_no_data(place: Place) -> None:
    place.put("a", 10)
    assert os.listxattr(place.top) == []
    for path, name in (
        (place.top / "a", "mime_type"),
        (place.top / "a", "fuse4dbricks.etag"),
        (place.top, "x"),
    ):
        with pytest.raises(OSError, match=r"No data") as refused:
            os.getxattr(path, f"user.{name}")
        assert refused.value.errno == errno.ENODATA


@has_program("getfattr")
def test_getfattr(place: Place) -> None:
    place.put("a b", 10)
    done = run("getfattr", "-d", "--absolute-names", place.top / "a b")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b'user.fuse4dbricks.cached_bytes="0"\n' in done.stdout


@pytest.fixture
def bare() -> Iterator[Path]:
    """A folder on a file system that has no extended attributes."""
    if os.geteuid() != 0:
        pytest.skip("mounting a ramfs takes root")
    with tempfile.TemporaryDirectory(prefix="fuse4dbricks-") as name:
        if run("mount", "-t", "ramfs", "none", name).returncode != 0:
            pytest.skip("no ramfs here")
        try:
            yield Path(name)
        finally:
            run("umount", "-l", name)


@pytest.fixture
def tree(place: Place) -> Place:
    for name, size in (("a", 0), ("b/c", 70_000), ("b/d e", 5)):
        place.put(name, size)
    return place


COPIES = {
    "cp": ["cp", "-a", "{source}/.", "{target}"],
    "rsync": ["rsync", "-aX", "{source}/", "{target}"],
    "tar": [
        "sh", "-c",
        "tar --xattrs -C {source} -cf - . | tar --xattrs --xattrs-include='user.*' -C {target} -xf -",
    ],
}  # fmt: skip


@pytest.mark.parametrize("program", [pytest.param(name, marks=has_program(name)) for name in COPIES])
def test_copies_take_them_along(tree: Place, tmp_path: Path, program: str) -> None:
    target = tmp_path / "copy"
    target.mkdir()
    try:
        os.setxattr(target, "user.test", b"1")
    except OSError:
        pytest.skip("this machine's temporary folder has no extended attributes")
    os.removexattr(target, "user.test")
    done = run(*[part.format(source=tree.top, target=target) for part in COPIES[program]])
    assert (done.returncode, done.stderr) == (0, b"")
    assert read_tree(target) == read_tree(tree.source)
    assert values(target / "b/c")["version"] == f"{int(FIRST_MTIME)}:70000:-"


def test_cp_and_tar_go_on_where_the_target_has_none(tree: Place, bare: Path) -> None:
    for program in ("cp", "tar"):
        target = bare / program
        target.mkdir()
        done = run(*[part.format(source=tree.top, target=target) for part in COPIES[program]])
        assert done.returncode == 0, done.stderr
        assert read_tree(target) == read_tree(tree.source)


@has_program("rsync")
def test_rsync_can_leave_them_out(tree: Place, bare: Path) -> None:
    copy = ["rsync", "-aX", f"{tree.top}/", str(bare / "copy")]
    done = run(*copy, "--filter=-x user.fuse4dbricks.*")
    assert (done.returncode, done.stderr) == (0, b"")
    assert read_tree(bare / "copy") == read_tree(tree.source)


@has_program("rsync")
def test_a_mount_that_lists_none(workspace: Served, tmp_path: Path, bare: Path) -> None:
    (workspace.volume / "f").write_bytes(b"hello")
    with mounted(workspace, tmp_path / "m", "--hide-xattrs") as live:
        top = live.path / "main/sales/raw"
        assert os.listxattr(top / "f") == []
        assert os.getxattr(top / "f", f"{PREFIX}cached_bytes") in {b"0", b"5"}
        done = run("rsync", "-aX", f"{top}/", str(bare / "copy"))
        assert (done.returncode, done.stderr) == (0, b"")


def test_an_unlinked_file_keeps_its_own(shared: LiveMount, place: Place) -> None:
    """A descriptor's attributes are those of its version, whatever became of the name."""
    place.put("a", 10)
    with (place.top / "a").open("rb") as stream:
        stream.read()
        (place.source / "a").unlink()
        assert os.getxattr(stream.fileno(), f"{PREFIX}version").decode() == f"{int(FIRST_MTIME)}:10:-"
