"""The seam to where the bytes come from.

The difficulty: a demo serves a folder on disk, a test needs files larger than the disk and a million of them, and
neither may cost the other anything. What both must give is small: what is at a path, the sorted entries of a
folder, a file opened as one version, and the three changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

Parts = tuple[str, ...]


class Item(NamedTuple):
    """A directory entry; sorts as the recorded listings do: files by name, then folders by name."""

    is_folder: bool
    name: str


@dataclass(frozen=True, slots=True)
class Node:
    """What is at a path.

    Attributes:
        size: bytes; 0 for a folder.
        modified: Unix time in seconds.
        etag: changes whenever the bytes do; without quotes.
    """

    is_folder: bool
    size: int
    modified: float
    etag: str


class Content(Protocol):
    """A file opened for reading: one version of it."""

    @property
    def node(self) -> Node:
        """Size and time at the moment of opening."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """At most ``length`` bytes; fewer only at the end."""
        ...

    def close(self) -> None:
        """Give the descriptor back."""
        ...


class Upload(Protocol):
    """A file being written; it appears whole, at :meth:`commit`, or never."""

    def write(self, piece: bytes) -> None:
        """Append."""
        ...

    def commit(self) -> None:
        """Put it in its place, with missing parents."""
        ...

    def abort(self) -> None:
        """Leave nothing behind; harmless after a commit."""
        ...


class Tree(Protocol):
    """A source of files; ``parts`` are names below the root, the first three being catalog, schema, volume.

    The methods raise FileExistsError, NotADirectoryError and OSError as the os module does.
    """

    def stat(self, parts: Parts) -> Node | None:
        """What is there, None when nothing is."""
        ...

    def items(self, parts: Parts) -> Sequence[Item]:
        """The entries of a folder, sorted; the same object again while nothing changed; empty if no folder."""
        ...

    def open(self, parts: Parts) -> Content | None:
        """The file opened, None when there is no file."""
        ...

    def create(self, parts: Parts) -> Upload:
        """Start writing a file."""
        ...

    def make_folder(self, parts: Parts) -> None:
        """Make a folder and its parents; one that is there is fine."""
        ...

    def remove(self, parts: Parts) -> None:
        """Remove a file or an empty folder."""
        ...
