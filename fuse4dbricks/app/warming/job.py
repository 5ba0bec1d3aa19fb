"""One filling of the cache, from the look at what there is to the check of what has come.

The difficulty: bytes and calls are to be told before the first is fetched, so everything is walked twice; and a list of all
files between the two walks could be larger than the machine. So only the folders in which something is missing are
remembered; their listings are in RAM or in the index by then, and a set that takes hours is looked at again as it is.
Nothing else is remembered either: what is here is not missing, so an interrupted run goes on by being run again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import trio

from fuse4dbricks.app.upkeep.wire import OrderRefused
from fuse4dbricks.app.warming.fetch import Fetcher, bytes_of, fetch_all, ranges_of
from fuse4dbricks.app.warming.scene import File, Progress, WarmScene, Wish
from fuse4dbricks.app.warming.walk import Surveyor, is_final, walk
from fuse4dbricks.cache.storing.keeping import Keeping
from fuse4dbricks.errors import NoToken, RemoteError
from fuse4dbricks.paths import RemotePath
from fuse4dbricks.units import format_bytes

#: Files looked at before others in the loop get their turn: some 5 ms.
AT_ONCE = 100

#: What is to be fetched: all of a folder, or a single file.
_Todo = RemotePath | File


class WarmJob:
    """Fills the cache as somebody wishes.

    Attributes:
        progress: how far it is.
    """

    def __init__(self, scene: WarmScene, wish: Wish) -> None:
        self._scene = scene
        self._wish = wish
        self._keeping = scene.get_keeping()
        self._surveyor = Surveyor(scene, wish.uid)
        self._todo: list[_Todo] = []
        self.progress = Progress()

    async def run(self) -> None:
        """All of it.

        Raises:
            OrderRefused: it does not fit, or the cache takes no more.
            RemoteError, NoToken: the workspace cannot be asked any more in this user's name.
        """
        await self.look()
        if self._wish.is_dry_run:
            return
        self._check_fit()
        await self.fetch()
        if self._wish.is_checked:
            await self.check()
        self.progress.phase = "done"

    # --- looking ---------------------------------------------------------------------------------

    async def look(self) -> None:
        """Find out what is there and what of it is missing; what is here counts as used."""
        await walk(self._surveyor, self._wish.paths, self._count, self.progress)
        is_pinned = all(self._scene.pins.covers(path) for path in self._wish.paths)
        stays = 0 if is_pinned else self._scene.get_pinned_bytes()
        self.progress.room_bytes = max(0, self._keeping.get_capacity() - stays)

    async def _count(self, folder: RemotePath, files: Sequence[File]) -> None:
        progress = self.progress
        missing = progress.to_fetch_files
        for number, (path, version) in enumerate(files, start=1):
            runs = self._keeping.get_missing(path, version, is_use=not self._wish.is_dry_run)
            absent = sum(bytes_of(run, version, self._keeping) for run in runs)
            progress.files += 1
            progress.bytes += version.size
            progress.disk_bytes += self._keeping.get_disk_bytes(path, version)
            progress.cached_bytes += version.size - absent
            progress.to_fetch_bytes += absent
            progress.to_fetch_files += bool(runs)
            progress.calls += sum(1 for _ in ranges_of(runs, self._keeping))
            if number % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
        if progress.to_fetch_files > missing:
            is_single = len(files) == 1 and folder not in self._wish.paths
            self._todo.append(files[0] if is_single else folder)

    def _check_fit(self) -> None:
        progress = self.progress
        if progress.to_fetch_bytes and progress.disk_bytes > progress.room_bytes:
            raise OrderRefused(
                f"this takes {format_bytes(progress.disk_bytes)} of the disk, and the cache has room for "
                f"{format_bytes(progress.room_bytes)}: it would push itself out; choose less, or mount with a "
                "larger --disk-cache-gb"
            )

    # --- fetching --------------------------------------------------------------------------------

    async def fetch(self) -> None:
        """Fetch what is missing.

        Raises:
            OrderRefused: the cache takes no more.
            RemoteError, NoToken: the workspace cannot be asked any more in this user's name.
        """
        self.progress.phase = "fetching"
        fetcher = Fetcher(self._scene, self._surveyor, self._keeping, self.progress)
        send, receive = trio.open_memory_channel[tuple[File, range]](2 * self._wish.jobs)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feed, send, fetcher)
            async with receive:
                await fetch_all(fetcher, receive, self._wish.jobs)
        if fetcher.fatal is not None:
            raise fetcher.fatal

    async def _feed(self, send: trio.MemorySendChannel[tuple[File, range]], fetcher: Fetcher) -> None:
        async with send:
            with suppress(trio.BrokenResourceError):  # the fetcher has given up
                for todo in self._todo:
                    for file in await self._files_of(todo, fetcher):
                        for chunks in ranges_of(
                            self._keeping.get_missing(*file, is_use=False), self._keeping
                        ):
                            await send.send((file, chunks))
                    if fetcher.fatal is not None:
                        return

    async def _files_of(self, todo: _Todo, fetcher: Fetcher) -> Sequence[File]:
        if isinstance(todo, tuple):
            return [todo]
        try:
            return (await self._surveyor.list_folder(todo))[1]
        except (RemoteError, NoToken) as error:
            if is_final(error):
                fetcher.fatal = error
            else:
                self.progress.note_problem(todo, error)
            return []

    # --- checking --------------------------------------------------------------------------------

    async def check(self) -> None:
        """Read everything back.

        Raises:
            RemoteError, NoToken: it cannot be asked any more what there should be.
        """
        self.progress.phase = "checking"
        await walk(self._surveyor, self._wish.paths, self._check, Progress())

    async def _check(self, _folder: RemotePath, files: Sequence[File]) -> None:
        for path, version in files:
            if await self._is_sound(self._keeping, (path, version)):
                self.progress.checked_files += 1
                self.progress.checked_bytes += version.size
            else:
                self.progress.incomplete_files += 1
                self.progress.note_problem(path, "it is not in the cache as a whole, or not sound")
            await trio.lowlevel.checkpoint()

    @staticmethod
    async def _is_sound(keeping: Keeping, file: File) -> bool:
        for index in range(keeping.count_chunks(file[1])):
            if not await keeping.is_sound(*file, index):
                return False
        return True
