"""Whether a folder can be trusted with what others may not read, and opening it without following a link.

The difficulty: a service that runs as root and is told ``/tmp/x/cache`` will create, chmod and unlink there. If
somebody else can replace any component of that path, he chooses what is written over and who reads it; upstream's
chmod went through a symlink. So a path is walked component by component on directory descriptors, and each
ancestor must be out of the reach of everybody but root and us.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_WAYPOINT = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class UnsafeError(Exception):
    """A folder that others can tamper with; the text is the second half of a sentence about it."""


def open_folder(name: str, dir_fd: int, *, create: bool = False) -> int:
    """A descriptor of the folder ``name`` in ``dir_fd``; with ``create`` it is made (0700) if missing.

    Raises:
        OSError: also where ``name`` is a symlink (ENOTDIR or ELOOP).
    """
    try:
        return os.open(name, DIRECTORY, dir_fd=dir_fd)
    except FileNotFoundError:
        if not create:
            raise
    with suppress(FileExistsError):  # another thread was quicker
        os.mkdir(name, 0o700, dir_fd=dir_fd)
    return os.open(name, DIRECTORY, dir_fd=dir_fd)


@contextmanager
def opened_folder(dir_fd: int, *names: str, create: bool = False) -> Iterator[int]:
    """A descriptor of the folder ``names`` below ``dir_fd``, folder by folder, closed at the end of the block.

    Raises:
        OSError: missing (unless ``create``), or a link on the way.
    """
    fd = open_folder(names[0], dir_fd, create=create)
    try:
        if names[1:]:
            with opened_folder(fd, *names[1:], create=create) as inner:
                yield inner
        else:
            yield fd
    finally:
        os.close(fd)


def entries(fd: int) -> list[str]:
    """The names in an open folder."""
    return os.listdir(fd)


@contextmanager
def walked_to(folder: Path, *, create: bool) -> Iterator[int]:
    """A descriptor of ``folder`` (absolute, without links), each component checked on the way.

    Raises:
        UnsafeError: somebody else could replace a component.
        OSError: a component is missing, is a link, or cannot be searched.
    """
    fd = os.open("/", _WAYPOINT)
    try:
        for depth, part in enumerate(("/", *folder.parts[1:])):
            if depth:
                fd = _step(fd, part, create=create)
            why = why_replaceable(os.fstat(fd))
            if why is not None:
                raise UnsafeError(f"{Path(*folder.parts[: depth + 1])} {why}")
        yield fd
    finally:
        os.close(fd)


def _step(fd: int, part: str, *, create: bool) -> int:
    try:
        below = os.open(part, _WAYPOINT, dir_fd=fd)
    except FileNotFoundError:
        if not create:
            raise
        os.mkdir(part, 0o700, dir_fd=fd)
        below = os.open(part, _WAYPOINT, dir_fd=fd)
    os.close(fd)
    return below


def why_replaceable(status: os.stat_result) -> str | None:
    """Why somebody else could rename what is inside a folder, or None.

    The sticky bit (``/tmp``) protects what is ours in it. A group that is only ourselves (Debian's user private
    groups, with umask 0002) is nobody else.
    """
    if status.st_uid not in _trusted_owners():
        return f"belongs to uid {status.st_uid}, who could replace what is in it"
    if status.st_mode & stat.S_ISVTX:
        return None
    if status.st_mode & stat.S_IWOTH:
        return "is writable by everybody"
    if status.st_mode & stat.S_IWGRP and not _is_private_group(status.st_gid):
        return f"is writable by the group {status.st_gid}"
    return None


def _trusted_owners() -> set[int]:
    owners = {0, os.geteuid()}
    # In a user namespace that does not map everybody, the real root appears as the overflow uid.
    if Path("/proc/self/uid_map").read_text(encoding="ascii").split() != ["0", "0", "4294967295"]:
        owners.add(int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="ascii")))
    return owners


def _is_private_group(gid: int) -> bool:
    if gid == 0:
        return True
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}
