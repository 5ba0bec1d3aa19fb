"""Whether a folder may be our cache, and making it ours.

The difficulty: the daemon deletes files here, often as root, so a folder that is not certainly its own, or that
others can reach into, or where a second daemon works, must be refused before anything in it is touched: two daemons
would delete each other's temporary files and evict behind each other's index. Every refusal says what, why and what
to do in one line.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fuse4dbricks.chunks.apart import apart
from fuse4dbricks.chunks.layout import (
    BIRTHPLACES,
    CHUNKS,
    FORMAT,
    INDEX,
    LOCK,
    MARKER,
    SHARDS,
    TAG,
    TEMPORARY,
)
from fuse4dbricks.chunks.safety import UnsafeError, entries, open_folder, opened_folder, walked_to

#: Signature from the Cache Directory Tagging Specification, https://bford.info/cachedir/
_TAG_TEXT = (
    b"Signature: 8a477f597d28d172789f06886806bc55\n"
    b"# This folder is the cache of fuse4dbricks; it can be deleted while nothing is mounted.\n"
)
_MARKER_PATTERN = re.compile(rb"fuse4dbricks cache, format (\d{1,9})\n")

#: What an occupied folder has.
_OURS = {MARKER, TAG, LOCK, TEMPORARY, CHUNKS}

#: What a first start that was killed half-way may have left, and what a disk's own root holds.
_HARMLESS = {LOCK, TAG, f"{MARKER}.tmp", "lost+found"}

_ADVICE = {
    errno.EACCES: "we may not read or write it; check its owner and mode, or choose another folder",
    errno.EPERM: "we may not read or write it; check its owner and mode, or choose another folder",
    errno.EROFS: "it is on a read-only file system; choose another folder",
    errno.ENOSPC: "its disk is full; make room, or choose another folder",
    errno.ENOENT: "there is none; mount once to create it",
    errno.ENOTDIR: "it, or something on the way to it, is a link or no folder; give its real path",
    errno.ELOOP: "it is a symbolic link; give its real path",
    errno.ENOLCK: "its file system cannot lock files; choose a local folder",
    errno.EOPNOTSUPP: "its file system cannot lock files; choose a local folder",
}


def advice_on(error: OSError) -> str:
    """Why the folder cannot be used, and what to do."""
    number = error.errno or errno.EIO
    where = f" ({error.filename})" if isinstance(error.filename, str) else ""
    return _ADVICE.get(number, f"{os.strerror(number)}; check its disk, or choose another folder") + where


def check_outside(folder: Path, mountpoint: Path) -> None:
    """Refuse a folder that the mount would hide, and the daemon deadlock on.

    Raises:
        UnsafeError: ``folder`` lies inside ``mountpoint``.
    """
    # Without asking the mount point itself: a dead mount there would hang or fail.
    mounted = Path(os.path.realpath(mountpoint.parent)) / mountpoint.name
    if folder.is_relative_to(mounted):
        raise UnsafeError(f"it lies inside the mount point {mounted}; choose a folder elsewhere")


def open_checked(path: Path, *, create: bool) -> int:
    """A descriptor of a folder that may be used; nothing in it was changed.

    Raises:
        UnsafeError: foreign, newer, or within the reach of others.
        OSError: it cannot be opened or read.
    """
    with walked_to(path.parent, create=create) as parent:
        fd = open_folder(path.name or ".", parent, create=create)
    try:
        _check_owner(os.fstat(fd))
        _check_content(fd, is_new_allowed=create)
    except BaseException:  # raised on: only the descriptor must not leak
        os.close(fd)
        raise
    return fd


def _check_owner(status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise UnsafeError(f"it belongs to uid {status.st_uid}, not to us; choose a folder of your own")
    if status.st_mode & 0o022:
        raise UnsafeError(
            f"others may write to it (mode {stat.S_IMODE(status.st_mode):04o}); "
            "remove what you do not trust in it and run chmod 700"
        )


def _check_content(fd: int, *, is_new_allowed: bool) -> None:
    names = set(entries(fd))
    if MARKER not in names:
        foreign = sorted(names - _HARMLESS)
        if foreign or not is_new_allowed:
            found = f"it holds {foreign[0]!r}" if foreign else "it is empty"
            advice = (
                "choose an empty or a new folder"
                if is_new_allowed
                else "a mount makes one in an empty or a new folder"
            )
            raise UnsafeError(f"it is not a cache folder of ours ({found}); {advice}")
    else:
        check_marker(fd)
    for name in names:
        expected_folder = name in {CHUNKS, TEMPORARY}
        if expected_folder or name in {MARKER, LOCK, TAG} or name.startswith(INDEX):
            _check_kind(name, fd, folder=expected_folder)
    if CHUNKS in names:
        _check_shards(fd)


def check_marker(fd: int) -> None:
    """Read the marker of an open cache folder.

    Raises:
        UnsafeError: it is not one of ours, or of a newer program.
        OSError: it cannot be read.
    """
    marker = os.open(MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
    try:
        match = _MARKER_PATTERN.fullmatch(os.read(marker, 100))
    finally:
        os.close(marker)
    if match is None:
        raise UnsafeError(f"its file {MARKER} is not one of ours; choose an empty or a new folder")
    if int(match.group(1)) > FORMAT:
        raise UnsafeError(
            f"a newer fuse4dbricks made it (format {int(match.group(1))}, this program knows {FORMAT}); "
            "use the newer program, or another folder"
        )


def _check_shards(fd: int) -> None:
    with opened_folder(fd, CHUNKS) as chunks:
        for name in entries(chunks):
            _check_kind(name, chunks, folder=True)


def _check_kind(name: str, dir_fd: int, *, folder: bool) -> None:
    try:
        status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return  # a running mount has just removed its -wal
    is_ours = status.st_uid == os.geteuid()
    if folder:
        is_ours = is_ours and stat.S_ISDIR(status.st_mode)
    else:
        # A second name of the file would be somebody's whose content we would overwrite.
        is_ours = is_ours and stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    if not is_ours:
        raise UnsafeError(f"{name!r} in it is not a {'folder' if folder else 'file'} of ours; remove it")


def occupy(fd: int) -> int:
    """Lock the folder and complete it; the lock's descriptor, to be closed with ``fd`` to give the lock up.

    Raises:
        UnsafeError: another process holds the lock.
        OSError: it cannot be written or locked.
    """
    _lock_itself(fd)
    lock_fd = _take_lock(fd)
    try:
        os.fchmod(fd, 0o700)
        make_missing(fd)
    except BaseException:  # raised on: only the descriptor must not leak
        os.close(lock_fd)
        raise
    return lock_fd


def is_whole(fd: int) -> bool:
    """Whether an occupied folder has all that it was given (``OSError``)."""
    return set(entries(fd)) >= _OURS


def keep_lock(fd: int, lock_fd: int) -> int:
    """The descriptor of an occupied folder's lock from now on: of a new file where somebody has removed the old one.

    Raises:
        UnsafeError: its lock is another process's now.
        OSError: it cannot be written.
    """
    if LOCK in entries(fd):
        return lock_fd
    new_lock_fd = _take_lock(fd)
    os.close(lock_fd)
    return new_lock_fd


def make_missing(fd: int) -> None:
    """Make what an occupied folder has besides its lock (``OSError``)."""
    _write_once(fd, MARKER, f"fuse4dbricks cache, format {FORMAT}\n".encode())
    _write_once(fd, TAG, _TAG_TEXT)
    os.close(open_folder(TEMPORARY, fd, create=True))
    _make_shards(fd)


def _make_shards(fd: int) -> None:
    """All at once (5 ms, the first time): made with their first chunk they would grow the cache uncounted."""
    with opened_folder(fd, CHUNKS, create=True) as chunks:
        there = set(entries(chunks))
        missing = [number for number in range(SHARDS) if f"{number:02x}" not in there]
        with apart(chunks):
            _make_folders(chunks, (number for number in missing if number in BIRTHPLACES))
        # The others together: a folder in each corner of a disk takes 200 ms to make, and to look through.
        _make_folders(chunks, (number for number in missing if number not in BIRTHPLACES))


def _make_folders(chunks: int, numbers: Iterable[int]) -> None:
    for number in numbers:
        os.mkdir(f"{number:02x}", 0o700, dir_fd=chunks)


def _lock_itself(fd: int) -> None:
    """People remove lock files, the folder's own lock they cannot; but network file systems lock no folders."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _taken(fd) from None
    except OSError:
        return


def _taken(fd: int) -> UnsafeError:
    holder = b""
    with suppress(OSError):
        lock_fd = os.open(LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
        try:
            holder = os.pread(lock_fd, 200, 0)
        finally:
            os.close(lock_fd)
    who = holder.decode("utf-8", "replace").strip() or "unknown"
    return UnsafeError(f"another mount uses it ({who}); unmount that one first, or choose another folder")


def _take_lock(fd: int) -> int:
    lock_fd = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=fd)
    try:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _taken(fd) from None
        _check_same_file(lock_fd, fd)
        holder = f"process {os.getpid()} on {platform.node()}"
        # Padded and not truncated, so that a full disk does not refuse it: the block is there already.
        _write_tolerantly(lock_fd, f"{holder:<120}\n".encode())
    except BaseException:  # raised on: only the descriptor must not leak
        os.close(lock_fd)
        raise
    return lock_fd


def _check_same_file(lock_fd: int, dir_fd: int) -> None:
    if not os.path.samestat(os.fstat(lock_fd), os.stat(LOCK, dir_fd=dir_fd, follow_symlinks=False)):
        raise UnsafeError("its lock file was replaced just now; try again")


def _write_tolerantly(fd: int, text: bytes) -> None:
    try:
        os.pwrite(fd, text, 0)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise


def _write_once(dir_fd: int, name: str, text: bytes) -> None:
    """Create a small file whole or not at all, also over a power cut."""
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        pass
    else:
        return
    temporary = f"{MARKER}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=dir_fd)
    try:
        os.write(fd, text)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
