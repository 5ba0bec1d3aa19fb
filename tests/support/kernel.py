"""The kernel's side of the file system: it walks paths, and keeps the references that it is given."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable

from fuse4dbricks.paths import RemotePath
from fuse4dbricks.vfs.attributes import Attributes
from fuse4dbricks.vfs.filesystem import Filesystem
from fuse4dbricks.vfs.inodes import ROOT_INO
from tests.support.benches import Bench
from tests.support.fakes import ADA, token_of

#: What ``readdir`` reports without giving a reference.
UNCOUNTED = {b".", b".."}


class Kernel:
    """One local user's system calls. It caches nothing: each walk asks anew."""

    def __init__(self, filesystem: Filesystem, uid: int) -> None:
        self.filesystem = filesystem
        self.uid = uid
        self.references: Counter[int] = Counter()

    async def walk(self, path: RemotePath) -> Attributes:
        """Look up each part in turn."""
        shown = Attributes(ROOT_INO)
        for part in path.parts:
            shown = await self.filesystem.lookup(self.uid, shown.ino, part.encode())
            if shown.ino:
                self.references[shown.ino] += 1
        return shown

    async def read_file(self, path: RemotePath) -> bytes:
        return await self.read_inode((await self.walk(path)).ino)

    async def read_inode(self, ino: int) -> bytes:
        opened = self.filesystem.get_opened(self.uid, ino, os.O_RDONLY) or await self.filesystem.open(
            self.uid, ino, os.O_RDONLY
        )
        try:
            return bytes(await self.filesystem.read(opened.number, 0, 1 << 20))
        finally:
            self.filesystem.release(opened.number)

    async def list_folder(self, path: RemotePath) -> list[str]:
        return await self.list_inode((await self.walk(path)).ino)

    async def list_inode(self, ino: int) -> list[str]:
        number = await self.filesystem.opendir(self.uid, ino)
        try:
            names, offset = [], 0
            while batch := await self.read_entries(number, offset):
                names += [name.decode() for name, _, _ in batch]
                offset = batch[-1][2]
            return [name for name in names if name not in {".", ".."}]
        finally:
            self.filesystem.releasedir(number)

    async def read_entries(
        self, number: int, offset: int, room: int = 100
    ) -> list[tuple[bytes, Attributes, int]]:
        """One ``readdirplus``, with room for so many entries."""
        batch: list[tuple[bytes, Attributes, int]] = []
        await self.filesystem.readdir(number, offset, taker(batch, room))
        for name, shown, _ in batch:
            if name not in UNCOUNTED and shown.ino:
                self.references[shown.ino] += 1
        return batch

    def forget(self, references: Iterable[tuple[int, int]]) -> None:
        self.filesystem.forget(references)

    def forget_all(self) -> None:
        """Drop every reference that was given."""
        references, self.references = self.references, Counter()
        self.filesystem.forget(references.items())


def taker(batch: list[tuple[bytes, Attributes, int]], room: int) -> Callable[[bytes, Attributes, int], bool]:
    """Takes entries until there is no more room."""

    def take(name: bytes, shown: Attributes, offset: int) -> bool:
        if len(batch) >= room:
            return False
        batch.append((name, shown, offset))
        return True

    return take


def kernel_of(bench: Bench, uid: int = ADA, name: str = "ada") -> Kernel:
    """The system calls of a local user who has written a token."""
    bench.written.set(uid, token_of(name))
    return Kernel(bench.filesystem, uid)
