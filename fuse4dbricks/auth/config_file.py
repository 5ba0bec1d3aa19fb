"""Reading somebody's ``.databrickscfg`` without being led astray.

The difficulty: a root daemon that opens a path under a user's control can be made to hang (a FIFO, a dead file server,
the daemon's own mount), to move a tape (a device), to swallow memory (100 MB), or to read a file that the user himself
may not (a link). So the file is first pinned without being opened (``O_PATH``), relative to the opened home and without
following a link; what was pinned is checked, and that very inode is then opened and checked again. All of it
happens in a thread, whose caller does not wait beyond a deadline.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fuse4dbricks.auth.source import SourceFailure, nothing_there

FILE_NAME = ".databrickscfg"

#: A file with a hundred profiles has 20 KB.
MAX_FILE_BYTES = 256 * 1024

_PIN = os.O_PATH | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

#: Whether a file system, by its device number, is one not to read from: our own mount.
IsOurs = Callable[[int], bool]


def read_own_file(path: Path, *, uid: int, is_ours: IsOurs) -> str:
    """The configuration file of whoever runs the mount; links are followed, since they are his own. Blocks.

    Raises:
        SourceFailure: it is missing, unsafe or unreadable; the reason is for ``auth status``.
    """
    with _explained(path), _opened(path, _PIN, None) as pinned:
        return _read_pinned(pinned, {uid, 0}, is_ours)


def read_file_in_home(home: Path, *, uid: int, is_ours: IsOurs) -> str:
    """``.databrickscfg`` in another user's home, trusting nothing of it. Blocks.

    Raises:
        SourceFailure: it is missing, unsafe or unreadable; the reason is for ``auth status``.
    """
    with _explained(home / FILE_NAME), _opened(home, _PIN | os.O_DIRECTORY, None) as folder:
        if is_ours(os.fstat(folder).st_dev):
            raise SourceFailure("the home folder lies inside this mount")
        with _opened(Path(FILE_NAME), _PIN | os.O_NOFOLLOW, folder) as pinned:
            return _read_pinned(pinned, {uid}, is_ours)


def _read_pinned(pinned: int, owners: set[int], is_ours: IsOurs) -> str:
    _check(os.fstat(pinned), owners, is_ours)
    with _opened(Path(f"/proc/self/fd/{pinned}"), _READ, None) as fd:
        _check(os.fstat(fd), owners, is_ours)
        content = bytearray()
        while piece := os.read(fd, MAX_FILE_BYTES + 1 - len(content)):
            content += piece
        if len(content) > MAX_FILE_BYTES:
            raise SourceFailure(f"the file is longer than {MAX_FILE_BYTES // 1024} KiB")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise SourceFailure("the file is not UTF-8") from None


def _check(status: os.stat_result, owners: set[int], is_ours: IsOurs) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise SourceFailure("it is a symbolic link, which is not followed")
    if not stat.S_ISREG(status.st_mode):
        raise SourceFailure("it is not a regular file")
    if is_ours(status.st_dev):
        raise SourceFailure("it lies inside this mount")
    if status.st_uid not in owners:
        raise SourceFailure(f"it belongs to uid {status.st_uid}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SourceFailure("others may write it: `chmod go-w` it")
    if status.st_size > MAX_FILE_BYTES:
        raise SourceFailure(f"the file is longer than {MAX_FILE_BYTES // 1024} KiB")


@contextmanager
def _opened(path: Path, flags: int, dir_fd: int | None) -> Iterator[int]:
    fd = os.open(path, flags, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise nothing_there(f"there is no {path}") from None
    except SourceFailure as failure:
        raise SourceFailure(f"{path}: {failure}", outcome=failure.outcome) from None
    except OSError as error:
        raise SourceFailure(f"{path} cannot be read: {error.strerror}") from None
