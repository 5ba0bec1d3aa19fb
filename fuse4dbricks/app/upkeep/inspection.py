"""Looking at a cache folder without changing it: is all in order, and is each byte what was written?

The difficulty: a mount may store and evict at the very moment, so a file without a row, or a row without a file, may be
one that is just coming or going. With a mount at work what seems wrong is looked at again, and only what stays
wrong is told.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from fuse4dbricks.chunks import CacheFolder, ChunkName
from fuse4dbricks.chunks.found import list_shard, list_temporary, verify_found
from fuse4dbricks.chunks.layout import SHARDS
from fuse4dbricks.errors import ChunkUnusable, IndexUnavailable
from fuse4dbricks.index.checks import CheckReport, Finding, check
from fuse4dbricks.index.contents import contents_of

#: With a mount at work: looks, and seconds between them. A chunk gets its row within milliseconds of its file.
LOOKS = 4
LOOK_PAUSE = 0.5

#: A file that is being written for longer than this is a leftover.
LEFTOVER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found.

    Attributes:
        report: about the index, and about rows and files.
        leftovers: names of unfinished files.
    """

    report: CheckReport
    leftovers: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong."""
        return self.report.is_clean and not self.leftovers


def inspect(folder: CacheFolder, *, is_mounted: bool) -> Inspection:
    """Hold index and files against each other, and the index against itself.

    Raises:
        CacheError: the folder cannot be read.
        CacheFolderError: the index is a newer program's.
    """
    report = _look(folder)
    for _ in range(LOOKS - 1):
        if report.is_clean or not is_mounted:
            break
        time.sleep(LOOK_PAUSE)
        report = _still_wrong(report, _look(folder))
    youngest = time.time() - (LEFTOVER_SECONDS if is_mounted else 0)
    leftovers = sorted(name for name, mtime in list_temporary(folder.fd) if mtime <= youngest)
    return Inspection(report, tuple(leftovers))


def _look(folder: CacheFolder) -> CheckReport:
    names = list(list_chunks(folder))
    if not names and not folder.index_path.exists():
        return CheckReport((), (), (), 0, 0)  # nothing was ever cached here
    try:
        return check(folder.index_path, names)
    except IndexUnavailable as error:
        return CheckReport((Finding("file", str(error)),), (), tuple(sorted(names)), 0, 0)


def _still_wrong(before: CheckReport, after: CheckReport) -> CheckReport:
    return replace(
        after,
        rows_without_file=tuple(sorted({*before.rows_without_file} & {*after.rows_without_file})),
        files_without_row=tuple(sorted({*before.files_without_row} & {*after.files_without_row})),
    )


def list_chunks(folder: CacheFolder) -> Iterator[ChunkName]:
    """The names of all chunk files.

    Raises:
        CacheError: the folder cannot be read.
    """
    for shard in range(SHARDS):
        yield from list_shard(folder.fd, shard)


@dataclass(frozen=True, slots=True)
class BadChunk:
    """A chunk file that is not what was written.

    Attributes:
        name: of the chunk.
        why: for people to read.
    """

    name: ChunkName
    why: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What reading every byte has shown.

    Attributes:
        chunks, bytes: that were read; of payload.
        bad: what is not what was written.
    """

    chunks: int
    bytes: int
    bad: tuple[BadChunk, ...]


def verify(folder: CacheFolder, on_progress: Callable[[int, int], None]) -> Verification:
    """Read every chunk file and compare it with its own checksum and with the index.

    Args:
        folder: where.
        on_progress: told of (chunks done, chunks in all) after each.

    Raises:
        CacheError: the disk failed.
        CacheFolderError: the index cannot be read.
    """
    names = list(list_chunks(folder))
    if not names:
        return Verification(0, 0, ())
    bad: list[BadChunk] = []
    size = 0
    with contents_of(folder.index_path) as contents:
        for done, name in enumerate(names, start=1):
            try:
                trailer = verify_found(folder.fd, name)
            except ChunkUnusable as error:
                if not isinstance(error.__cause__, FileNotFoundError):  # evicted meanwhile
                    bad.append(BadChunk(name, str(error)))
            else:
                size += trailer.length
                recorded = contents.recorded([name]).get(name)
                if recorded not in {None, (trailer.length, trailer.checksum)}:
                    bad.append(BadChunk(name, "it is not the file that the index has"))
            on_progress(done, len(names))
    return Verification(len(names), size, tuple(bad))
