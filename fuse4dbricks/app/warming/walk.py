"""Walking below paths in the name of a local user, folder by folder.

The difficulty: a tree may have a million folders, some of which he may not read and others vanish under way, and the
workspace may go away altogether. What is wrong with one folder is told and passed over; an outage, and a token that is
not good any more, end the walk, because they would be told once for each folder.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import trio

from fuse4dbricks.app.warming.scene import File, Progress, WarmScene
from fuse4dbricks.entry import Entry, Kind
from fuse4dbricks.errors import (
    Fuse4dbricksError,
    InvalidToken,
    NotADirectory,
    NotFound,
    NoToken,
    RemoteError,
    Unreachable,
)
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.tokens import Viewer

T = TypeVar("T")

#: Folders listed at once: what is left to metadata beside eight downloads.
WALKERS = 3

#: Takes the files that are directly in a folder (or a single file, with its folder).
Visit = Callable[[RemotePath, Sequence[File]], Awaitable[None]]


def is_final(error: Fuse4dbricksError) -> bool:
    """Whether it would be the same for everything else."""
    return isinstance(error, NoToken | InvalidToken | Unreachable)


class Surveyor:
    """Looks at the tree for one local user."""

    def __init__(self, scene: WarmScene, uid: int) -> None:
        self._scene = scene
        self.uid = uid

    async def as_viewer(self, ask: Callable[[Viewer], Awaitable[T]]) -> T:
        """Ask something in his name; once more when his token was refused and there is another."""
        gate = self._scene.gate
        try:
            return await ask(await gate.resolve_viewer(self.uid))
        except InvalidToken:
            if not await gate.has_other_token(self.uid):
                raise
        return await ask(await gate.resolve_viewer(self.uid))

    async def resolve(self, path: RemotePath) -> tuple[RemotePath, Entry | None]:
        """The path in the server's spelling, and what is there; None for the root of all.

        Raises:
            NotFound: nothing, or nothing that this mount shows.
            RemoteError, NoToken: he may not, or it cannot be said.
        """
        found, entry = RemotePath(), None
        for depth, part in enumerate(path.parts, start=1):
            found = found.child(part)
            if depth > 3 and depth < path.depth:
                continue  # names in volumes are what they are
            if not self._scene.visibility.shows(found):
                raise NotFound(f"no {found}")
            entry = await self._entry_at(found)
            found = found.parent.child(entry.name)
        return found, entry

    async def _entry_at(self, path: RemotePath) -> Entry:
        known = await self.as_viewer(lambda viewer: self._scene.gate.resolve_entry(viewer, path))
        if known.entry is None:
            raise NotFound(f"no {path}")
        return known.entry

    async def file_at(self, path: RemotePath) -> File:
        """A file as it is now.

        Raises:
            NotFound: there is none.
            RemoteError, NoToken: he may not, or it cannot be said.
        """
        entry = await self._entry_at(path)
        if entry.version is None:
            raise NotFound(f"{path} is no file")
        return path, entry.version

    async def list_folder(self, path: RemotePath) -> tuple[list[RemotePath], list[File]]:
        """The folders and the files that are in a folder.

        Raises:
            RemoteError, NoToken: he may not, it is gone, or it cannot be said.
        """
        return await self.as_viewer(lambda viewer: self._list(viewer, path))

    async def _list(self, viewer: Viewer, path: RemotePath) -> tuple[list[RemotePath], list[File]]:
        listings = self._scene.metadata.listings
        listing = await self._scene.gate.open_listing(viewer, path)
        while not listing.is_complete:
            await listings.extend(viewer, listing)
        folders: list[RemotePath] = []
        files: list[File] = []
        for entry in listing.entries:
            child = path.child(entry.name)
            if entry.kind.is_directory:
                if self._scene.visibility.shows(child):
                    folders.append(child)
            elif listing.is_doubtful(entry) or entry.version is None:
                files.append(await self.file_at(child))
            else:
                files.append((child, entry.version))
        return folders, files


async def walk(surveyor: Surveyor, roots: Sequence[RemotePath], visit: Visit, progress: Progress) -> None:
    """Show all files at and below ``roots`` to ``visit``, which is called by several tasks.

    Raises:
        RemoteError, NoToken: the rest would fail the same way.
    """
    await _Walk(surveyor, roots, visit, progress).run()


class _Walk:
    def __init__(
        self, surveyor: Surveyor, roots: Sequence[RemotePath], visit: Visit, progress: Progress
    ) -> None:
        self._surveyor = surveyor
        self._visit = visit
        self._progress = progress
        self._roots = list(reversed(roots))
        self._folders: list[RemotePath] = []
        self._seen_roots: set[RemotePath] = set()
        self._busy = 0
        self._changed = trio.Event()
        self._fatal: Fuse4dbricksError | None = None

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(WALKERS):
                nursery.start_soon(self._work)
        if self._fatal is not None:
            raise self._fatal

    async def _work(self) -> None:
        while self._fatal is None:
            if self._folders or self._roots:
                await self._step()
            elif self._busy:
                await self._changed.wait()
            else:
                return

    async def _step(self) -> None:
        # Folders first: what waits is then as much as one branch has, not as much as all of them.
        is_root = not self._folders
        path = self._roots.pop() if is_root else self._folders.pop()
        self._busy += 1
        try:
            await (self._enter_root(path) if is_root else self._enter(path))
        except (RemoteError, NoToken, NotADirectory) as error:
            if is_final(error):
                self._fatal = error
            else:
                self._progress.absent += is_root and isinstance(error, NotFound)
                self._progress.note_problem(path, error)
        finally:
            self._busy -= 1
            changed, self._changed = self._changed, trio.Event()
            changed.set()

    async def _enter_root(self, given: RemotePath) -> None:
        path, entry = await self._surveyor.resolve(given)
        if path in self._seen_roots:
            return
        self._seen_roots.add(path)
        if entry is not None and entry.kind is Kind.FILE:
            await self._visit(path.parent, [await self._surveyor.file_at(path)])
        else:
            await self._enter(path)

    async def _enter(self, path: RemotePath) -> None:
        folders, files = await self._surveyor.list_folder(path)
        self._progress.folders += 1
        self._folders.extend(reversed(folders))
        if files:
            await self._visit(path, files)
