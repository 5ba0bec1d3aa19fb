"""What a chunk is, and the name that follows from it.

The difficulty: a chunk file must never be taken for another one: not for the same path in another workspace, not
for another version of the file, not for a piece of another size after the mount's chunk size was changed. So all
of these are in the name. And users choose the paths: a name from a fast hash could be made to collide with the
name of a chunk that its maker may not read, hence BLAKE2 (0.5 µs), not xxh3, whose collisions can be written down.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NewType

from fuse4dbricks.entry import Version
from fuse4dbricks.paths import RemotePath

#: 16 bytes; in hexadecimal the file's name.
ChunkName = NewType("ChunkName", bytes)

NAME_BYTES = 16


@dataclass(frozen=True, slots=True)
class ChunkLabel:
    """Whose bytes these are.

    Attributes:
        workspace: normalised host, so that one folder can serve several workspaces.
        path: of the file.
        version: the version of the file that the bytes belong to.
        chunk_index: position in the file, in units of ``chunk_size``.
        chunk_size: bytes per chunk of the mount that wrote it.
        owner: who caused the fetch; for accounting, not part of the chunk's identity.
    """

    workspace: str
    path: RemotePath
    version: Version
    chunk_index: int
    chunk_size: int
    owner: str = ""

    @property
    def identity(self) -> tuple[str, RemotePath, Version, int, int]:
        """All that must agree for the bytes to be the ones asked for."""
        return (self.workspace, self.path, self.version, self.chunk_index, self.chunk_size)

    @property
    def length(self) -> int:
        """Bytes of payload: a full chunk, or what the end of the file leaves; 0 past it."""
        return max(0, min(self.chunk_size, self.version.size - self.chunk_index * self.chunk_size))

    def name(self) -> ChunkName:
        """The 16 bytes that name the chunk on disk and in the index."""
        version = self.version
        etag = "-" if version.etag is None else f"={version.etag}"
        # No field can hold NUL (names are checked, a header value cannot), so the join is unambiguous.
        fields = (
            self.workspace,
            f"{self.chunk_size} {self.chunk_index} {version.size} {version.last_modified} {version.unsettled_at}",
            etag,
            *self.path.parts,
        )
        text = "\0".join(fields).encode("utf-8", "surrogatepass")
        return ChunkName(hashlib.blake2b(text, digest_size=NAME_BYTES).digest())
