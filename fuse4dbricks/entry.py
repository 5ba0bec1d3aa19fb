"""What the tree is made of.

The difficulty: the service gives no inode, no ETag by default and times in whole seconds, so two different
contents can carry the same (last-modified, size). ``Version`` therefore has a fourth part, ``unsettled_at``:
a file seen within :data:`SETTLE_SECONDS` of its own modification may still change without a trace, so what is
read under that observation is only equal to itself, and a later observation is a different version.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

#: Last-Modified has one-second resolution (databricks-api 1.3); two cover rounding on both sides.
SETTLE_SECONDS = 2.0


class Kind(enum.IntEnum):
    """What an entry is. The numbers are stored in the index: never renumber."""

    ROOT = 0
    CATALOG = 1
    SCHEMA = 2
    VOLUME = 3
    DIRECTORY = 4
    FILE = 5

    @property
    def is_directory(self) -> bool:
        """Whether it has children."""
        return self is not Kind.FILE

    @property
    def is_boundary(self) -> bool:
        """Whether what is seen of it depends on who looks (root, catalogs, schemas, volumes)."""
        return self <= Kind.VOLUME


@dataclass(frozen=True, slots=True)
class Version:
    """What the server says identifies the bytes of a file.

    Attributes:
        size: bytes.
        last_modified: Unix time in whole seconds, or None where the server gives none.
        etag: as the server sent it, quotes included, or None (Files API 2.0 gives none).
        unsettled_at: 0, or the Unix second of the observation when the file was then younger than
            :data:`SETTLE_SECONDS`.
    """

    size: int
    last_modified: int | None
    etag: str | None = None
    unsettled_at: int = 0

    def __hash__(self) -> int:
        # Half the price of the generated one, and asked for several times at each opening; it tells almost as much apart.
        return hash((self.size, self.last_modified))

    @classmethod
    def observed(cls, size: int, last_modified: int | None, etag: str | None, observed_at: float) -> Version:
        """The version as seen at ``observed_at`` (Unix time, by the server's clock where it tells)."""
        recent = etag is None and (last_modified is None or observed_at - last_modified < SETTLE_SECONDS)
        return cls(size, last_modified, etag, int(observed_at) if recent else 0)

    def same_bytes_as(self, other: Version) -> bool:
        """Whether the server's own words agree; used on range replies, where ``unsettled_at`` is ours.

        An ETag that only one side has says nothing: listings never carry one.
        """
        if self.size != other.size:
            return False
        if self.etag is not None and other.etag is not None:
            return self.etag == other.etag
        if self.last_modified is not None and other.last_modified is not None:
            return self.last_modified == other.last_modified
        return True


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder, as last seen.

    Attributes:
        name: as the server gives it (for catalogs, schemas and volumes: its canonical case).
        kind: what it is.
        version: of a file; None for folders, and for a file that was listed without size or time and
            still needs a HEAD.
        mtime: Unix time in seconds for folders that have one (catalog, schema, volume: updated_at or
            created_at); None inside volumes, where the service has none. Files use their version.
    """

    name: str
    kind: Kind
    version: Version | None = None
    mtime: float | None = None

    @property
    def needs_head(self) -> bool:
        """Whether it is a file that was listed without size or time."""
        return self.kind is Kind.FILE and self.version is None

    @property
    def size(self) -> int:
        """Bytes; 0 for folders."""
        return self.version.size if self.version is not None else 0
