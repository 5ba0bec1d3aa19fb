"""What was read is there again after the next start, however soon the end came."""

from __future__ import annotations

import os
from pathlib import Path

from fuse4dbricks.units import MIB
from tests.support.mounts import mounted
from tests.support.strace import injected, needs_strace
from tests.support.workspace import VOLUME_NAME, Served

CHUNKS = 8
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


@needs_strace
def test_what_waits_to_be_stored_when_the_end_comes_is_stored(workspace: Served, tmp_path: Path) -> None:
    """A disk on which each chunk takes 0.15 s: most of them are still queued when the reader has all his bytes."""
    folder = Path(*VOLUME_NAME.split("."))
    contents = {f"{n}": os.urandom(CHUNKS * MIB) for n in range(5)}
    for name, content in contents.items():
        (workspace.volume / name).write_bytes(content)
        os.utime(workspace.volume / name, (1_600_000_000, 1_600_000_000))
    read = 0
    with (
        mounted(workspace, tmp_path) as first,
        injected(first.process.pid, ["linkat"], "delay_enter=150ms", tmp_path / "strace") as slowness,
    ):
        for name, content in contents.items():
            assert (first.path / folder / name).read_bytes() == content
            read += CHUNKS
            waiting = read - len(list(first.cache.rglob("*.chunk")))
            if waiting:
                break  # a loaded machine may have stored it all by now: then the next file is read
        assert waiting
        assert first.stop() == 0
        assert slowness.fired
    assert len(list(first.cache.rglob("*.chunk"))) == read
    workspace.journal.clear()
    with mounted(workspace, tmp_path) as second:
        for name in list(contents)[: read // CHUNKS]:
            assert (second.path / folder / name).read_bytes() == contents[name]
    assert workspace.counts[RANGE] == 0
