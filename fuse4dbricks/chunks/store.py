"""Chunk files: written once, verified once per process, read often.

The difficulty: what is on the disk need not be what was written. A rename without fsync leaves an empty file after a
power cut, disks flip bits, people restore old files. An fsync of file and folder costs 0.8 to 1.1 ms per MiB on the
fast disk where it was measured (0.3 to 2.8 ms without) and tens on a slow one, and would not catch the rest. So
nothing is synced and nothing believed: a chunk's first read in a process takes the whole file and checks trailer,
label, length and checksum; later ones check that the file was not written to since (0.7 µs).

A chunk that is not as it should be raises :class:`ChunkUnusable`, and its row should go; a disk that does not do as it
should raises plain :class:`CacheError` with the ``OSError`` as its cause, and the chunk may be sound.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress

from fuse4dbricks.chunks import files, found
from fuse4dbricks.chunks.cached_open import CachedOpener
from fuse4dbricks.chunks.descriptors import Descriptors, OpenChunk, Stamp, stamp_of
from fuse4dbricks.chunks.folder import CacheFolder
from fuse4dbricks.chunks.label import ChunkLabel, ChunkName
from fuse4dbricks.chunks.layout import MARKER
from fuse4dbricks.chunks.nowait import NoWaitReader
from fuse4dbricks.chunks.placing import Placer
from fuse4dbricks.chunks.trailer import (
    FOOTER_BYTES,
    MAX_BODY_BYTES,
    decode_trailer,
    payload_checksum,
    sealed_payload,
    trailer_length,
)
from fuse4dbricks.chunks.writing import ChunkWriter, Write
from fuse4dbricks.clock import Clock, SystemClock
from fuse4dbricks.errors import CacheError, ChunkUnusable
from fuse4dbricks.units import MIB

#: Marks of verified chunks, some 200 bytes each; beyond that the oldest is verified again.
MAX_VERIFIED = 1 << 17

#: Bytes of a chunk that the loop may open and verify by itself: 50 to 100 µs per MiB of everybody's time.
MAX_OPEN_NOW = 4 * MIB


class ChunkStore:
    """The chunk files of one cache folder.

    Methods are synchronous. ``get_*``, ``is_*``, ``open_now`` and ``read_now`` never wait and are for the loop; all
    others do I/O and are for a worker thread. Both may run at the same time.

    Args:
        opener: how :meth:`open_now` opens.
        placer: how files get their names.
    """

    def __init__(
        self,
        folder: CacheFolder,
        clock: Clock | None = None,
        opener: CachedOpener | None = None,
        placer: Placer | None = None,
    ) -> None:
        self._folder = folder
        self._descriptors = Descriptors()
        self._nowait = NoWaitReader(folder.fd, MARKER)
        self._opener = opener or CachedOpener()
        self._writer = ChunkWriter(folder, clock or SystemClock(), placer or Placer(), self._forget)
        self._lock = threading.Lock()
        self._verified: dict[ChunkName, tuple[Stamp, int]] = {}

    def close(self) -> None:
        """Close the descriptors that are kept open."""
        self._descriptors.close()

    # --- writing ---------------------------------------------------------------------------------

    def get_disk_bytes(self, label: ChunkLabel, length: int) -> int:
        """What a chunk with a payload of ``length`` bytes takes on the disk: whole blocks, trailer included."""
        return self._writer.get_disk_bytes(label, length)

    def writing(self) -> AbstractContextManager[Write]:
        """What writes the chunks of a batch, until the block ends (``CacheError``: nothing can be written)."""
        return self._writer.writing()

    def remove(self, names: Iterable[ChunkName]) -> None:
        """Delete chunk files, whose rows must be gone already; one that is missing is fine.

        Raises:
            CacheError: at least one could not be deleted; the others were.
        """
        failure: CacheError | None = None
        for name in names:
            self._forget(name)
            try:
                with files.explained("remove", name), files.opened_shard(self._folder.fd, name) as shard:
                    _remove_file(files.file_name(name), shard)
            except ChunkUnusable:
                continue  # missing, or a folder of somebody who keeps something in it
            except CacheError as error:
                failure = error
        if failure is not None:
            raise failure

    # --- reading ---------------------------------------------------------------------------------

    def load(self, label: ChunkLabel, length: int, checksum: int) -> memoryview:
        """The whole payload, verified; its descriptor stays open for :meth:`read_now`.

        Args:
            label: whose bytes are wanted (the owner does not matter).
            length: of the payload, as the index has it.
            checksum: as the index has it.

        Raises:
            ChunkUnusable: missing, cut, altered, or not that chunk.
            CacheError: the disk failed.
        """
        name = label.name()
        with files.explained("read", name):
            fd = files.open_chunk(self._folder.fd, name)
            try:
                stamp = files.stamp_of_regular(fd)
                payload = _load_verified(fd, stamp[1], label, length, checksum)
            except BaseException:  # raised on: only the descriptor must not leak
                os.close(fd)
                raise
        self._descriptors.keep(name, OpenChunk(fd, stamp, length))
        self._mark(name, stamp, length)
        return payload

    def is_verified(self, name: ChunkName) -> bool:
        """Whether this process has verified the chunk and knows of no change since."""
        return name in self._verified

    @property
    def reads_in_loop(self) -> bool:
        """Whether :meth:`read_now` has a chance on this file system."""
        return self._nowait.is_able

    def is_open(self, name: ChunkName) -> bool:
        """Whether there is a descriptor of the chunk for :meth:`read_now`."""
        return name in self._descriptors

    def open_now(self, name: ChunkName, length: int, checksum: int) -> bool:
        """Open a chunk as :meth:`open_ahead` does, if that takes no waiting (10 µs): when it is all in memory.

        Returns:
            Whether it is open now.
        """
        if name in self._descriptors:
            return True
        if length > MAX_OPEN_NOW or not (self._nowait.is_able and self._nowait.is_proven):
            return False
        fd = self._opener.open(self._folder.fd, name)
        if fd is None:
            return False
        try:
            stamp = files.stamp_of_regular(fd)
            trailer = self._nowait.read(fd, length, _trailer_size(stamp[1], length))
            # The first page and the last stand for what is between: another opening would read that ahead.
            if trailer is not None and self._nowait.read(fd, 0, 1) is not None:
                _check_trailer(trailer, length, checksum)
                self._keep_unproven(name, fd, stamp, length, checksum)
                fd = None
        except (OSError, ChunkUnusable):
            return False  # a thread meets it again, with an account of errors
        finally:
            if fd is not None:
                os.close(fd)
        return fd is None

    def open_ahead(self, wanted: Iterable[tuple[ChunkName, int, int]]) -> None:
        """Open chunks (name, length, checksum) for :meth:`read_now`, which verifies them when it first reads them.

        Reads the disk ahead, too. A chunk that is not as it should be is left for :meth:`load` to say so.
        """
        asked: list[tuple[int, ChunkName, int, int]] = []
        try:
            # All are asked for before the first is waited for, or the disk has one thing to do at a time.
            for name, length, checksum in wanted:
                if name not in self._descriptors:
                    with suppress(OSError):
                        asked.append((files.open_chunk(self._folder.fd, name), name, length, checksum))
                        os.posix_fadvise(asked[-1][0], 0, 0, os.POSIX_FADV_WILLNEED)
            while asked:
                with suppress(OSError, ChunkUnusable):
                    self._keep_whole(*asked.pop(0))
        finally:
            for fd, *_ in asked:
                os.close(fd)

    def _keep_whole(self, fd: int, name: ChunkName, length: int, checksum: int) -> None:
        try:
            stamp = files.stamp_of_regular(fd)
            trailer = files.read_exactly(fd, length, _trailer_size(stamp[1], length))
            _check_trailer(trailer, length, checksum)
        except BaseException:  # raised on: only the descriptor must not leak
            os.close(fd)
            raise
        self._keep_unproven(name, fd, stamp, length, checksum)

    def _keep_unproven(self, name: ChunkName, fd: int, stamp: Stamp, length: int, checksum: int) -> None:
        is_verified = self._verified.get(name) == (stamp, length)
        self._descriptors.keep(name, OpenChunk(fd, stamp, length, None if is_verified else checksum))

    def read_now(self, name: ChunkName, offset: int, length: int) -> bytes | bytearray | None:
        """Part of the payload, if that takes no waiting; None when it would, or when the chunk is not open.

        What lies beyond the payload's end is left out. The first read of a chunk takes all of it, to verify it.
        """
        chunk = self._descriptors.borrow(name)
        if chunk is None:
            return None
        try:
            if stamp_of(os.fstat(chunk.fd)) != chunk.stamp:
                self._forget(name)
                return None
            wanted = max(0, min(length, chunk.length - offset))
            if chunk.unproven is None:
                return self._nowait.read(chunk.fd, offset, wanted)
            whole = self._read_proven(name, chunk, chunk.unproven)
            return whole if whole is None or wanted == chunk.length else whole[offset : offset + wanted]
        except OSError:
            return None  # the caller's thread meets it again, with a deadline and an account of errors
        finally:
            self._descriptors.give_back(chunk)

    def _read_proven(self, name: ChunkName, chunk: OpenChunk, checksum: int) -> bytearray | None:
        """All of a chunk, if it is in the page cache and what it should be."""
        whole = self._nowait.read(chunk.fd, 0, chunk.length)
        if whole is None:
            return None
        if payload_checksum(whole, name) != checksum:
            self._forget(name)
            return None
        chunk.unproven = None
        self._mark(name, chunk.stamp, chunk.length)
        return whole

    def read(self, name: ChunkName, offset: int, length: int) -> bytes:
        """As :meth:`read_now`, but opens the file if need be and waits for the disk.

        Raises:
            ChunkUnusable: not verified, or written to since: :meth:`load` tells what it is now.
            CacheError: the disk failed.
        """
        with files.explained("read", name):
            chunk = self._descriptors.borrow(name) or self._reopen(name)
            try:
                if stamp_of(os.fstat(chunk.fd)) != chunk.stamp:
                    self._forget(name)
                    raise ChunkUnusable("the file was written to after it was verified")
                if chunk.unproven is not None:
                    raise ChunkUnusable("not verified yet")
                wanted = max(0, min(length, chunk.length - offset))
                return files.read_exactly(chunk.fd, offset, wanted)
            finally:
                self._descriptors.give_back(chunk)

    def _reopen(self, name: ChunkName) -> OpenChunk:
        """Open a verified chunk; it is borrowed. Whether it is still the same file is the caller's to check."""
        stamp, length = self._verified.get(name) or (None, 0)
        if stamp is None:
            raise ChunkUnusable("not verified yet")
        chunk = OpenChunk(files.open_chunk(self._folder.fd, name), stamp, length, users=1)
        self._descriptors.keep(name, chunk)
        return chunk

    # --- what is there ---------------------------------------------------------------------------

    def list_shard(self, shard: int) -> list[ChunkName]:
        """The chunk files in one of :data:`~fuse4dbricks.chunks.layout.SHARDS` shards (``CacheError``)."""
        return found.list_shard(self._folder.fd, shard)

    def load_found(self, name: ChunkName) -> found.FoundChunk:
        """What a chunk file says of itself (``ChunkUnusable``, ``CacheError``)."""
        return found.load_found(self._folder.fd, name)

    def find_missing(self, names: Iterable[ChunkName]) -> list[ChunkName]:
        """Which of the chunks have no file (``CacheError``)."""
        return [name for name in names if not found.is_there(self._folder.fd, name)]

    def sweep_temporary(self) -> int:
        """Remove what earlier runs were writing when they ended; how many (``CacheError``)."""
        return found.sweep_temporary(self._folder.fd, self._writer.run)

    # --- marks -----------------------------------------------------------------------------------

    def _mark(self, name: ChunkName, stamp: Stamp, length: int) -> None:
        with self._lock:
            self._verified[name] = (stamp, length)
            if len(self._verified) > MAX_VERIFIED:
                del self._verified[next(iter(self._verified))]

    def _forget(self, name: ChunkName) -> None:
        with self._lock:
            self._verified.pop(name, None)
        self._descriptors.forget(name)


def _remove_file(name: str, shard: int) -> None:
    try:
        os.unlink(name, dir_fd=shard)
    except IsADirectoryError:
        with suppress(OSError):
            os.rmdir(name, dir_fd=shard)  # an empty one is nobody's, and in the chunk's way


def _trailer_size(size: int, length: int) -> int:
    """Bytes beyond a payload of ``length`` in a file of ``size``, if a trailer may have so many (``ChunkUnusable``)."""
    if not length + FOOTER_BYTES <= size <= length + FOOTER_BYTES + MAX_BODY_BYTES:
        raise ChunkUnusable(f"{size} bytes for a payload of {length}")
    return size - length


def _check_trailer(trailer: bytes | bytearray, length: int, checksum: int) -> None:
    """That what follows the payload is unharmed and says of it what the index does (``ChunkUnusable``)."""
    if sealed_payload(trailer) != (length, checksum):
        raise ChunkUnusable("the trailer says otherwise than the index")


def _load_verified(fd: int, size: int, label: ChunkLabel, length: int, checksum: int) -> memoryview:
    """The payload of an open chunk file of ``size`` bytes, if it is what label and index say."""
    _trailer_size(size, length)
    content = memoryview(files.read_exactly(fd, 0, size))
    trailer_start = size - trailer_length(content[-FOOTER_BYTES:])
    if trailer_start != length:
        raise ChunkUnusable(f"{trailer_start} bytes of payload, where the index has {length}")
    trailer = decode_trailer(content[trailer_start:], size)
    if trailer.label.identity != label.identity:
        raise ChunkUnusable("it is another chunk's file")
    payload = content[:trailer_start]
    if not checksum == trailer.checksum == payload_checksum(payload, label.name()):
        raise ChunkUnusable("the checksum is off")
    return payload
