"""Taking back what the kernel holds, when somebody loses the right to it.

The difficulty: pages that are in the kernel's page cache are read without a request to us, by ``read`` as by ``mmap``,
for as long as the file is open; and whoever still may read brings them back into that cache, which is common to
all. So the proofs of all who hold files open are watched, and kept young, whether they ask for anything or not. When one
is lost the inode is *barred*: its pages are dropped, its attributes get no timeout (so that the kernel asks us at each
``read`` whether the reader may), and what others read of it is dropped again. A bar is no denial: it only brings the
reads to us, and who may read goes on. So it comes before a proof ends to which no answer has renewed it, too: what is
shown after that is shown by us, who wait for the answer.

An outage bars nothing for long: the last answer stands, as everywhere.

Names that the kernel keeps (where one user has the mount to himself) end with the proof that they were told on; when
his token goes or becomes another, those of catalogs, schemas and volumes are taken back at once.

While no file is open, and all names that were told have ended by themselves, there is nothing to take back: then nobody
looks, until the next open or name.
"""

from __future__ import annotations

import logging
import math
from typing import Protocol

import trio

from fuse4dbricks.cache.connectivity import HOLD_SECONDS, is_outage
from fuse4dbricks.entry import Kind
from fuse4dbricks.errors import Fuse4dbricksError
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Token
from fuse4dbricks.vfs.handles import HandleTable, OpenFile
from fuse4dbricks.vfs.inodes import InodeTable, Node

logger = logging.getLogger("fuse4dbricks.vfs")

#: Looks per permission TTL: a proof is renewed from half of it on, so that the answer is seen before it ends.
LOOKS_PER_TTL = 5
MIN_PAUSE_SECONDS = 0.1
#: So long before the end of a proof that nobody has renewed pages are dropped, because that takes a moment: a tenth of
#: the TTL, but at most this.
DROP_AHEAD_SECONDS = 1.0
#: Between two droppings of pages that others read again, seconds: that long a mapping of his may show them.
DROP_PAUSE_SECONDS = 0.1
_BOUNDARY = frozenset({Kind.CATALOG, Kind.SCHEMA, Kind.VOLUME})
#: Local users whose tokens are watched: a mount whose names the kernel keeps has one.
MAX_USERS = 16


class KernelCache(Protocol):
    """What the kernel keeps of a mount."""

    async def drop(self, ino: int) -> None:
        """Forget pages and attributes of an inode; returns when that is done, which waits for reads of it under way."""
        ...

    async def drop_name(self, parent_ino: int, name: bytes) -> None:
        """Forget where a name leads, and all that is below it."""
        ...


class Rights(Protocol):
    """What local users may be shown, as :class:`~fuse4dbricks.vfs.gate.Gate` tells."""

    def get_holder_seconds(self, uid: int, path: RemotePath) -> float:
        """Seconds for which it is proved."""
        ...

    async def check_holder(self, uid: int, path: RemotePath) -> None:
        """Return when it may be shown."""
        ...

    async def renew_holder(self, uid: int, path: RemotePath) -> None:
        """The same, asked now."""
        ...

    def get_identity(self, uid: int) -> Token | None:
        """The token in use."""
        ...


class Recalls:
    """Watches the proofs of those who hold files open, and the tokens of those who were told names."""

    def __init__(self, handles: HandleTable, inodes: InodeTable, rights: Rights) -> None:
        self._handles = handles
        self._inodes = inodes
        self._rights = rights
        self._identities: dict[int, Token] = {}
        self._judging: set[tuple[int, RemotePath]] = set()
        self._dropping: set[int] = set()
        self._due: set[int] = set()
        self._bell = trio.Event()
        self._alarm = trio.Event()
        self._told_at = -math.inf
        self._is_telling = False
        self._is_asleep = False

    async def run(self, kernel: KernelCache, permission_ttl: float) -> None:
        """Watch until cancelled."""
        pause = max(MIN_PAUSE_SECONDS, permission_ttl / LOOKS_PER_TTL)
        # As long as the kernel may keep a name, at most, and how exactly we know when it was told.
        kept = max(permission_ttl, HOLD_SECONDS) + pause
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._drop_what_is_due, kernel, nursery)
            while True:
                self._alarm, self._is_asleep = trio.Event(), False
                if names := self._lost_names():
                    nursery.start_soon(self._take_back, kernel, names)
                held = self._held()
                for key, path in held.items():
                    if key not in self._judging:
                        self._judging.add(key)
                        nursery.start_soon(self._judge, key, path, permission_ttl)
                self._forget_ended_names(kept)
                self._is_asleep = not held and not self._identities
                with trio.move_on_after(math.inf if self._is_asleep else pause):
                    await self._alarm.wait()

    def note_user(self, uid: int, token: Token) -> None:
        """Somebody is told a name, or what it stands for, which the kernel may keep."""
        if uid not in self._identities and len(self._identities) < MAX_USERS:
            self._identities[uid] = token
        self._is_telling = True
        self._wake()

    def note_opened(self) -> None:
        """A file is open that was not."""
        self._wake()

    def _wake(self) -> None:
        if self._is_asleep:
            self._alarm.set()

    def look_now(self) -> None:
        """Somebody's token is another one: do not wait for the next look."""
        self._alarm.set()

    def note_read(self, node: Node) -> None:
        """Somebody who may read it was given bytes of the inode, which the kernel keeps."""
        if node.bars:
            self._ask_to_drop(node.ino)

    def note_released(self, handle: OpenFile) -> None:
        """The handle is closed."""
        self._lift(handle)

    # --- names -----------------------------------------------------------------------------------

    def _lost_names(self) -> list[tuple[int, bytes, int]]:
        """What was told to those whose token is another one now: inode of the folder, name, inode."""
        lost = [uid for uid, token in self._identities.items() if self._rights.get_identity(uid) != token]
        for uid in lost:
            del self._identities[uid]
        return [
            (node.parent.ino, node.name.encode(), node.ino)
            for node in (self._inodes if lost else ())
            if node.parent is not None and node.kind in _BOUNDARY
        ]

    def _forget_ended_names(self, kept: float) -> None:
        """Nothing was told for so long that the kernel keeps nothing of it."""
        now = trio.current_time()
        if self._is_telling:
            self._told_at, self._is_telling = now, False
        elif now - self._told_at > kept:
            self._identities.clear()

    @staticmethod
    async def _take_back(kernel: KernelCache, names: list[tuple[int, bytes, int]]) -> None:
        for parent_ino, name, ino in names:
            await kernel.drop_name(parent_ino, name)
            await kernel.drop(ino)

    # --- judging ---------------------------------------------------------------------------------

    def _held(self) -> dict[tuple[int, RemotePath], RemotePath]:
        """Who holds something open in which volume, with one path of it."""
        return {(each.uid, each.path.volume): each.path for each in self._handles.open_files()}

    async def _judge(self, key: tuple[int, RemotePath], path: RemotePath, permission_ttl: float) -> None:
        uid, volume = key
        try:
            left = self._rights.get_holder_seconds(uid, path)
            if 0 < left <= permission_ttl / 2:
                ahead = min(DROP_AHEAD_SECONDS, permission_ttl / 10)
                if not await self._renew_in_time(uid, path, left - ahead):
                    return  # barred, and the proof that still counts is no reason to lift that
            await self._rights.check_holder(uid, path)
        except Fuse4dbricksError as error:
            if not is_outage(error):
                self._bar(uid, volume, error)
        else:
            self._lift_all(uid, volume)
        finally:
            self._judging.discard(key)

    async def _renew_in_time(self, uid: int, path: RemotePath, seconds: float) -> bool:
        """Ask now, and bar what nobody has said anything of in time: False.

        Raises:
            Fuse4dbricksError: he may not read it any more.
        """
        with trio.move_on_after(max(0.0, seconds)) as waiting:
            try:
                await self._rights.renew_holder(uid, path)
            except Fuse4dbricksError as error:
                if not is_outage(error):
                    raise
        if waiting.cancelled_caught:
            self._bar(uid, path.volume, "no answer in time")
        return not waiting.cancelled_caught

    def _bar(self, uid: int, volume: RemotePath, reason: object) -> None:
        for handle in self._handles.open_files():
            if handle.uid == uid and handle.path.volume == volume and not handle.is_barred:
                logger.info(
                    "uid %d may not read %s without being asked for: %s",
                    uid,
                    volume,
                    reason,
                    extra={"rate_limit": 60},
                )
                handle.is_barred = True
                handle.node.bars += 1
                self._ask_to_drop(handle.node.ino)

    def _lift_all(self, uid: int, volume: RemotePath) -> None:
        for handle in self._handles.open_files():
            if handle.is_barred and handle.uid == uid and handle.path.volume == volume:
                self._lift(handle)

    @staticmethod
    def _lift(handle: OpenFile) -> None:
        if handle.is_barred:
            handle.is_barred = False
            handle.node.bars -= 1

    # --- dropping --------------------------------------------------------------------------------

    def _ask_to_drop(self, ino: int) -> None:
        self._due.add(ino)
        self._bell.set()

    async def _drop_what_is_due(self, kernel: KernelCache, nursery: trio.Nursery) -> None:
        """Each inode in a task of its own, because one whose reads are stuck is dropped late."""
        while True:
            await self._bell.wait()
            self._bell = trio.Event()
            for ino in self._due - self._dropping:
                self._due.discard(ino)
                self._dropping.add(ino)
                nursery.start_soon(self._drop, kernel, ino)
            await trio.sleep(DROP_PAUSE_SECONDS)

    async def _drop(self, kernel: KernelCache, ino: int) -> None:
        try:
            await kernel.drop(ino)
        finally:
            self._dropping.discard(ino)
        if ino in self._due:
            self._bell.set()
