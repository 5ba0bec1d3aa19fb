"""Counters and gauges, declared in one table.

The difficulty: numbers invented where they are counted drift apart in name and unit, and then ``cache-stats``,
the log and the tests each tell another story. Every name is declared in :data:`DECLARED` with its unit and
meaning; counting an undeclared name is an error that the first test finds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

#: name → (unit, meaning). Labels are free, few and bounded (a kind, a status class; never a path).
DECLARED: Mapping[str, tuple[str, str]] = {
    "remote.calls": ("calls", "HTTP requests sent to the workspace, by kind"),
    "remote.bytes": ("bytes", "bytes of file content received from the workspace"),
    "remote.replies": ("calls", "replies by status class (2xx, 4xx, 429, 503 …)"),
    "remote.retries": ("calls", "requests repeated after a failure, by reason"),
    "remote.throttled": ("calls", "429 replies"),
    "remote.cloud_failures": ("times", "times that cloud stores were given up for a while"),
    "remote.rejected_names": ("names", "server-supplied names left out of listings"),
    "remote.gave_up": ("calls", "requests that failed after all retries, by error"),
    "auth.resolved": ("calls", "local users resolved to a principal, by outcome"),
    "access.probes": ("calls", "grant probes made, by outcome"),
    "metadata.hits": ("lookups", "metadata answers by layer (ram, index)"),
    "metadata.misses": ("lookups", "metadata answers that needed the workspace"),
    "ahead.started": ("guesses", "listings and small files fetched before anybody asked, by what"),
    "ahead.used": ("guesses", "of these, those that somebody came for, by what"),
    "ahead.wasted": ("guesses", "of these, those that nobody came for in time, by what"),
    "ahead.wasted_bytes": ("bytes", "bytes of files that were fetched ahead in vain"),
    "read.hits": ("reads", "reads answered by layer (ram, disk)"),
    "read.hit_bytes": ("bytes", "bytes answered by layer (ram, disk)"),
    "read.misses": ("reads", "reads that waited for the workspace"),
    "read.miss_bytes": ("bytes", "bytes of reads that waited for the workspace"),
    "read.extents": ("extents", "remote reads started, by urgency (waited, ahead)"),
    "read.extents_failed": ("extents", "remote reads that failed, by error"),
    "read.gatherings": ("times", "more of a file was fetched because it was read all over"),
    "read.extents_cancelled": ("extents", "remote reads that a seek or a close made useless"),
    "read.memory_short": ("times", "buffers that the system had no memory for, until the RAM tier gave way"),
    "read.version_changed": ("files", "files found changed under an open handle"),
    "disk.published": ("chunks", "chunks written to the disk cache"),
    "disk.published_bytes": ("bytes", "payload bytes written to the disk cache"),
    "disk.refused": ("chunks", "chunks not stored, by reason"),
    "disk.dropped": ("chunks", "chunks found unusable and dropped, by reason"),
    "disk.evicted": ("chunks", "chunks evicted, by reason (size, age, space, asked)"),
    "disk.evicted_bytes": ("bytes", "bytes evicted, by reason"),
    "disk.swept": (
        "files",
        "files without a row, by kind (temporary, orphan, adopted), and rows without a file (lost)",
    ),
    "disk.errors": ("errors", "I/O errors of the cache folder, by operation"),
    "index.misses": ("loads", "index loads answered as a miss, by reason (busy, corrupt, closed, checksum)"),
    "index.dropped_posts": ("posts", "index writes dropped, by reason"),
    "index.commits": ("commits", "write transactions"),
    "index.write_errors": ("errors", "write transactions that failed, by reason"),
    "fuse.calls": ("calls", "requests from the kernel, by operation"),
    "fuse.errors": ("calls", "requests answered with an errno, by errno"),
    "fuse.internal_errors": ("calls", "exceptions that had no mapping, by operation"),
    "tasks.failed": ("tasks", "background tasks that raised, by task"),
}

#: Labels are words (a kind, an exception's name), so none holds a comma or a brace.
_FLAT = re.compile(r"([a-z_.]+)\{(.+)\}")

Labels = tuple[tuple[str, str], ...]
Key = tuple[str, Labels]


def key_of(name: str, **labels: str) -> Key:
    """Where a counter is kept.

    Raises:
        KeyError: ``name`` is not in :data:`DECLARED`.
    """
    if name not in DECLARED:
        raise KeyError(name)
    return name, tuple(sorted(labels.items())) if labels else ()


class Metrics:
    """The counters of one mount. Not thread-safe by design: count in the loop."""

    def __init__(self) -> None:
        self._counters: Counter[Key] = Counter()
        self._held_back: list[Callable[[], None]] = []

    def expect(self, hand_over: Callable[[], None]) -> None:
        """Somebody holds counts back for speed; ``hand_over`` is called before anything is read."""
        self._held_back.append(hand_over)

    def count(self, name: str, **labels: str) -> None:
        """Add one."""
        self.add(name, 1, **labels)

    def add(self, name: str, amount: int, **labels: str) -> None:
        """Add ``amount`` to a declared counter.

        Raises:
            KeyError: ``name`` is not in :data:`DECLARED`.
        """
        self._counters[key_of(name, **labels)] += amount

    def tick(self, key: Key) -> None:
        """Add one to the counter of a :func:`key_of`, at a third of the price."""
        self._counters[key] += 1

    def get(self, name: str, **labels: str) -> int:
        """The sum over all label sets that contain ``labels``."""
        self._settle()
        wanted = set(labels.items())
        return sum(n for (key, have), n in self._counters.items() if key == name and wanted <= set(have))

    def __iter__(self) -> Iterator[tuple[str, dict[str, str], int]]:
        self._settle()
        for (name, labels), amount in sorted(self._counters.items()):
            yield name, dict(labels), amount

    def _settle(self) -> None:
        for hand_over in self._held_back:
            hand_over()


def flat_name(name: str, labels: Mapping[str, str]) -> str:
    """A counter and its labels in one text: ``remote.calls{kind=head}``."""
    if not labels:
        return name
    return f"{name}{{{','.join(f'{key}={value}' for key, value in sorted(labels.items()))}}}"


def parse_flat_name(text: str) -> tuple[str, dict[str, str]]:
    """The name and the labels that :func:`flat_name` put together; an odd text is a name without labels."""
    match = _FLAT.fullmatch(text)
    if match is None:
        return text, {}
    pairs = (pair.partition("=") for pair in match[2].split(","))
    return match[1], {key: value for key, _, value in pairs}
