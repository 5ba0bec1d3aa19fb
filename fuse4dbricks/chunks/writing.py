"""Chunk files, written a batch at a time.

The difficulty: a thread of Python that makes a system call gives the interpreter away and has to get it back from an
event loop that decrypts and hardly lets go; both pay for each handover, some ten calls of the kernel's own. With fifteen
calls for each chunk of a download that was as dear as the writing. So the folders that all chunk files are below are
opened once for a batch; whoever empties the cache folder meanwhile costs the rest of that batch.
"""

from __future__ import annotations

import errno
import itertools
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TypeAlias

from fuse4dbricks.chunks import files
from fuse4dbricks.chunks.folder import CacheFolder
from fuse4dbricks.chunks.label import ChunkLabel, ChunkName
from fuse4dbricks.chunks.layout import BIRTHPLACES, CHUNKS, TEMPORARY
from fuse4dbricks.chunks.placing import Placer, Spot
from fuse4dbricks.chunks.safety import opened_folder
from fuse4dbricks.chunks.trailer import Trailer, payload_checksum
from fuse4dbricks.clock import Clock

#: File systems account in such blocks; ``du`` does too.
BLOCK = 4096

#: A folder in the place of the chunk; any other error while writing is the disk's.
_PLACE_TAKEN = frozenset({errno.EISDIR})

#: Stores a payload under its label, whole or not at all, in place of an older file of its name; answers its checksum.
#: Raises ``ChunkUnusable`` where a folder stands in its place, ``CacheError`` where the disk fails.
Write: TypeAlias = Callable[[ChunkLabel, "memoryview | bytes"], int]


class ChunkWriter:
    """Writes the chunk files of one cache folder. For any thread.

    Args:
        placer: how files get their names.
        on_written: told of each file that is in its place, in the thread that wrote it.
    """

    def __init__(
        self, folder: CacheFolder, clock: Clock, placer: Placer, on_written: Callable[[ChunkName], None]
    ) -> None:
        self._folder = folder
        self._clock = clock
        self._placer = placer
        self._on_written = on_written
        # Not the pid: two containers have the same one.
        self.run = secrets.token_hex(8)
        self._serial = itertools.count()
        self._batches = itertools.count()

    def get_disk_bytes(self, label: ChunkLabel, length: int) -> int:
        """What a chunk with a payload of ``length`` bytes takes on the disk: whole blocks, trailer included."""
        return -(-(length + len(self._encode(label, length, 0))) // BLOCK) * BLOCK

    @contextmanager
    def writing(self) -> Iterator[Write]:
        """What writes the chunks of a batch, until the block ends.

        Raises:
            CacheError: the folders that they belong into cannot be opened.
        """
        with ExitStack() as opened:
            with files.explained("write", None, frozenset()):
                self._complete()
                temporary, chunks = (
                    opened.enter_context(opened_folder(self._folder.fd, name, create=True))
                    for name in (TEMPORARY, CHUNKS)
                )
                birthplace = self._open_birthplace(chunks, opened)
            yield partial(self._write, temporary, chunks, birthplace)

    def _open_birthplace(self, chunks_fd: int, opened: ExitStack) -> int:
        """Another one for each batch; any folder will do where that is missing, or something else stands in its place."""
        shard = BIRTHPLACES[next(self._batches) % len(BIRTHPLACES)]
        with suppress(OSError):
            return opened.enter_context(opened_folder(chunks_fd, f"{shard:02x}"))
        return chunks_fd

    def _complete(self) -> None:
        try:
            os.stat(TEMPORARY, dir_fd=self._folder.fd, follow_symlinks=False)
        except FileNotFoundError:
            self._folder.complete()  # it was emptied; or ``chunks`` would soon be all there is, and nobody's

    def _write(
        self,
        temporary_fd: int,
        chunks_fd: int,
        birth_fd: int,
        label: ChunkLabel,
        payload: memoryview | bytes,
    ) -> int:
        name = label.name()
        checksum = payload_checksum(payload, name)
        parts = [payload, self._encode(label, len(payload), checksum)]
        temporary = f"{self.run}-{next(self._serial)}.tmp"
        with (
            files.explained("write", name, _PLACE_TAKEN),
            opened_folder(chunks_fd, files.shard_name(name), create=True) as shard,
        ):
            self._placer.place(Spot(files.file_name(name), shard, temporary, temporary_fd, birth_fd), parts)
        self._on_written(name)
        return checksum

    def _encode(self, label: ChunkLabel, length: int, checksum: int) -> bytes:
        return Trailer(label, length, checksum, int(self._clock.wall())).encode()
