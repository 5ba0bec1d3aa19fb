"""What filling the cache works on, what is asked of it, and how far it is.

The difficulty: the job runs in the mount and is watched from another process, so all that is told of it is one flat
record of numbers and words, whose size does not grow with the job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from fuse4dbricks.access import Access
from fuse4dbricks.app.upkeep.wire import OrderRefused
from fuse4dbricks.cache.disk import DiskTier
from fuse4dbricks.cache.metadata import MetadataCache
from fuse4dbricks.cache.reading.ports import RangeSource
from fuse4dbricks.cache.storing.keeping import Keeping
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import Fuse4dbricksError
from fuse4dbricks.index.pins import Pins
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.vfs.gate import Gate
from fuse4dbricks.visibility import Visibility

#: Problems that are told one by one; the rest is counted.
MAX_PROBLEMS = 20

#: One version of one file.
File = tuple[RemotePath, Version]


@dataclass(frozen=True, slots=True)
class WarmScene:
    """What it works on.

    Attributes:
        files: where bytes come from.
        disk: where they go.
        visibility: what this mount shows; the rest is not there.
        pins: what eviction leaves alone.
        get_pinned_bytes: what that takes of the disk.
    """

    gate: Gate
    access: Access
    metadata: MetadataCache
    files: RangeSource
    disk: DiskTier
    visibility: Visibility
    pins: Pins
    get_pinned_bytes: Callable[[], int]

    def get_keeping(self) -> Keeping:
        """The disk cache.

        Raises:
            OrderRefused: there is none now.
        """
        keeping = self.disk.keeping
        if keeping is None:
            raise OrderRefused(
                "this mount has no disk cache now (or is still counting what is in it): try again later"
            )
        return keeping


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be in the cache.

    Attributes:
        paths: files and folders.
        uid: local user in whose name it is fetched.
        jobs: ranges at once.
        is_dry_run: only find out what it takes.
        is_checked: read everything back at the end.
    """

    paths: tuple[RemotePath, ...]
    uid: int
    jobs: int = 6
    is_dry_run: bool = False
    is_checked: bool = False


@dataclass(slots=True)
class Progress:
    """How far it is.

    Attributes:
        phase: looking, fetching, checking or done.
        folders, files, bytes: found.
        disk_bytes: that all of them take on the disk.
        cached_bytes: of the files that were here already.
        room_bytes: that it may take, beside what is pinned.
        to_fetch_files, to_fetch_bytes, calls: what was missing, and the calls that it takes.
        fetched_bytes, calls_made: of these.
        checked_files, checked_bytes: read back and found sound.
        incomplete_files: not here as a whole at the end, or not sound; as far as they were checked.
        failed: folders and files that something was wrong with.
        absent: of these, paths that were asked for and are not there.
        problems: the first of these, in words.
    """

    phase: str = "looking"
    folders: int = 0
    files: int = 0
    bytes: int = 0
    disk_bytes: int = 0
    room_bytes: int = 0
    cached_bytes: int = 0
    to_fetch_files: int = 0
    to_fetch_bytes: int = 0
    calls: int = 0
    fetched_bytes: int = 0
    calls_made: int = 0
    checked_files: int = 0
    checked_bytes: int = 0
    incomplete_files: int = 0
    failed: int = 0
    absent: int = 0
    problems: list[str] = field(default_factory=list)

    def note_problem(self, path: RemotePath, error: Fuse4dbricksError | str) -> None:
        """Something is wrong with what is at ``path``; the rest goes on."""
        self.failed += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{path}: {error}"[:500])

    def snapshot(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)
