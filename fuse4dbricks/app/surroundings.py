"""Everything outside the program that a mount needs, checked before anything is started.

The difficulty: libfuse reports every one of these as "fuse_session_mount failed", and a mount laid over a dead
mount, a full folder or the program's own cache appears to work until somebody reads. Each check says in one line
what is wrong, why, and what to do.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import threading
from pathlib import Path

from fuse4dbricks.errors import CacheFolderError, MountError
from fuse4dbricks.fuse.connection import OUR_TYPE, find_mount

FUSE_DEVICE = Path("/dev/fuse")
FUSE_CONF = Path("/etc/fuse.conf")

#: Dead mounts of ours that may lie on each other at one path (older programs stacked them).
MAX_STACKED = 8

#: Seconds in which a mount that lives answers statfs; it does so from memory.
ANSWER_TIMEOUT = 5.0
UNMOUNT_TIMEOUT = 10.0


def check_fuse(*, allow_other: bool, device: Path = FUSE_DEVICE, conf: Path = FUSE_CONF) -> None:
    """Whether this user can mount at all.

    Raises:
        MountError: no FUSE device, no right to it, no ``fusermount3``, or no right to ``--allow-other``.
    """
    _check_device(device)
    if shutil.which("fusermount3") is None:
        raise MountError("fusermount3 is not installed: install it with `apt-get install fuse3`")
    if allow_other and os.geteuid() != 0 and not _user_allow_other(conf):
        raise MountError(
            f"--allow-other is not permitted for ordinary users here: add the line user_allow_other to {conf}, "
            "or mount as root"
        )


def _check_device(device: Path) -> None:
    try:
        mode = device.stat().st_mode
    except FileNotFoundError:
        raise MountError(
            f"{device} does not exist: load the kernel module with `modprobe fuse`, "
            "or give the container the device (docker run --device /dev/fuse --cap-add SYS_ADMIN)"
        ) from None
    except OSError as error:
        raise MountError(f"{device} cannot be examined: {error.strerror}") from None
    if not stat.S_ISCHR(mode):
        raise MountError(f"{device} is not a device: something else was put in its place")
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except PermissionError:
        raise MountError(
            f"{device} may not be opened by this user: `chmod 666 {device}` as root, or mount as root"
        ) from None
    except OSError as error:
        raise MountError(
            f"{device} cannot be opened: {error.strerror}; is the kernel module loaded?"
        ) from None


def _user_allow_other(conf: Path) -> bool:
    try:
        lines = conf.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    return any(line.partition("#")[0].strip() == "user_allow_other" for line in lines)


def prepare_mountpoint(given: Path) -> Path:
    """The mount point as an absolute path without symbolic links, free to be mounted on.

    A dead mount of this program that still covers it is taken away first.

    Raises:
        MountError: it is missing, no folder, not empty, not ours to use, or already a mount.
    """
    path = _resolve_untouched(given)
    _clear_dead_mounts(path)
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            raise MountError(f"the mount point {path} is not a folder")
        with os.scandir(path) as entries:
            is_empty = next(entries, None) is None
    except FileNotFoundError:
        raise MountError(f"the mount point {path} does not exist: create it with `mkdir -p {path}`") from None
    except NotADirectoryError:
        raise MountError(f"the mount point {path} is not a folder") from None
    except OSError as error:
        raise MountError(f"the mount point {path} cannot be used: {error.strerror}") from None
    if not is_empty:
        raise MountError(f"the mount point {path} is not empty, and mounting would hide what is in it")
    if not os.access(path, os.W_OK):
        raise MountError(
            f"the mount point {path} is not writable by this user, so fusermount3 would refuse it"
        )
    return path


def _resolve_untouched(given: Path) -> Path:
    """Resolve links without a system call on the last component when something is mounted on it."""
    absolute = Path(os.path.abspath(given))  # noqa: PTH100 - resolve() would touch the last component
    candidate = Path(os.path.realpath(absolute.parent)) / absolute.name
    if absolute.name and find_mount(candidate) is not None:
        return candidate
    return Path(os.path.realpath(absolute))


def _clear_dead_mounts(path: Path) -> None:
    for _ in range(MAX_STACKED):
        mount = find_mount(path)
        if mount is None:
            return
        if mount.fstype != OUR_TYPE:
            raise MountError(
                f"something else ({mount.fstype}) is mounted on {path}: unmount it or choose another folder"
            )
        if is_alive(path):
            raise MountError(
                f"{mount.source} is already mounted on {path}: `fusermount3 -u {path}` unmounts it"
            )
        unmount_lazily(path)
    raise MountError(f"dead mounts on {path} cannot be taken away: try `fusermount3 -uz {path}` as root")


def is_alive(path: Path, patience: float = ANSWER_TIMEOUT) -> bool:
    """Whether the FUSE mount at ``path`` has a process behind it; a silent one counts as alive.

    ``statvfs`` because it always asks the process, where ``stat`` may be answered from the kernel's cache. It is
    asked from a thread, because a hung mount answers never. Not for the process that serves the mount.
    """
    errors: list[int | None] = []

    def ask() -> None:
        try:
            os.statvfs(path)
        except OSError as error:
            errors.append(error.errno)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(patience)
    dead = {errno.ENOTCONN, errno.ECONNABORTED}
    return asking.is_alive() or not dead & set(errors)


def unmount_lazily(path: Path) -> bool:
    """Take the mount at ``path`` out of the tree, even when it is dead or busy; whether that worked."""
    try:
        done = subprocess.run(  # noqa: S603 - the arguments are ours and no shell reads them
            ["fusermount3", "-uz", "--", path],  # noqa: S607 - found on PATH like every program of the user's
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=UNMOUNT_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def check_apart(cache_folder: Path, mountpoint: Path) -> None:
    """Whether the cache folder stays clear of the mount: a mount that reads itself can never be ended.

    Compared by device and inode as well as by name, so that bind mounts and links do not hide it.

    Raises:
        CacheFolderError: one lies in the other.
    """
    cache = Path(os.path.realpath(cache_folder))
    target = mountpoint.stat()
    for folder in (cache, *cache.parents):
        try:
            covered = os.path.samestat(folder.stat(), target)
        except OSError:
            continue  # not there yet, so not the mount point, which is
        if covered:
            raise CacheFolderError(
                f"the cache folder {cache_folder} would lie inside the mount {mountpoint}: "
                "choose another --disk-cache-dir"
            )
    if cache in mountpoint.parents:
        raise CacheFolderError(
            f"the mount point {mountpoint} lies inside the cache folder {cache_folder}: choose another one"
        )
