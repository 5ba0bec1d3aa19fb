"""The end of a chunk file, where it says what it is.

The difficulty: the index may be lost or corrupt, files may be cut, swapped, flipped or left empty by a power
cut, and still no wrong byte may be served and the index must be rebuildable from the files alone. So each file
describes itself: payload at offset 0 (its pages stay aligned with the page cache), then a JSON body with the label,
then a fixed footer with the lengths and two checksums. The payload's checksum is seeded with the chunk's name, so
that the right bytes under the wrong label do not pass either.

::

    | payload | JSON body | magic 8s | format u16 | 0 u16 | body u32 | payload u64 | checksum u64 | trailer's u64 |
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import xxhash

from fuse4dbricks.chunks.label import ChunkLabel, ChunkName
from fuse4dbricks.entry import Version
from fuse4dbricks.errors import ChunkUnusable
from fuse4dbricks.paths import RemotePath

MAGIC = b"F4DCHUNK"
FORMAT = 1

_FOOTER = struct.Struct("<8sHHIQQ")
_SEAL = struct.Struct("<Q")
FOOTER_BYTES = _FOOTER.size + _SEAL.size

#: A path is at most some thousand bytes of UTF-8; more is not ours, and is not read into memory.
MAX_BODY_BYTES = 256 * 1024

#: SQLite's integers are signed: 63 bits go into the index as they are.
_SIXTY_THREE_BITS = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Trailer:
    """What a chunk file says of itself.

    Attributes:
        label: whose bytes they are.
        length: of the payload, in bytes.
        checksum: of the payload, see :func:`payload_checksum`.
        created_at: Unix time in whole seconds, so that the trailer's length does not depend on it.
    """

    label: ChunkLabel
    length: int
    checksum: int
    created_at: int

    def encode(self) -> bytes:
        """The bytes that follow the payload."""
        body = json.dumps(_as_json(self), separators=(",", ":")).encode()
        footer = _FOOTER.pack(MAGIC, FORMAT, 0, len(body), self.length, self.checksum)
        return body + footer + _SEAL.pack(xxhash.xxh3_64_intdigest(body + footer))


def payload_checksum(payload: bytes | bytearray | memoryview, name: ChunkName) -> int:
    """xxh3 of the payload (50 µs per MiB), bound to the chunk's name; 63 bits."""
    return xxhash.xxh3_64_intdigest(payload, seed=int.from_bytes(name[:8], "little")) & _SIXTY_THREE_BITS


def trailer_length(footer: bytes | bytearray | memoryview) -> int:
    """Bytes of the whole trailer, from the last :data:`FOOTER_BYTES` of a file.

    Raises:
        ChunkUnusable: it is no footer of ours, or of a later format.
    """
    if len(footer) != FOOTER_BYTES:
        raise ChunkUnusable("too short for a trailer")
    magic, version, _, body_length, _, _ = _FOOTER.unpack_from(footer)
    if magic != MAGIC or version != FORMAT or body_length > MAX_BODY_BYTES:
        raise ChunkUnusable("no trailer of this format")
    return int(body_length) + FOOTER_BYTES


def sealed_payload(raw: bytes | bytearray) -> tuple[int, int]:
    """(length, checksum) of the payload, from a whole trailer: 2 µs, its label unread.

    Raises:
        ChunkUnusable: cut, altered, or not a trailer.
    """
    if len(raw) != trailer_length(raw[-FOOTER_BYTES:]):
        raise ChunkUnusable("the trailer is cut")
    sealed, (seal,) = raw[: -_SEAL.size], _SEAL.unpack(raw[-_SEAL.size :])
    if xxhash.xxh3_64_intdigest(sealed) != seal:
        raise ChunkUnusable("the trailer is altered")
    *_, length, checksum = _FOOTER.unpack_from(raw, len(raw) - FOOTER_BYTES)
    return length, checksum


def decode_trailer(raw: bytes | memoryview, file_size: int) -> Trailer:
    """Read a whole trailer of a file of ``file_size`` bytes.

    Raises:
        ChunkUnusable: cut, altered, or not a trailer.
    """
    raw = bytes(raw)
    length, checksum = sealed_payload(raw)
    if length + len(raw) != file_size:
        raise ChunkUnusable(f"{file_size} bytes, where payload and trailer have {length + len(raw)}")
    try:
        label, created_at = _from_json(json.loads(raw[:-FOOTER_BYTES]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ChunkUnusable("the trailer's body is not what its checksum covers") from error
    return Trailer(label, length, checksum, created_at)


def _as_json(trailer: Trailer) -> dict[str, Any]:
    label, version = trailer.label, trailer.label.version
    return {
        "workspace": label.workspace,
        "path": label.path.parts,
        "size": version.size,
        "last_modified": version.last_modified,
        "etag": version.etag,
        "unsettled_at": version.unsettled_at,
        "chunk_index": label.chunk_index,
        "chunk_size": label.chunk_size,
        "owner": label.owner,
        "created_at": trailer.created_at,
    }


def _from_json(body: dict[str, Any]) -> tuple[ChunkLabel, int]:
    label = ChunkLabel(
        workspace=body["workspace"],
        path=RemotePath(tuple(body["path"])),
        version=Version(body["size"], body["last_modified"], body["etag"], body["unsettled_at"]),
        chunk_index=body["chunk_index"],
        chunk_size=body["chunk_size"],
        owner=body["owner"],
    )
    return label, int(body["created_at"])
