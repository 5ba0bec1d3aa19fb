"""Statistics cut into titled tables, the same for the terminal, for a pipe and for the page.

The difficulty: file and user names come from a server, and one with an escape sequence or a right-to-left mark in it
would repaint the terminal of whoever looks at the cache. So every text that leaves here is printable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fuse4dbricks.cache.statistics import Group, MountState, Statistics
from fuse4dbricks.units import format_bytes, format_moment, format_seconds, printable

#: What each dimension is called above its table.
GROUPED = {
    "user": "Users",
    "catalog": "Catalogs",
    "schema": "Schemas",
    "volume": "Volumes",
    "extension": "Extensions",
    "age": "Days since the last use",
}
LAYER_NAMES = {"ram": "RAM", "disk": "disk", "workspace": "workspace"}


class Row(NamedTuple):
    """One line.

    Attributes:
        cells: texts, one for each column.
        fraction: 0 to 1, for a bar; None: there is nothing to draw.
    """

    cells: tuple[str, ...]
    fraction: float | None = None


class Section(NamedTuple):
    """One table.

    Attributes:
        columns: their heads; the first column is text, the others are numbers.
        note: what to know about it, or nothing.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""


def percent(fraction: float | None) -> str:
    """``0.1234`` → ``12.3 %``; a dash where there is nothing to divide."""
    return "–" if fraction is None else f"{100 * fraction:.1f} %"


def when(unix: float | None) -> str:
    """Local time, to the minute."""
    return "–" if unix is None else format_moment(unix)


def facts_of(statistics: Statistics) -> list[tuple[str, str]]:
    """What the tables are about, as names and values."""
    facts = [
        ("folder", printable(statistics.folder)),
        ("workspace", printable(", ".join(statistics.workspaces)) or "–"),
        ("mount", _mount(statistics.mount)),
        ("counted since", when(statistics.counted_since)),
    ]
    if not statistics.complete:
        facts.append(
            ("incomplete", "the index is being made anew from the chunk files; there are more than are shown")
        )
    limits = {} if statistics.mount is None else statistics.mount.limits
    if limits.get("max_age_seconds"):
        facts.append(("dropped when unused for", format_seconds(limits["max_age_seconds"])))
    if "min_free_fraction" in limits:
        facts.append(("left free on the disk", percent(limits["min_free_fraction"])))
    return facts


def _mount(mount: MountState | None) -> str:
    if mount is None:
        return "none so far"
    where = printable(mount.mountpoint)
    if mount.running:
        return f"{where}, process {mount.pid}, since {when(mount.started_at)}"
    if mount.ended_at is None:
        return f"not seen; the last one, on {where}, did not end properly"
    return f"none; the last one, on {where}, ended {when(mount.ended_at)}"


def sections_of(statistics: Statistics, *, by: Sequence[str], top: int) -> list[Section]:
    """All tables: the fixed ones, then one for each dimension in ``by`` with its ``top`` rows."""
    fixed = [_size(statistics), _reads(statistics), _calls(statistics), _evictions(statistics)]
    grouped = [_grouped(dimension, statistics.groups[dimension], top) for dimension in by]
    quotas = _quotas(statistics, top)
    return [section for section in (*fixed, quotas, *grouped, _files(statistics)) if section.rows]


def _size(statistics: Statistics) -> Section:
    size = statistics.size
    limit = "no limit known" if size.limit_bytes is None else f"of {format_bytes(size.limit_bytes)}"
    used = size.disk_total_bytes - size.disk_free_bytes
    rows = [
        Row(("cache folder", format_bytes(size.bytes), limit), size.limit_fraction),
        Row(("  chunks", format_bytes(size.chunk_bytes), f"{size.chunks:,} of {size.files:,} files")),
        Row(("  index and folders", format_bytes(size.index_bytes + size.other_bytes), "")),
        Row(
            ("whole disk", format_bytes(used), f"of {format_bytes(size.disk_total_bytes)}"),
            used / size.disk_total_bytes if size.disk_total_bytes else None,
        ),
    ]
    if size.pinned_chunks:
        rows.insert(3, Row(("  pinned", format_bytes(size.pinned_bytes), f"{size.pinned_chunks:,} chunks")))
    return Section("Size", ("", "bytes", ""), tuple(rows))


def _reads(statistics: Statistics) -> Section:
    reads = statistics.reads
    total = reads.answered_bytes
    rows = [
        Row(
            (
                LAYER_NAMES[name],
                f"{layer.reads:,}",
                format_bytes(layer.bytes),
                # The workspace answers all that comes so far.
                *(
                    percent(None if name == "workspace" else ratio)
                    for ratio in (layer.hit_ratio_reads, layer.hit_ratio_bytes)
                ),
            ),
            layer.bytes / total if total else None,
        )
        for name, layer in reads.layers.items()
    ]
    note = (
        f"RAM and disk together: {percent(reads.hit_ratio_reads)} of the reads, "
        f"{percent(reads.hit_ratio_bytes)} of the bytes. Downloaded {format_bytes(reads.downloaded_bytes)}, "
        f"saved {format_bytes(reads.saved_bytes)}."
    )
    return Section("Reads", ("answered by", "reads", "bytes", "hits", "hits by bytes"), tuple(rows), note)


def _calls(statistics: Statistics) -> Section:
    calls = statistics.calls
    rows = [
        Row((printable(kind), f"{count:,}"), count / calls.total if calls.total else None)
        for kind, count in calls.by_kind.items()
    ]
    retries = sum(calls.retries.values())
    why = ", ".join(f"{printable(reason)} {count:,}" for reason, count in calls.retries.items())
    note = (
        f"{calls.total:,} in all; {calls.throttled:,} told to slow down (429); "
        f"{retries:,} sent again{f' ({why})' if why else ''}; {sum(calls.gave_up.values()):,} failed for good."
    )
    return Section("Calls to the workspace", ("kind", "calls"), tuple(rows), note)


def _evictions(statistics: Statistics) -> Section:
    evicted = statistics.storing.evicted
    total = sum(amount.chunks for amount in evicted.values())
    rows = tuple(
        Row((printable(reason), f"{amount.chunks:,}", format_bytes(amount.bytes)), amount.chunks / total)
        for reason, amount in evicted.items()
    )
    return Section("Evictions", ("for", "chunks", "bytes"), rows)


def _grouped(dimension: str, groups: Sequence[Group], top: int) -> Section:
    shown = [group for group in groups if group.chunks] if dimension != "age" else groups
    limit = len(shown) if dimension == "age" else top
    rows = tuple(
        Row(
            (
                printable(group.name),
                *((f"{group.files:,}",) if group.files is not None else ()),
                f"{group.chunks:,}",
                format_bytes(group.bytes),
            ),
            group.fraction,
        )
        for group in shown[:limit]
    )
    has_files = any(group.files is not None for group in shown)
    columns = (dimension, *(("files",) if has_files else ()), "chunks", "bytes")
    return Section(GROUPED[dimension], columns, rows if shown else (), _rest(shown[limit:]))


def _rest(left: Iterable[Group]) -> str:
    groups = list(left)
    if not groups:
        return ""
    return f"and {len(groups):,} more with {format_bytes(sum(group.bytes for group in groups))}"


def _quotas(statistics: Statistics, top: int) -> Section:
    rows = tuple(
        Row(
            (
                f"{use.kind} {printable(use.name)}" + (", over" if use.is_over else ""),
                format_bytes(use.bytes),
                format_bytes(use.limit_bytes),
            ),
            min(1.0, use.fraction),
        )
        for use in statistics.quotas[:top]
    )
    return Section("Quotas", ("whose", "takes", "may take"), rows, "pinned chunks do not count")


def _files(statistics: Statistics) -> Section:
    rows = tuple(
        Row(
            (printable(file.path), format_bytes(file.size), format_bytes(file.cached_bytes)),
            file.cached_bytes / file.size if file.size else None,
        )
        for file in statistics.top_files
    )
    return Section("Files with most bytes here", ("file", "size", "cached"), rows)
