"""--root and the lists of securables, through a real mount."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import trees
from tests.support.mounts import mounted
from tests.support.places import names
from tests.support.workspace import Served


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
