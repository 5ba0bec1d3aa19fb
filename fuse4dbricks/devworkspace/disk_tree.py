"""A folder on disk, seen as catalogs, schemas, volumes and what is in them.

The difficulty: the folder changes while it is served, may hold names that are no UTF-8, links and devices, and
folders of 100,000 entries that are asked for a thousand at a time. So a folder is read once and kept sorted until
its mtime moves (a page is then a bisection, not a scan), links and devices are left out everywhere (a volume has
none, and one could lead out of the served folder or hang an open), and an upload is written beside the tree and
renamed into it whole.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from fuse4dbricks.devworkspace.tree import Content, Item, Node, Parts, Upload

#: Directory mtimes step with the kernel's tick (4 ms on most kernels). A folder that changed less than this
#: many seconds before it was read could change again under the same mtime, so what was read is not kept.
SETTLE_S = 0.05

#: Folders kept in memory; one of a million entries weighs about 150 MB, the usual one nothing.
KEPT_FOLDERS = 64


def _node(found: os.stat_result) -> Node | None:
    is_folder = stat.S_ISDIR(found.st_mode)
    if not is_folder and not stat.S_ISREG(found.st_mode):
        return None
    etag = f"{found.st_ino:x}{found.st_size:x}{found.st_mtime_ns:x}"
    return Node(is_folder, 0 if is_folder else found.st_size, found.st_mtime, etag)


class DiskContent:
    """A file on disk, held by its descriptor, so that replacing the name does not change what is read."""

    def __init__(self, fd: int, node: Node) -> None:
        self._fd = fd
        self.node = node

    def read(self, offset: int, length: int) -> bytes:
        """``os.pread``."""
        return os.pread(self._fd, length, offset)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)


class DiskUpload:
    """A file written in the staging folder and renamed into the tree."""

    def __init__(self, staging: Path, target: Path) -> None:
        staging.mkdir(mode=0o700, exist_ok=True)
        self._staging = staging
        self._target = target
        self._written: Path | None = staging / secrets.token_hex(8)
        self._file = self._written.open("wb")

    def write(self, piece: bytes) -> None:
        """Append to the staged file."""
        self._file.write(piece)

    def commit(self) -> None:
        """Rename it into its place."""
        self._file.close()
        if self._written is not None:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._written.replace(self._target)
            self._written = None

    def abort(self) -> None:
        """Unlink what was staged."""
        self._file.close()
        if self._written is not None:
            self._written.unlink(missing_ok=True)
            self._written = None
        # Another upload may have its file in there still.
        with contextlib.suppress(OSError):
            self._staging.rmdir()


class _Kept(NamedTuple):
    signature: tuple[int, int]
    items: tuple[Item, ...]


class DiskTree:
    """A folder on disk. Safe to use from any thread."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root.resolve())
        # No catalog can have a dot in its name, so this is never seen; it is inside the root because a
        # rename must not cross a file system.
        self._staging = root.resolve() / ".local-workspace.staging"
        self._kept: OrderedDict[Parts, _Kept] = OrderedDict()
        self._lock = threading.Lock()
        self._sound: tuple[Parts, float] = ((), 0.0)

    def _lstat(self, parts: Parts) -> os.stat_result | None:
        try:
            if not self._is_sound(parts[:-1]):
                return None
            return os.lstat("/".join((self._root, *parts)))
        except (OSError, ValueError):  # absent, a name too long for this disk, or one with NUL in it
            return None

    def _is_sound(self, folder: Parts) -> bool:
        """Whether each step to it is a real folder; believed for a moment, as a page asks a thousand times."""
        believed, until = self._sound
        now = time.monotonic()
        if folder == believed and now < until:
            return True
        path = self._root
        for part in folder:
            path = f"{path}/{part}"
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                return False
        self._sound = (folder, now + SETTLE_S)
        return True

    def _path(self, parts: Parts) -> Path:
        return Path(self._root, *parts)

    def stat(self, parts: Parts) -> Node | None:
        """``os.lstat`` at every step, so that no link is followed."""
        found = self._lstat(parts)
        return None if found is None else _node(found)

    def items(self, parts: Parts) -> Sequence[Item]:
        """One sorted scan of the folder per change of its mtime."""
        found = self._lstat(parts)
        if found is None or not stat.S_ISDIR(found.st_mode):
            return ()
        signature = (found.st_ino, found.st_mtime_ns)
        with self._lock:
            kept = self._kept.get(parts)
            if kept is not None and kept.signature == signature:
                self._kept.move_to_end(parts)
                return kept.items
        scanned_at = time.time()
        items = self._scan(parts)
        if scanned_at - found.st_mtime > SETTLE_S:
            self._keep(parts, _Kept(signature, items))
        return items

    def _keep(self, parts: Parts, kept: _Kept) -> None:
        with self._lock:
            self._kept[parts] = kept
            self._kept.move_to_end(parts)
            while len(self._kept) > KEPT_FOLDERS:
                self._kept.popitem(last=False)

    def _scan(self, parts: Parts) -> tuple[Item, ...]:
        items: list[Item] = []
        try:
            with os.scandir(self._path(parts)) as found:
                for entry in found:
                    name = entry.name
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if not is_folder and not entry.is_file(follow_symlinks=False):
                        continue
                    if not name.isascii() and not _is_utf8(name):
                        continue
                    items.append(Item(is_folder, name))
        except OSError:
            return ()
        items.sort()
        return tuple(items)

    def open(self, parts: Parts) -> Content | None:
        """Open a regular file for reading."""
        found = self._lstat(parts)
        if found is None or not stat.S_ISREG(found.st_mode):
            return None
        try:
            fd = os.open(self._path(parts), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        node = _node(os.fstat(fd))
        if node is None or node.is_folder:
            os.close(fd)
            return None
        return DiskContent(fd, node)

    def create(self, parts: Parts) -> Upload:
        """Stage a file for this path."""
        self._refuse_links(parts)
        return DiskUpload(self._staging, self._path(parts))

    def make_folder(self, parts: Parts) -> None:
        """``mkdir -p``."""
        self._refuse_links(parts)
        self._path(parts).mkdir(parents=True, exist_ok=True)

    def _refuse_links(self, parts: Parts) -> None:
        for depth in range(len(parts) + 1):
            found = self._lstat(parts[:depth])
            if found is not None and _node(found) is None:
                raise FileExistsError("a link or a device is in the way")

    def remove(self, parts: Parts) -> None:
        """``os.rmdir`` or ``os.unlink``."""
        node = self.stat(parts)
        if node is None:
            raise FileNotFoundError("nothing there")
        if node.is_folder:
            self._path(parts).rmdir()
        else:
            self._path(parts).unlink()


def _is_utf8(name: str) -> bool:
    # scandir hands bytes that are no UTF-8 out as lone surrogates.
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
