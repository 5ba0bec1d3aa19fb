"""Files that exist only as a rule: huge ones, folders of a million, and bytes that name their origin.

The difficulty: an oracle for "never a wrong byte" must know what every byte of every version should be, for files
larger than the disk. Here a byte is a pseudo-random function of (path, version, offset): AES in counter mode, which
is as quick as a disk and can start anywhere. A byte of another version, another file or another offset is wrong.
"""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fuse4dbricks.devworkspace.tree import Content, Item, Node, Parts, Upload

_BLOCK = 16

#: When nothing else is said, files were last modified long ago, so that no client distrusts them as fresh.
_LONG_AGO = 1_700_000_000.0


def expected_bytes(path: str, version: int, offset: int, length: int) -> bytes:
    """The bytes ``[offset, offset + length)`` of a version of ``catalog/schema/volume/…``."""
    key = hashlib.sha256(f"{path}\0{version}".encode()).digest()[:16]
    first, lead = divmod(offset, _BLOCK)
    keystream = Cipher(algorithms.AES(key), modes.CTR(first.to_bytes(16, "big"))).encryptor()
    return keystream.update(bytes(lead + length))[lead:]


@dataclass(frozen=True, slots=True)
class SyntheticFile:
    """One version of a file; ``modified`` is Unix time in seconds."""

    path: str
    size: int
    version: int = 1
    modified: float = _LONG_AGO

    @property
    def node(self) -> Node:
        """As the tree tells of it."""
        return Node(
            is_folder=False, size=self.size, modified=self.modified, etag=f"{self.version:x}-{self.size:x}"
        )

    def read(self, offset: int, length: int) -> bytes:
        """The bytes there; fewer at the end."""
        return expected_bytes(self.path, self.version, offset, max(0, min(length, self.size - offset)))

    def close(self) -> None:
        """Nothing is held."""


class Flock(Sequence[Item]):
    """``count`` file names that sort as they are numbered, made when they are asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return Item(is_folder=False, name=f"{index % self._count:09d}.bin")

    def find(self, name: str) -> bool:
        """Whether it is one of them."""
        stem, dot, suffix = name.partition(".")
        return (
            (dot, suffix) == (".", "bin") and len(stem) == 9 and stem.isdecimal() and int(stem) < self._count
        )


class SyntheticTree:
    """A read-only tree of such files; change it at any time, from any thread.

    ``SyntheticTree({"main/sales/raw/big": 16 << 30})``
    """

    def __init__(self, files: dict[str, int] | None = None) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, SyntheticFile] = {}
        self._flocks: dict[str, tuple[Flock, int]] = {}
        self._folders: dict[str, dict[str, Item]] = {"": {}}
        self._sorted: dict[str, tuple[Item, ...]] = {}
        for path, size in (files or {}).items():
            self.put(path, size)

    def put(self, path: str, size: int, *, version: int = 1, modified: float = _LONG_AGO) -> SyntheticFile:
        """Make a file, or replace it by another version."""
        file = SyntheticFile(path, size, version, modified)
        with self._lock:
            self._files[path] = file
            self._enter(path, is_folder=False)
        return file

    def put_flock(self, path: str, count: int, *, size: int = 0) -> None:
        """Make a folder of ``count`` files of ``size`` bytes, named 000000000.bin and so on."""
        with self._lock:
            self._flocks[path] = (Flock(count), size)
            self._enter(path, is_folder=True)

    def discard(self, path: str) -> None:
        """Take a file out."""
        folder, _, name = path.rpartition("/")
        with self._lock:
            self._files.pop(path, None)
            self._folders.get(folder, {}).pop(name, None)
            self._sorted.pop(folder, None)

    def _enter(self, path: str, *, is_folder: bool) -> None:
        while path:
            folder, _, name = path.rpartition("/")
            self._folders.setdefault(folder, {})[name] = Item(is_folder, name)
            self._sorted.pop(folder, None)
            path, is_folder = folder, True

    def _find_file(self, path: str) -> SyntheticFile | None:
        folder, _, name = path.rpartition("/")
        file = self._files.get(path)
        if file is None and folder in self._flocks and self._flocks[folder][0].find(name):
            file = SyntheticFile(path, self._flocks[folder][1])
        return file

    def stat(self, parts: Parts) -> Node | None:
        """A file or a folder."""
        path = "/".join(parts)
        with self._lock:
            file = self._find_file(path)
            if file is not None:
                return file.node
            if path in self._folders or path in self._flocks:
                return Node(is_folder=True, size=0, modified=_LONG_AGO, etag="")
        return None

    def items(self, parts: Parts) -> Sequence[Item]:
        """Sorted entries; of a flock, made on demand."""
        path = "/".join(parts)
        with self._lock:
            if path in self._flocks:
                return self._flocks[path][0]
            if path not in self._sorted:
                self._sorted[path] = tuple(sorted(self._folders.get(path, {}).values()))
            return self._sorted[path]

    def open(self, parts: Parts) -> Content | None:
        """The version that is there now."""
        with self._lock:
            return self._find_file("/".join(parts))

    def create(self, parts: Parts) -> Upload:
        """Refused: nothing could be written."""
        raise OSError(errno.EROFS, "Read-only file system", "/".join(parts))

    def make_folder(self, parts: Parts) -> None:
        """Refused."""
        raise OSError(errno.EROFS, "Read-only file system", "/".join(parts))

    def remove(self, parts: Parts) -> None:
        """Refused."""
        raise OSError(errno.EROFS, "Read-only file system", "/".join(parts))
