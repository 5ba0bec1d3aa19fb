"""Orders that take long, from the side of who waits for them.

The difficulty: hours may pass between the first line and the last, and in between the mount may end, hang, or be killed. So
each line is waited for with a limit, whoever has gone is said to have gone, and hanging up (Ctrl-C) ends the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import trio

from fuse4dbricks.app.upkeep.attendance import connect, is_mounted
from fuse4dbricks.app.upkeep.wire import ANSWER_SECONDS, Answer, HungUp, Lines, OrderRefused, send
from fuse4dbricks.app.warming.alone import attending_alone
from fuse4dbricks.chunks import CacheFolder
from fuse4dbricks.config import MountConfig
from fuse4dbricks.errors import CacheFolderError

#: Paths in one line: of 500 bytes each they make 50 KB; longer ones get a line with fewer.
PATHS_PER_LINE = 100
LINE_BYTES = 50_000

OnProgress = Callable[[Answer], None]


async def have_done(
    folder: Path,
    order: Answer,
    paths: Sequence[str],
    on_progress: OnProgress,
    get_config: Callable[[], MountConfig],
) -> Answer:
    """Have a ``warm`` or ``pin`` order carried out: by the mount that uses the folder, or here.

    Args:
        folder: the cache folder.
        order: its name and fields.
        paths: ``/Volumes/…``.
        on_progress: told how far it is, a few times a second.
        get_config: how to mount, for when nobody has; may raise ``UserError`` to say that it takes more options.

    Raises:
        CacheFolderError, OrderRefused: it cannot be done, or not to its end.
    """
    if await _is_served(folder):
        with CacheFolder.open(folder, exclusive=False) as opened:
            return await _follow(opened.fd, order, paths, on_progress)
    async with attending_alone(get_config()) as attendant:
        task = attendant.begin(order, list(paths), attendant.owner_uid)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_look_on, task.progress.snapshot, on_progress)
            failure: OrderRefused | None = None
            try:
                answer = await task.run()
            except OrderRefused as refusal:
                failure = refusal
            nursery.cancel_scope.cancel()
        on_progress(task.progress.snapshot())
        if failure is not None:
            raise failure
        return answer


async def _is_served(folder: Path) -> bool:
    try:
        with CacheFolder.open(folder, exclusive=False) as opened:
            return await is_mounted(opened)
    except CacheFolderError:
        return False  # what is wrong with it, who wants to use it alone is told


async def _look_on(get_progress: Callable[[], Answer], on_progress: OnProgress) -> None:
    while True:
        on_progress(get_progress())
        await trio.sleep(0.5)


async def _follow(folder_fd: int, order: Answer, paths: Sequence[str], on_progress: OnProgress) -> Answer:
    batches = list(_batches(paths))
    try:
        async with await connect(folder_fd) as stream:
            with trio.fail_after(ANSWER_SECONDS):
                await send(stream, {**order, "lines": len(batches)})
                for batch in batches:
                    await send(stream, {"paths": batch})
            lines = Lines(stream)
            while True:
                with trio.fail_after(ANSWER_SECONDS):
                    reply = await lines.receive()
                if "progress" not in reply:
                    return _answer(reply)
                on_progress(reply["progress"])
    except (OSError, trio.BrokenResourceError, HungUp) as error:
        raise OrderRefused(
            "the mount that uses the cache has gone; what was fetched stays, and running it again goes on"
        ) from error
    except trio.TooSlowError:
        raise OrderRefused(
            f"the mount that uses the cache has said nothing for {ANSWER_SECONDS:.0f} s"
        ) from None


def _answer(reply: Answer) -> Answer:
    if "refused" in reply:
        code = reply.get("code")
        raise OrderRefused(str(reply["refused"]), code if isinstance(code, int) and 0 < code < 126 else 4)
    answer = reply.get("answer")
    if not isinstance(answer, dict):
        raise OrderRefused("the mount that uses the cache answers something else")
    return answer


def _batches(paths: Sequence[str]) -> list[list[str]]:
    batches: list[list[str]] = []
    room = 0
    for path in paths:
        size = 6 * len(path) + 4  # as JSON escapes it at worst
        if not batches or size > room or len(batches[-1]) >= PATHS_PER_LINE:
            batches.append([])
            room = LINE_BYTES
        batches[-1].append(path)
        room -= size
    return batches
