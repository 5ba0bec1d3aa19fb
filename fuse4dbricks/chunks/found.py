"""What lies in the cache folder, as seen without the index.

The difficulty: leftovers of a crash must go and an index must be rebuildable, in a folder that may hold a million
files; so it is listed shard by shard (1/256 each), names first, and a file is opened only when its label is wanted.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass

from fuse4dbricks.chunks.files import (
    explained,
    file_name,
    open_chunk,
    opened_shard,
    read_exactly,
    stamp_of_regular,
)
from fuse4dbricks.chunks.label import ChunkName
from fuse4dbricks.chunks.layout import CHUNK_FILE, CHUNKS, SHARDS, TEMPORARY, TEMPORARY_FILE
from fuse4dbricks.chunks.safety import entries, opened_folder
from fuse4dbricks.chunks.trailer import (
    FOOTER_BYTES,
    MAX_BODY_BYTES,
    Trailer,
    decode_trailer,
    payload_checksum,
    trailer_length,
)
from fuse4dbricks.errors import CacheError, ChunkUnusable
from fuse4dbricks.units import MIB

#: The largest chunk that a mount can be told to make, and its trailer.
MAX_FILE_BYTES = 16 * MIB + MAX_BODY_BYTES + FOOTER_BYTES


@dataclass(frozen=True, slots=True)
class FoundChunk:
    """A chunk file, described by itself.

    Attributes:
        name: of the file.
        trailer: what it says it is; its payload has not been verified.
        disk_bytes: what the file takes on the disk.
        mtime: Unix time of its last write.
    """

    name: ChunkName
    trailer: Trailer
    disk_bytes: int
    mtime: float


def verify_found(folder_fd: int, name: ChunkName) -> Trailer:
    """Read a whole chunk file and hold it against its own trailer, which is returned; raises as :func:`read_found`."""
    return read_found(folder_fd, name)[0]


def read_found(folder_fd: int, name: ChunkName) -> tuple[Trailer, memoryview]:
    """What a chunk file says it is, and its payload, which is just that.

    Raises:
        ChunkUnusable: missing, cut, altered, or under another chunk's name.
        CacheError: the disk failed.
    """
    with explained("read", name):
        fd = open_chunk(folder_fd, name)
        try:
            size = stamp_of_regular(fd)[1]
            if size > MAX_FILE_BYTES:
                raise ChunkUnusable(f"{size} bytes are more than a chunk can have")
            content = memoryview(read_exactly(fd, 0, size))
        finally:
            os.close(fd)
    length = trailer_length(content[-FOOTER_BYTES:])
    if length > size:
        raise ChunkUnusable("the trailer is cut")
    trailer = decode_trailer(content[size - length :], size)
    if trailer.label.name() != name:
        raise ChunkUnusable("it is another chunk's file")
    payload = content[: trailer.length]
    if payload_checksum(payload, name) != trailer.checksum:
        raise ChunkUnusable("the checksum is off")
    return trailer, payload


def list_shard(folder_fd: int, shard: int) -> list[ChunkName]:
    """The names of the chunk files in one of the :data:`SHARDS` shards.

    Raises:
        CacheError: it cannot be listed.
    """
    if not 0 <= shard < SHARDS:
        raise ValueError(shard)
    shard_name = f"{shard:02x}"
    try:
        with opened_folder(folder_fd, CHUNKS, shard_name) as fd:
            matches = [CHUNK_FILE.fullmatch(name) for name in entries(fd)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CacheError(f"cannot list the shard {shard_name} of the cache folder: {error}") from error
    names = [bytes.fromhex(match.group(1)) for match in matches if match]
    return [ChunkName(name) for name in names if name[0] == shard]


def load_found(folder_fd: int, name: ChunkName) -> FoundChunk:
    """Read a chunk file's trailer.

    Raises:
        ChunkUnusable: it has none, or is a chunk under another chunk's name.
        CacheError: the disk failed.
    """
    with explained("read", name):
        fd = open_chunk(folder_fd, name)
        try:
            size = stamp_of_regular(fd)[1]
            status = os.fstat(fd)
            length = trailer_length(read_exactly(fd, max(0, size - FOOTER_BYTES), min(size, FOOTER_BYTES)))
            if length > size:
                raise ChunkUnusable("the trailer is cut")
            trailer = decode_trailer(read_exactly(fd, size - length, length), size)
        finally:
            os.close(fd)
    if trailer.label.name() != name:
        raise ChunkUnusable("it is another chunk's file")
    return FoundChunk(name, trailer, status.st_blocks * 512, status.st_mtime)


def is_there(folder_fd: int, name: ChunkName) -> bool:
    """Whether the chunk has a file, or something else in its place.

    Raises:
        CacheError: that cannot be told.
    """
    try:
        with opened_shard(folder_fd, name) as shard:
            os.stat(file_name(name), dir_fd=shard, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise CacheError(f"cannot look for chunk {name.hex()}: {error}") from error
    return True


def list_temporary(folder_fd: int) -> list[tuple[str, float]]:
    """Unfinished files, with the Unix time of their last write.

    Raises:
        CacheError: the folder cannot be read.
    """
    found: list[tuple[str, float]] = []
    try:
        with opened_folder(folder_fd, TEMPORARY) as fd:
            for name in entries(fd):
                if TEMPORARY_FILE.fullmatch(name):
                    with suppress(FileNotFoundError):
                        found.append((name, os.stat(name, dir_fd=fd, follow_symlinks=False).st_mtime))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CacheError(f"cannot list unfinished files in the cache folder: {error}") from error
    return found


def sweep_temporary(folder_fd: int, run: str) -> int:
    """Remove files that earlier runs were writing when they ended; how many there were.

    The holder of the folder's lock knows that whatever is not of its own ``run`` has no writer any more.

    Raises:
        CacheError: the folder cannot be read or written.
    """
    removed = 0
    try:
        with opened_folder(folder_fd, TEMPORARY, create=True) as fd:
            for name in entries(fd):
                match = TEMPORARY_FILE.fullmatch(name)
                if match and match.group(1) != run:
                    os.unlink(name, dir_fd=fd)
                    removed += 1
    except OSError as error:
        raise CacheError(f"cannot remove leftovers from the cache folder: {error}") from error
    return removed
