"""What was read is there again after the next start, however soon the end came."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.mounts import mounted
from tests.support.workspace import VOLUME_NAME, Served

RANGE = "fs.files.get"


def test_an_unmount_right_after_a_read_loses_none_of_it(workspace: Served, tmp_path: Path) -> None:
    content = os.urandom(12 * 1024 * 1024 + 17)
    (workspace.volume / "f").write_bytes(content)
    os.utime(workspace.volume / "f", (1_600_000_000, 1_600_000_000))
    cache = tmp_path / "shared-cache"
    name = Path(*VOLUME_NAME.split("."), "f")
    with mounted(workspace, tmp_path, "--disk-cache-dir", str(cache)) as first:
        assert (first.path / name).read_bytes() == content
    assert workspace.counts[RANGE] > 0
    workspace.journal.clear()
    with mounted(workspace, tmp_path, "--disk-cache-dir", str(cache)) as second:
        assert (second.path / name).read_bytes() == content
    assert workspace.counts[RANGE] == 0
