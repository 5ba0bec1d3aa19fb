"""A disk that loses power: what SQLite wrote and did not sync arrives in part, or not at all, in any order.

The difficulty: a real power cut takes minutes to stage and shows one outcome of thousands. So a VFS records what SQLite
does to each file, once, and afterwards any number of cuts is made of the record: what was synced is there, and each
512-byte sector of what was not is there or is not, as chance has it.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import apsw

#: What a disk writes whole or not at all.
SECTOR = 512


@dataclass(frozen=True, slots=True)
class Event:
    """What was done to a file.

    Attributes:
        what: ``write``, ``truncate``, ``sync``, ``delete``; ``ack`` and ``gone`` for what the workload was told is done.
        name: of the file, without its folder.
        offset: of a write; the size, of a truncation; a number, of what was told.
        content: of a write.
    """

    what: str
    name: str
    offset: int = 0
    content: bytes = b""


class _RecordedFile(apsw.VFSFile):
    def __init__(self, events: list[Event], name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._name = Path(path or "temporary").name
        self._events = events

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._events.append(Event("write", self._name, offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._events.append(Event("truncate", self._name, newsize))
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._events.append(Event("sync", self._name))


class _RecordingVfs(apsw.VFS):
    def __init__(self, name: str, events: list[Event]) -> None:
        super().__init__(name, "unix", makedefault=True)
        self._events = events

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _RecordedFile(self._events, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, syncdir)
        self._events.append(Event("delete", Path(filename).name))


@contextmanager
def recorded() -> Iterator[list[Event]]:
    """For the length of a block every database that this process opens is recorded."""
    events: list[Event] = []
    vfs = _RecordingVfs("recorded", events)
    try:
        yield events
    finally:
        vfs.unregister()
        apsw.VFS("unix-again", "unix", makedefault=True)


@dataclass
class TornDisk:
    """The files as the record goes on.

    Attributes:
        lies: the disk says that it has synced, and has not.
        acknowledged, gone: numbers that the workload was told are written, and deleted.
        safe: what was written before something was synced last, and so must be there.
    """

    lies: bool = False
    acknowledged: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)
    safe: set[int] = field(default_factory=set)
    _durable: dict[str, bytearray] = field(default_factory=dict)
    _pending: dict[str, list[Event]] = field(default_factory=dict)

    def go_on(self, events: Iterable[Event]) -> None:
        """Have more of the record happen."""
        for event in events:
            if event.what in {"ack", "gone"}:
                (self.acknowledged if event.what == "ack" else self.gone).add(event.offset)
            elif event.what == "delete":
                # SQLite syncs the folder with it: a journal that came back would undo what was committed since.
                self._durable.pop(event.name, None)
                self._pending.pop(event.name, None)
            elif event.what != "sync":
                self._pending.setdefault(event.name, []).append(event)
            elif not self.lies:
                self.safe = set(self.acknowledged)
                content = self._durable.setdefault(event.name, bytearray())
                for each in self._pending.pop(event.name, []):
                    _apply(content, each)

    def cut(self, folder: Path, chance: random.Random) -> int:
        """Put what is left after a power cut into ``folder``; how many sectors are lost."""
        lost = 0
        kept = chance.choice((0.0, 0.5, 0.9, 0.99, 1.0))
        for name in {*self._durable, *self._pending}:
            content = bytearray(self._durable.get(name, b""))
            for event in self._pending.get(name, ()):
                for sector in _sectors(event):
                    if chance.random() < kept:
                        _apply(content, sector)
                    else:
                        lost += 1
            if content:
                (folder / name).write_bytes(content)
        return lost


def _sectors(event: Event) -> Iterator[Event]:
    if event.what != "write":
        yield event
        return
    for start in range(0, len(event.content), SECTOR):
        piece = event.content[start : start + SECTOR]
        yield Event("write", event.name, event.offset + start, piece)


def _apply(content: bytearray, event: Event) -> None:
    if event.what == "truncate":
        del content[event.offset :]
        return
    end = event.offset + len(event.content)
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    content[event.offset : end] = event.content
