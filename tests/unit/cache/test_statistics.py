"""The figures: each is what its definition says, whatever was counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fuse4dbricks.cache.statistics import DIMENSIONS, Group, Statistics, compute
from fuse4dbricks.chunks.looking import FolderSight
from fuse4dbricks.cli import cache_stats
from fuse4dbricks.index.report import DayUse, FileUse, MountNote, Report, Use, VolumeUse

DAY = 86_400
NOW = 20_000 * DAY + 1000.0
SIGHT = FolderSight(Path("/c"), Path("/c/index.sqlite"), None, 30, 20, 1000, 4000)
MOUNT = MountNote("w", 7, "/mnt", {"disk_bytes": 500}, 1.0, 2.0)
COUNTS = {
    "read.hits{layer=ram}": 60,
    "read.hits{layer=disk}": 30,
    "read.misses": 10,
    "read.hit_bytes{layer=ram}": 600,
    "read.hit_bytes{layer=disk}": 100,
    "read.miss_bytes": 300,
    "remote.bytes": 400,
    "remote.calls{kind=head}": 2,
    "remote.calls{kind=range}": 5,
    "remote.throttled": 3,
    "remote.retries{reason=status 429}": 3,
    "remote.gave_up{error=NotFound}": 1,
    "disk.evicted{reason=size}": 4,
    "disk.evicted_bytes{reason=size}": 40,
    "disk.evicted{reason=age}": 9,
    "disk.evicted_bytes{reason=age}": 90,
    "metadata.hits{layer=ram}": 8,
    "metadata.misses": 2,
}
EMPTY = Report({}, None, {}, (), (), (), (), (), Use("", 0, 0), is_complete=True)
REPORT = Report(
    workspaces={"w": 5.0},
    mount=MOUNT,
    counts=COUNTS,
    volumes=(
        VolumeUse("w", "a", "s", "v", 2, 3, 300),
        VolumeUse("w", "b", "s", "v", 1, 1, 100),
        VolumeUse("w", "a", "t", "u", 1, 1, 50),
    ),
    owners=(Use("ann", 4, 400), Use("", 1, 50)),
    extensions=(Use("csv", 3, 300), Use("", 2, 150)),
    days=(
        DayUse(20_001, 1, 10),
        DayUse(20_000, 1, 40),
        DayUse(19_999, 1, 100),
        DayUse(19_985, 1, 200),
        DayUse(None, 1, 100),
    ),
    files=(FileUse("w", "a/s/v/f", 1000, 2, 200),),
    pinned=Use("", 1, 50),
    is_complete=True,
)


def figures(report: Report = REPORT, sight: FolderSight = SIGHT) -> Statistics:
    return compute(report, sight, now=NOW)


def test_size_against_the_limit() -> None:
    size = figures().size
    assert (size.bytes, size.chunk_bytes, size.chunks, size.files) == (500, 450, 5, 4)
    assert (size.limit_bytes, size.limit_fraction) == (500, 1.0)
    assert (size.pinned_chunks, size.pinned_bytes) == (1, 50)


def test_each_layers_ratio_is_of_what_came_as_far() -> None:
    reads = figures().reads
    ram, disk, workspace = reads.layers.values()
    assert (ram.hit_ratio_reads, ram.hit_ratio_bytes) == (0.6, 0.6)
    assert (disk.hit_ratio_reads, disk.hit_ratio_bytes) == (0.75, 0.25)
    assert (workspace.hit_ratio_reads, workspace.hit_ratio_bytes) == (1.0, 1.0)
    assert (reads.hit_ratio_reads, reads.hit_ratio_bytes) == (0.9, 0.7)
    assert (reads.answered_bytes, reads.downloaded_bytes, reads.saved_bytes) == (1000, 400, 600)


def test_more_fetched_ahead_than_read_saves_nothing() -> None:
    reads = figures(
        REPORT._replace(counts={"remote.bytes": 10, "read.miss_bytes": 5, "read.misses": 1})
    ).reads
    assert reads.saved_bytes == 0


def test_calls_and_evictions() -> None:
    found = figures()
    assert (found.calls.total, found.calls.by_kind) == (7, {"range": 5, "head": 2})
    assert (found.calls.throttled, found.calls.retries) == (3, {"status 429": 3})
    assert found.calls.gave_up == {"NotFound": 1}
    assert {reason: (a.chunks, a.bytes) for reason, a in found.storing.evicted.items()} == {
        "age": (9, 90),
        "size": (4, 40),
    }
    assert found.metadata == {"ram": 8, "workspace": 2}


def rows(groups: list[Group]) -> dict[str, tuple[int | None, int, int]]:
    return {group.name: (group.files, group.chunks, group.bytes) for group in groups if group.chunks}


def test_groups() -> None:
    groups = figures().groups
    assert tuple(groups) == DIMENSIONS == cache_stats.DIMENSIONS
    assert rows(groups["catalog"]) == {"a": (3, 4, 350), "b": (1, 1, 100)}
    assert rows(groups["schema"]) == {"a.s": (2, 3, 300), "b.s": (1, 1, 100), "a.t": (1, 1, 50)}
    assert [group.name for group in groups["volume"]] == ["a.s.v", "b.s.v", "a.t.u"]
    assert rows(groups["user"]) == {"ann": (None, 4, 400), "unknown": (None, 1, 50)}
    assert rows(groups["extension"]) == {"csv": (None, 3, 300), "none": (None, 2, 150)}
    for dimension in DIMENSIONS:
        assert sum(group.bytes for group in groups[dimension]) == 450
        assert sum(group.fraction for group in groups[dimension]) == pytest.approx(1)


def test_ages() -> None:
    assert rows(figures().groups["age"]) == {
        "today": (None, 2, 50),
        "1 day": (None, 1, 100),
        "15-30 days": (None, 1, 200),
        "replaced": (None, 1, 100),
    }
    old = REPORT._replace(
        days=tuple(DayUse(20_000 - age, 1, 1) for age in (2, 3, 4, 7, 8, 14, 30, 31, 90, 91))
    )
    assert [group.chunks for group in figures(old).groups["age"]] == [0, 0, 2, 2, 2, 1, 2, 1]


def test_two_workspaces_are_told_apart() -> None:
    both = (*REPORT.volumes, VolumeUse("x", "a", "s", "v", 1, 1, 7))
    found = figures(REPORT._replace(workspaces={"w": 5.0, "x": 4.0}, volumes=both))
    assert {"w:a.s.v", "x:a.s.v"} <= {group.name for group in found.groups["volume"]}
    assert found.top_files[0].path == "w:a/s/v/f"
    assert found.counted_since == 4.0


def test_an_empty_cache_divides_by_nothing() -> None:
    found = figures(EMPTY)
    assert (found.mount, found.counted_since) == (None, None)
    assert (found.size.limit_bytes, found.size.limit_fraction) == (None, None)
    assert found.reads.hit_ratio_bytes is None
    assert {layer.hit_ratio_reads for layer in found.reads.layers.values()} == {None}


def test_the_mount() -> None:
    ended = figures().mount
    assert ended is not None
    assert (ended.running, ended.pid, ended.ended_at) == (False, 7, 2.0)
    again = figures(sight=replace(SIGHT, holder=8)).mount
    assert again is not None
    assert (again.running, again.pid, again.ended_at) == (True, 8, None)
