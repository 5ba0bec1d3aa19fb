"""``cache-stats`` on a real mount: it agrees with the files on disk and with what the workspace was asked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fuse4dbricks.devworkspace.effects import Status
from fuse4dbricks.units import GIB, KIB, MIB
from tests.support.mounts import LiveMount, mounted
from tests.support.trees import put_file
from tests.support.waiting import wait_for
from tests.support.workspace import VOLUME_NAME, Served

#: What the driver calls a request, by what the local workspace does.
KINDS = {
    "fs.files.get": "range",
    "fs.files.head": "head",
    "fs.directories.head": "head",
    "scim.me": "identity",
}
KINDS |= {"fs.directories.list": "listing"}

PIECE = 128 * KIB


def show(cache: Path, *options: str) -> str:
    command = [sys.executable, "-m", "fuse4dbricks", "cache-stats", "--disk-cache-dir", str(cache), *options]
    return subprocess.check_output(command, text=True, timeout=60)


def figures(cache: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(show(cache, "--json"))
    return document


def calls_of(counts: Mapping[str, int]) -> Counter[str]:
    """The workspace's own log, in the driver's words."""
    kinds: Counter[str] = Counter()
    for kind, count in counts.items():
        kinds["catalog" if kind.startswith("uc.") else KINDS[kind]] += count
    return kinds


def chunk_files(cache: Path) -> list[Path]:
    return list((cache / "chunks").rglob("*.chunk"))


def du(cache: Path) -> int:
    return int(subprocess.check_output(["du", "-s", "--block-size=1", cache]).split()[0])


def read(live: LiveMount, name: str) -> None:
    """In direct pieces, so that the kernel answers none of them."""
    code = (
        "import mmap, os, sys\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)\n"
        f"buffer = mmap.mmap(-1, {PIECE})\n"
        "while os.readv(fd, [buffer]): pass\n"
    )
    live.run_python(code, live.path.joinpath(*VOLUME_NAME.split("."), name))


def test_it_agrees_with_an_independent_count(workspace: Served, tmp_path: Path) -> None:
    for name, size in (("a.csv", 3 * MIB), ("b.parquet", 5 * MIB), ("c", 40)):
        put_file(workspace.volume / name, size)
    slow_down = workspace.faults.add(Status(status=429, retry_after="0"), kind="fs.files.get", times=2)
    with mounted(workspace, tmp_path, "--disk-cache-gb", "1") as live:
        for name in ("a.csv", "b.parquet", "c", "a.csv"):
            read(live, name)
        assert wait_for(lambda: len(chunk_files(live.cache)) == 9)
        during = figures(live.cache)
        assert during["mount"]["running"]
        assert during["mount"]["pid"] == live.process.pid
        assert during["mount"]["mountpoint"] == str(live.path)
        # Nobody waits for the next time the counts are written by themselves.
        assert during["calls"]["by_kind"] == calls_of(workspace.counts)
        assert during["calls"]["throttled"] == 2
        live.stop()
    after = figures(live.cache)
    assert not after["mount"]["running"]
    assert after["mount"]["ended_at"] is not None

    assert after["complete"]
    assert after["size"]["chunks"] == len(chunk_files(live.cache)) == 9
    assert after["size"]["chunk_bytes"] == sum(
        512 * file.stat().st_blocks for file in chunk_files(live.cache)
    )
    assert after["size"]["bytes"] == du(live.cache)
    assert after["size"]["files"] == 3
    assert after["size"]["limit_bytes"] == GIB

    assert after["calls"]["by_kind"] == calls_of(workspace.counts)
    assert after["calls"]["throttled"] == slow_down.fired == 2
    assert sum(after["calls"]["retries"].values()) == 2
    refused = sum(record.bytes_sent for record in workspace.log if record.status == 429)
    assert after["reads"]["downloaded_bytes"] == workspace.journal.get_bytes()["fs.files.get"] - refused
    assert after["reads"]["downloaded_bytes"] == 8 * MIB + 40
    assert after["reads"]["answered_bytes"] == 11 * MIB + 40
    assert after["reads"]["saved_bytes"] == 3 * MIB
    assert sum(layer["bytes"] for layer in after["reads"]["layers"].values()) == 11 * MIB + 40

    assert {group["name"]: group["chunks"] for group in after["groups"]["extension"]} == {
        "csv": 3,
        "parquet": 5,
        "none": 1,
    }
    (user,) = after["groups"]["user"]
    assert (user["name"], user["chunks"]) == (workspace.user, 9)
    assert [file["cached_bytes"] for file in after["top_files"]] == [5 * MIB, 3 * MIB, 40]


def test_a_second_mount_counts_on_and_reads_from_disk(workspace: Served, tmp_path: Path) -> None:
    put_file(workspace.volume / "a", 2 * MIB)
    for _ in range(2):
        with mounted(workspace, tmp_path) as live:
            read(live, "a")
            assert wait_for(lambda: len(chunk_files(live.cache)) == 2)
            live.stop()
    after = figures(live.cache)
    layers = after["reads"]["layers"]
    assert after["reads"]["answered_bytes"] == 4 * MIB
    assert layers["disk"]["bytes"] + layers["ram"]["bytes"] >= 2 * MIB
    assert layers["disk"]["reads"] > 0
    assert after["calls"]["by_kind"] == calls_of(workspace.counts)


def test_evictions_and_stored_chunks_add_up(workspace: Served, tmp_path: Path) -> None:
    for name in ("a", "b"):
        put_file(workspace.volume / name, 20 * MIB)

    def adds_up() -> bool:
        found = figures(live.cache)
        evicted, stored = found["storing"]["evicted"], found["storing"]["stored"]["chunks"]
        assert set(evicted) <= {"size"}
        assert found["size"]["bytes"] <= found["size"]["limit_bytes"] == 24 * MIB
        left = stored - evicted["size"]["chunks"] if evicted else None
        return bool(left == found["size"]["chunks"] == len(chunk_files(live.cache)))

    with mounted(workspace, tmp_path, "--disk-cache-gb", str(24 / 1024)) as live:
        for name in ("a", "b"):
            read(live, name)
        # Not after the end: that may cut an eviction between its row and its count.
        assert wait_for(adds_up, 20)
        assert "Evictions" in show(live.cache)


def test_after_a_kill(workspace: Served, tmp_path: Path) -> None:
    put_file(workspace.volume / "a", MIB)
    with mounted(workspace, tmp_path) as live:
        read(live, "a")
        assert wait_for(lambda: figures(live.cache)["size"]["chunks"] == 1)
        live.kill()
        after = figures(live.cache)
        assert after["size"]["chunks"] == 1
        assert not after["mount"]["running"]
        assert "did not end properly" in show(live.cache)
    with mounted(workspace, tmp_path):
        assert figures(live.cache)["mount"]["running"]


@pytest.mark.parametrize("form", [(), ("--prometheus",), ("--by", "user")], ids=["plain", "prometheus", "by"])
def test_every_form_while_mounted(shared: LiveMount, form: tuple[str, ...]) -> None:
    assert show(shared.cache, *form)
