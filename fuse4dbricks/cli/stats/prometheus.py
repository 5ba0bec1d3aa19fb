"""Statistics in Prometheus' text format, https://prometheus.io/docs/instrumenting/exposition_formats/.

The difficulty: names of volumes and users are label values, and one with a quote or a line break in it would make
the whole text unreadable to the scraper.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from fuse4dbricks.cache.statistics import Statistics
from fuse4dbricks.telemetry.metrics import DECLARED, parse_flat_name

PREFIX = "fuse4dbricks"

_OUTSIDE = re.compile(r"[^a-zA-Z0-9_]")

#: Labels and a value.
Sample = tuple[Mapping[str, str], float]


def prometheus_text(statistics: Statistics) -> str:
    """All gauges and counters."""
    return "".join(f"{line}\n" for line in (*_gauges(statistics), *_counters(statistics.counters)))


def _gauges(statistics: Statistics) -> Iterator[str]:
    size, mount = statistics.size, statistics.mount
    single: tuple[tuple[str, str, float | None], ...] = (
        (
            "mount_running",
            "1 while a mount uses the cache folder",
            float(mount is not None and mount.running),
        ),
        ("cache_bytes", "bytes that the cache folder takes on its disk", size.bytes),
        ("cache_chunk_bytes", "bytes that the chunk files take", size.chunk_bytes),
        ("cache_limit_bytes", "limit of the cache folder of the last mount", size.limit_bytes),
        ("cache_files", "versions of files with at least one chunk", size.files),
        ("cache_chunks", "chunk files", size.chunks),
        ("cache_pinned_bytes", "bytes of pinned chunk files", size.pinned_bytes),
        ("cache_disk_free_bytes", "free bytes of the cache folder's disk", size.disk_free_bytes),
        ("read_saved_bytes", "bytes answered and not downloaded for it", statistics.reads.saved_bytes),
    )
    for name, meaning, value in single:
        if value is not None:
            yield from _family(name, "gauge", meaning, [({}, value)])
    for dimension in ("volume", "user"):
        samples = [({dimension: group.name}, group.bytes) for group in statistics.groups[dimension]]
        yield from _family(
            f"cache_{dimension}_bytes", "gauge", f"bytes of chunk files by {dimension}", samples
        )


def _counters(counters: Mapping[str, int]) -> Iterator[str]:
    families: dict[str, list[Sample]] = {}
    for flat, amount in counters.items():
        name, labels = parse_flat_name(flat)
        families.setdefault(name, []).append((labels, amount))
    for name, samples in sorted(families.items()):
        _, meaning = DECLARED.get(name, ("", "counted by another version of this program"))
        yield from _family(f"{_OUTSIDE.sub('_', name)}_total", "counter", meaning, samples)


def _family(name: str, kind: str, meaning: str, samples: Iterable[Sample]) -> Iterator[str]:
    lines = [f"{PREFIX}_{name}{_labelled(labels)} {value:.17g}" for labels, value in samples]
    if lines:
        yield f"# HELP {PREFIX}_{name} {meaning}"
        yield f"# TYPE {PREFIX}_{name} {kind}"
        yield from lines


def _labelled(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{_OUTSIDE.sub("_", name)}="{_escaped(value)}"' for name, value in sorted(labels.items()))
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
