"""Extended attributes of files: which version it is, and what of it is cached.

The difficulties: programs that copy attributes carry these to places where they mean nothing, or that take none (``cp -a``
says nothing then, ``rsync -X`` fails), so a mount can be told to list none; and newer ``ls`` lists the attributes of each
file that it shows, so to list them must cost no more than a look-up. None of them asks the workspace.

And each is asked for twice, for its length and then for itself, while chunks go on arriving: an answer that has grown in
between is an error, upon which ``cp -a`` leaves all attributes out. So the second question gets the first one's answer.
"""

from __future__ import annotations

from collections.abc import Iterator

import trio

from fuse4dbricks.cache.holdings import Holding, Holdings, Ranges
from fuse4dbricks.cache.metadata import MetadataCache
from fuse4dbricks.cache.standings import Bounded
from fuse4dbricks.entry import Kind, Version
from fuse4dbricks.errors import NoAttribute
from fuse4dbricks.tokens import Viewer
from fuse4dbricks.vfs.inodes import Node

PREFIX = "user.fuse4dbricks."

#: The kernel takes no value over 64 KiB (XATTR_SIZE_MAX).
MAX_VALUE_BYTES = 60_000

#: These take a look at every chunk of the file.
_SURVEYED = ("cached_bytes", "cached_ranges", "owner", "fetched_at")
NAMES = ("version", "etag", "last_modified", "pinned", "validated_at", *_SURVEYED)


#: Seconds in which the same question is taken for the second half of the first.
ECHO_SECONDS = 0.05
MAX_ECHOES = 256

#: Who asks, of which inode, for which attribute (empty: for the list).
_Question = tuple[int, int, bytes]


class ExtendedAttributes:
    """The attributes of files, for viewers who have been admitted. Values are ASCII or UTF-8 text, times Unix seconds."""

    def __init__(self, metadata: MetadataCache, holdings: Holdings, *, is_listed: bool) -> None:
        self._metadata = metadata
        self._holdings = holdings
        self._is_listed = is_listed
        self._echoes: Bounded[_Question, tuple[float, tuple[bytes, ...]]] = Bounded(MAX_ECHOES)

    def note_change(self) -> None:
        """Something was opened or fetched: whoever asks from now on wants to know what came of it."""
        self._echoes.clear()

    async def get(self, viewer: Viewer, node: Node, raw_name: bytes) -> bytes:
        """The value of one attribute.

        Raises:
            NoAttribute: there is none of that name, or it has no value now.
        """
        echo = self._take_echo((viewer.uid, node.ino, raw_name))
        if echo is not None:
            return echo[0]
        name = raw_name.decode("utf-8", "replace")
        short = name.removeprefix(PREFIX)
        value = None
        if node.version is not None and name == PREFIX + short and short in NAMES:
            if short in _SURVEYED:
                values = dict(_of_holding(await self._holdings.survey(node.path, node.version)))
            else:
                values = dict(self._of_version(viewer, node, node.version))
            value = values.get(short)
        if value is None:
            raise NoAttribute(name)
        self._keep_echo((viewer.uid, node.ino, raw_name), value.encode())
        return value.encode()

    def list(self, viewer: Viewer, node: Node) -> list[bytes]:
        """The names of those that have a value."""
        if node.version is None or not self._is_listed:
            return []
        echo = self._take_echo((viewer.uid, node.ino, b""))
        if echo is not None:
            return [*echo]
        beginning = self._holdings.get_beginning(node.path, node.version)
        values = dict(self._of_version(viewer, node, node.version)) | dict(_of_holding(beginning))
        names = [f"{PREFIX}{name}".encode() for name in NAMES if values.get(name) is not None]
        self._keep_echo((viewer.uid, node.ino, b""), *names)
        return names

    def _keep_echo(self, question: _Question, *answer: bytes) -> None:
        self._echoes.put(question, (trio.current_time() + ECHO_SECONDS, answer))

    def _take_echo(self, question: _Question) -> tuple[bytes, ...] | None:
        until, answer = self._echoes.pop(question, (float("-inf"), ()))
        return answer if trio.current_time() < until else None

    def _of_version(self, viewer: Viewer, node: Node, version: Version) -> Iterator[tuple[str, str | None]]:
        yield "version", version_text(version)
        yield "etag", version.etag
        yield "last_modified", _second(version.last_modified)
        yield "pinned", "1" if self._holdings.is_pinned(node.path) else None
        known = self._metadata.load_entry(viewer, node.path) if node.kind is Kind.FILE else None
        is_current = known is not None and known.entry is not None and known.entry.version == version
        yield "validated_at", _second(known.fetched_at) if known is not None and is_current else None


def version_text(version: Version) -> str:
    """What tells this version from all others of the file: time, size and ETag, as far as the server gives them."""
    modified = "-" if version.last_modified is None else str(version.last_modified)
    parts = [modified, str(version.size), version.etag or "-"]
    return ":".join([*parts, f"seen-{version.unsettled_at}"] if version.unsettled_at else parts)


def ranges_text(ranges: Ranges) -> str:
    """``0-1048575,4194304-5242879``: first and last byte of each, as in HTTP."""
    text = ",".join(f"{first}-{stop - 1}" for first, stop in ranges)
    return text if len(text) <= MAX_VALUE_BYTES else text[:MAX_VALUE_BYTES].rpartition(",")[0] + ",..."


def _of_holding(holding: Holding) -> Iterator[tuple[str, str | None]]:
    yield "cached_bytes", str(holding.cached_bytes)
    yield "cached_ranges", ranges_text(holding.cached) or None
    yield "owner", ",".join(holding.owners)[: MAX_VALUE_BYTES // 4] or None
    yield "fetched_at", _second(holding.fetched_at)


def _second(moment: float | None) -> str | None:
    return None if moment is None else str(int(moment))
