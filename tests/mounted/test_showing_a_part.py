"""--root and the lists of securables, through a real mount."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import trees
from tests.support.mounts import LiveMount, mounted
from tests.support.places import names
from tests.support.waiting import wait_for
from tests.support.workspace import Served, serve


def put_file(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    trees.put_file(path, size)


@pytest.mark.parametrize("root", ["main", "MAIN.sales", "main.sales.raw"])
def test_a_part_is_the_root(workspace: Served, tmp_path: Path, root: str) -> None:
    put_file(workspace.volume / "d/f", 1000)
    rest = ["main", "sales", "raw"][root.count(".") + 1 :]
    with mounted(workspace, tmp_path, "--root", root) as live:
        assert names(live.path) == [".auth", "README.txt", (*rest, "d")[0]]
        assert live.path.joinpath(*rest, "d/f").read_bytes() == (workspace.volume / "d/f").read_bytes()
        assert not (live.path / "main").exists()


def test_what_is_hidden_is_absent(workspace: Served, tmp_path: Path) -> None:
    for name in ("secret", "plain"):
        put_file(workspace.volume.parent / name / "f", 10)
    put_file(workspace.volume.parent.parent / "hr/v/f", 10)
    put_file(workspace.volume / "f", 10)
    options = (
        "--securable-allowlist", "main.SALES,other", "--securable-allowlist", "third.x",
        "--securable-denylist", "main.sales.sec*",
    )  # fmt: skip
    with mounted(workspace, tmp_path, *options) as live:
        assert names(live.path) == [".auth", "README.txt", "main"]
        assert names(live.path / "main") == ["sales"]
        assert names(live.path / "main/sales") == ["plain", "raw"]
        for hidden in ("main/hr", "main/hr/v/f", "main/sales/secret", "main/sales/SECRET/f"):
            with pytest.raises(FileNotFoundError):
                (live.path / hidden).stat()
        assert (live.path / "main/sales/raw/f").read_bytes()


def test_a_root_that_is_not_his_hides_no_help(tmp_path: Path) -> None:
    """The README and .auth are there for everybody; the rest is by each user's own rights, from the first look on."""
    with serve(tmp_path / "tree", open_to_all=False) as workspace:
        put_file(workspace.volume / "f", 1000)
        token = workspace.people.add_user("alice@example.com")
        options = ("--root", "main.sales.raw", "--permission-ttl-sec", "1")
        with mounted(workspace, tmp_path / "m", *options, token=token) as live:
            assert_only_help(live)
            workspace.grants.let_read("main.sales.raw", "alice@example.com")
            assert wait_for(lambda: not why_not_listed(live.path))
            assert names(live.path) == [".auth", "README.txt", "f"]
            assert (live.path / "f").read_bytes() == (workspace.volume / "f").read_bytes()
            workspace.grants.revoke("main.sales.raw", "alice@example.com")
            assert wait_for(lambda: why_not_listed(live.path) == "EACCES")
            assert_only_help(live)


@pytest.mark.parametrize(("root", "reason"), [("main.sales.none", "ENOENT"), ("none", "ENOENT")])
def test_a_root_that_does_not_exist(workspace: Served, tmp_path: Path, root: str, reason: str) -> None:
    with mounted(workspace, tmp_path, "--root", root) as live:
        assert why_not_listed(live.path) == reason
        assert (live.path / "README.txt").read_text()
        assert (live.path / ".auth/status").read_text()
        with pytest.raises(OSError, match="x"):
            (live.path / "x").stat()


def why_not(look: Callable[[], object]) -> str:
    """The errno that it fails with, or nothing."""
    try:
        look()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def why_not_listed(path: Path) -> str:
    return why_not(lambda: names(path))


def assert_only_help(live: LiveMount) -> None:
    """What the mount point says to somebody who may not read what it shows."""
    assert live.path.stat().st_mode
    assert why_not_listed(live.path) == "EACCES"
    assert (live.path / "README.txt").read_text()
    assert "alice@example.com" in (live.path / ".auth/status").read_text()
    # What the kernel was told may stand until the proof that it was told on ends.
    assert wait_for(lambda: why_not((live.path / "f").stat) == "EACCES")
