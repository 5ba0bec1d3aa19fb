"""What ``cache-stats`` tells: figures with a meaning, made of the index's rows and of counters.

The difficulty: a ratio means nothing without what it is a part of, and counts of several layers are easily added
twice. So each figure is defined here once, and the table, the JSON, the page and the text for Prometheus show the
same object. A read is counted for the layer that had its bytes last: RAM, else disk, else the workspace; what the
kernel answers from its own pages never reaches us and is in no figure. (Why these are no dataclasses: see
``index/report``.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fuse4dbricks.cache.quota_use import QuotaUse, compute_quotas
from fuse4dbricks.chunks.looking import FolderSight, look_at
from fuse4dbricks.index.report import FileUse, MountNote, Report, VolumeUse, load_report
from fuse4dbricks.telemetry.metrics import parse_flat_name

#: Of the figures as a whole: it grows when one is renamed, removed or given another meaning, not when one is added.
SCHEMA_VERSION = 1

SECONDS_PER_DAY = 86_400

#: What chunks can be grouped by.
DIMENSIONS = ("user", "catalog", "schema", "volume", "extension", "age")

#: First day of each age group, in days since the last use.
AGE_DAYS = (0, 1, 2, 4, 8, 15, 31, 91)

#: From the reader to the workspace.
LAYERS = ("ram", "disk", "workspace")


class MountState(NamedTuple):
    """The mount that uses the folder, or the last one that did.

    Attributes:
        running: whether it is there now, as far as this process can see.
        limits: those in force: disk_bytes, ram_bytes, max_age_seconds, min_free_fraction, chunk_size, max_files,
            quota_user_bytes, quota_catalog_bytes; 0: none.
        ended_at: None while it runs, and when it was killed.
    """

    running: bool
    pid: int
    mountpoint: str
    workspace: str
    started_at: float
    ended_at: float | None
    limits: dict[str, float]


class Size(NamedTuple):
    """What the cache folder takes, as ``du`` sees it.

    Attributes:
        bytes: chunk_bytes, index_bytes and other_bytes.
        chunk_bytes: the chunk files.
        index_bytes: the index with its log.
        other_bytes: the folders, the lock, an index that was set aside.
        limit_bytes: of the last mount; None: there was none.
        limit_fraction: bytes as a part of the limit.
        pinned_bytes: chunk files that eviction leaves alone.
        disk_free_bytes, disk_total_bytes: of the disk that the folder is on.
    """

    bytes: int
    chunk_bytes: int
    index_bytes: int
    other_bytes: int
    limit_bytes: int | None
    limit_fraction: float | None
    files: int
    chunks: int
    pinned_chunks: int
    pinned_bytes: int
    disk_free_bytes: int
    disk_total_bytes: int


class Layer(NamedTuple):
    """What one layer answered.

    Attributes:
        hit_ratio_reads, hit_ratio_bytes: the part that it answered of what came as far as this layer; None: nothing did.
    """

    reads: int
    bytes: int
    hit_ratio_reads: float | None
    hit_ratio_bytes: float | None


class Reading(NamedTuple):
    """What readers got, and from where.

    Attributes:
        layers: ram, disk, workspace.
        hit_ratio_reads, hit_ratio_bytes: the part of all that RAM and disk answered together.
        answered_bytes: given to readers.
        downloaded_bytes: of file content, from the workspace; more than readers waited for where it was fetched ahead.
        saved_bytes: answered and not downloaded for it.
    """

    layers: dict[str, Layer]
    hit_ratio_reads: float | None
    hit_ratio_bytes: float | None
    answered_bytes: int
    downloaded_bytes: int
    saved_bytes: int


class Calls(NamedTuple):
    """Requests to the workspace, each attempt counted.

    Attributes:
        by_kind: identity, catalog, listing, head, range, download_url.
        throttled: answered with 429.
        retries: sent again, by reason.
        gave_up: failed for good, by error.
    """

    total: int
    by_kind: dict[str, int]
    throttled: int
    retries: dict[str, int]
    gave_up: dict[str, int]


class Amount(NamedTuple):
    """Chunks, and what they take on the disk."""

    chunks: int
    bytes: int


class Storing(NamedTuple):
    """The life of chunks on the disk.

    Attributes:
        stored: written; their payload.
        evicted: by reason (size, age, space …).
        refused: not stored, by reason.
        dropped: found unusable, by reason.
    """

    stored: Amount
    evicted: dict[str, Amount]
    refused: dict[str, int]
    dropped: dict[str, int]


class Group(NamedTuple):
    """Chunks that have something in common.

    Attributes:
        files: versions of files with at least one chunk; None where that is not recorded.
        fraction: of all chunks' bytes.
    """

    name: str
    files: int | None
    chunks: int
    bytes: int
    fraction: float


class TopFile(NamedTuple):
    """One of the files with most bytes here.

    Attributes:
        size: of the file.
        cached_bytes: here.
    """

    path: str
    size: int
    chunks: int
    cached_bytes: int


class Statistics(NamedTuple):
    """All of it.

    Attributes:
        schema_version: :data:`SCHEMA_VERSION`.
        taken_at: Unix time.
        folder: the cache folder.
        complete: false while a new index does not know of all chunk files yet: sizes and groups are too small.
        workspaces: hosts that it serves or has served.
        counted_since: Unix time of the first workspace's first mount with this index; None: there was none.
        quotas: who has one and what he takes of it, fullest first; empty where no quota is set.
        groups: by dimension (:data:`DIMENSIONS`), largest first; ages youngest first.
        counters: everything that was counted, by name and labels; shown as it is, without a promise.
    """

    schema_version: int
    taken_at: float
    folder: str
    complete: bool
    workspaces: list[str]
    counted_since: float | None
    mount: MountState | None
    size: Size
    reads: Reading
    metadata: dict[str, int]
    calls: Calls
    storing: Storing
    groups: dict[str, list[Group]]
    quotas: list[QuotaUse]
    top_files: list[TopFile]
    counters: dict[str, int]


def load_statistics(folder: Path, *, top_files: int, now: float) -> Statistics:
    """Read the figures of the cache ``folder`` at the Unix time ``now``; nothing is changed.

    Raises:
        CacheFolderError: there is no cache, or it cannot be read.
    """
    sight = look_at(folder)
    return compute(load_report(sight.index_path, top_files), sight, now=now)


def as_document(value: Any) -> Any:
    """``value`` as dicts, lists and plain values, for JSON."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {key: as_document(each) for key, each in value.items()}
    return [as_document(each) for each in value] if isinstance(value, list | tuple) else value


def compute(report: Report, sight: FolderSight, *, now: float) -> Statistics:
    """The figures of what was read."""
    counted = _Counted(report.counts)
    mount = None if report.mount is None else _mount_state(report.mount, sight.holder)
    return Statistics(
        schema_version=SCHEMA_VERSION,
        taken_at=now,
        folder=str(sight.path),
        complete=report.is_complete,
        workspaces=list(report.workspaces),
        counted_since=min(report.workspaces.values(), default=None),
        mount=mount,
        size=_size(report, sight, mount),
        reads=_reading(counted),
        metadata={**counted.by("metadata.hits", "layer"), "workspace": counted.total("metadata.misses")},
        calls=_calls(counted),
        storing=_storing(counted),
        groups=_groups(report, now),
        quotas=compute_quotas(report, {} if mount is None else mount.limits),
        top_files=[_top_file(file, report) for file in report.files],
        counters=dict(sorted(report.counts.items())),
    )


class _Counted:
    """Counters by name and label."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._parsed = [(*parse_flat_name(name), amount) for name, amount in sorted(counts.items())]

    def total(self, name: str, **labels: str) -> int:
        return sum(n for have, its, n in self._parsed if have == name and labels.items() <= its.items())

    def by(self, name: str, label: str) -> dict[str, int]:
        """Sums by one label's values, largest first."""
        sums: dict[str, int] = {}
        for have, labels, amount in self._parsed:
            if have == name and label in labels:
                sums[labels[label]] = sums.get(labels[label], 0) + amount
        return dict(sorted(sums.items(), key=lambda item: -item[1]))


def _mount_state(note: MountNote, holder: int | None) -> MountState:
    return MountState(
        running=holder is not None,
        pid=holder or note.pid,
        mountpoint=note.mountpoint,
        workspace=note.workspace,
        started_at=note.started_at,
        ended_at=None if holder is not None else note.ended_at,
        limits=note.settings,
    )


def _size(report: Report, sight: FolderSight, mount: MountState | None) -> Size:
    chunk_bytes = sum(day.disk_bytes for day in report.days)
    taken = chunk_bytes + sight.index_bytes + sight.other_bytes
    limit = None if mount is None else mount.limits.get("disk_bytes")
    return Size(
        bytes=taken,
        chunk_bytes=chunk_bytes,
        index_bytes=sight.index_bytes,
        other_bytes=sight.other_bytes,
        limit_bytes=None if limit is None else int(limit),
        limit_fraction=_part(taken, limit or 0),
        files=sum(volume.files for volume in report.volumes),
        chunks=sum(day.chunks for day in report.days),
        pinned_chunks=report.pinned.chunks,
        pinned_bytes=report.pinned.disk_bytes,
        disk_free_bytes=sight.free_bytes,
        disk_total_bytes=sight.total_bytes,
    )


def _reading(counted: _Counted) -> Reading:
    found = [
        *(
            (counted.total("read.hits", layer=x), counted.total("read.hit_bytes", layer=x))
            for x in LAYERS[:2]
        ),
        (counted.total("read.misses"), counted.total("read.miss_bytes")),
    ]
    reads, answered = (sum(column) for column in zip(*found, strict=True))
    left_reads, left_bytes = reads, answered
    layers = {}
    for name, (own_reads, own_bytes) in zip(LAYERS, found, strict=True):
        layers[name] = Layer(own_reads, own_bytes, _part(own_reads, left_reads), _part(own_bytes, left_bytes))
        left_reads, left_bytes = left_reads - own_reads, left_bytes - own_bytes
    misses, miss_bytes = found[-1]
    downloaded = counted.total("remote.bytes")
    return Reading(
        layers=layers,
        hit_ratio_reads=_part(reads - misses, reads),
        hit_ratio_bytes=_part(answered - miss_bytes, answered),
        answered_bytes=answered,
        downloaded_bytes=downloaded,
        saved_bytes=max(0, answered - downloaded),
    )


def _calls(counted: _Counted) -> Calls:
    return Calls(
        total=counted.total("remote.calls"),
        by_kind=counted.by("remote.calls", "kind"),
        throttled=counted.total("remote.throttled"),
        retries=counted.by("remote.retries", "reason"),
        gave_up=counted.by("remote.gave_up", "error"),
    )


def _storing(counted: _Counted) -> Storing:
    evicted_bytes = counted.by("disk.evicted_bytes", "reason")
    return Storing(
        stored=Amount(counted.total("disk.published"), counted.total("disk.published_bytes")),
        evicted={
            reason: Amount(chunks, evicted_bytes.get(reason, 0))
            for reason, chunks in counted.by("disk.evicted", "reason").items()
        },
        refused=counted.by("disk.refused", "reason"),
        dropped=counted.by("disk.dropped", "reason"),
    )


# --- groups --------------------------------------------------------------------------------------


def _groups(report: Report, now: float) -> dict[str, list[Group]]:
    total = sum(day.disk_bytes for day in report.days)
    volumes = report.volumes
    found: dict[str, Iterable[tuple[str, int | None, int, int]]] = {
        "user": ((use.name or "unknown", None, use.chunks, use.disk_bytes) for use in report.owners),
        "catalog": _by_prefix(volumes, report, 1),
        "schema": _by_prefix(volumes, report, 2),
        "volume": _by_prefix(volumes, report, 3),
        "extension": ((use.name or "none", None, use.chunks, use.disk_bytes) for use in report.extensions),
        "age": _by_age(report, now),
    }
    return {
        dimension: [Group(*row, fraction=_part(row[3], total) or 0.0) for row in rows]
        for dimension, rows in found.items()
    }


def _by_prefix(
    volumes: Iterable[VolumeUse], report: Report, depth: int
) -> list[tuple[str, int | None, int, int]]:
    """Volumes summed by the first ``depth`` parts of their names, largest first."""
    sums: dict[str, list[int]] = {}
    for volume in volumes:
        name = _placed(
            report, volume.workspace, ".".join((volume.catalog, volume.schema, volume.name)[:depth])
        )
        row = sums.setdefault(name, [0, 0, 0])
        for position, amount in enumerate((volume.files, volume.chunks, volume.disk_bytes)):
            row[position] += amount
    rows: list[tuple[str, int | None, int, int]] = [
        (name, files, chunks, size) for name, (files, chunks, size) in sums.items()
    ]
    return sorted(rows, key=lambda row: -row[3])


def _by_age(report: Report, now: float) -> list[tuple[str, int | None, int, int]]:
    """Chunks by whole UTC days since their last use; a clock that stood ahead made some of today's."""
    today = int(now // SECONDS_PER_DAY)
    sums = {_age_name(position): [0, 0] for position in range(len(AGE_DAYS))}
    for day in report.days:
        if day.day is None:
            name = "replaced"
        else:
            name = _age_name(max(p for p, first in enumerate(AGE_DAYS) if first <= max(0, today - day.day)))
        row = sums.setdefault(name, [0, 0])
        row[0] += day.chunks
        row[1] += day.disk_bytes
    return [(name, None, chunks, size) for name, (chunks, size) in sums.items()]


def _age_name(position: int) -> str:
    first, *following = AGE_DAYS[position : position + 2]
    if first == 0:
        return "today"
    if not following:
        return f"over {first - 1} days"
    last = following[0] - 1
    return f"{first}-{last} days" if last > first else "1 day"


def _top_file(file: FileUse, report: Report) -> TopFile:
    return TopFile(_placed(report, file.workspace, file.path), file.size, file.chunks, file.cached_bytes)


def _placed(report: Report, workspace: str, name: str) -> str:
    """``name``, with its workspace where the folder serves several."""
    return name if len(report.workspaces) <= 1 else f"{workspace}:{name}"


def _part(amount: float, whole: float) -> float | None:
    return amount / whole if whole else None
