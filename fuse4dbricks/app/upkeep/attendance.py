"""Whoever carries out an order: the mount that works in the folder, or this process with the lock in its hand.

The difficulty: between a look at the folder and an order a mount may start or end. So nothing is looked at: who answers
the socket has the folder, and if nobody does the lock is taken, or the refusal says who has it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio

from fuse4dbricks.app.storage import take_stock
from fuse4dbricks.app.upkeep.orders import obey
from fuse4dbricks.app.upkeep.wire import ANSWER_SECONDS, Answer, OrderRefused, path_of, receive, send
from fuse4dbricks.cache.disk import DiskLimits, DiskTier
from fuse4dbricks.cache.storing.upkeep import Upkeep
from fuse4dbricks.chunks import CacheFolder, ChunkStore
from fuse4dbricks.clock import SystemClock
from fuse4dbricks.concurrency.supervise import supervised
from fuse4dbricks.errors import CacheError, CacheFolderError
from fuse4dbricks.index.index import Index
from fuse4dbricks.index.workspaces import NOBODY
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.units import DEFAULT_CHUNK_SIZE

#: Gives an order and returns the answer. ``OrderRefused``.
Give = Callable[[str, dict[str, object]], Awaitable[Answer]]

#: Seconds for the mount to take a connection.
CONNECT_SECONDS = 5.0

#: An upkeep alone neither stores nor evicts by itself, so it needs no limit.
NO_LIMIT = DiskLimits(max_bytes=1 << 62)


@asynccontextmanager
async def attended(path: Path) -> AsyncIterator[Give]:
    """A way to give orders to the cache in the folder ``path``, for the length of a block.

    Raises:
        CacheFolderError: it cannot be used, or its mount does not answer.
    """
    with CacheFolder.open(path, exclusive=False) as folder:
        is_served = await _is_served(folder.fd)
        if is_served:

            async def give(order: str, arguments: dict[str, object]) -> Answer:
                return await ask(folder.fd, {"order": order, **arguments})

            yield give
    if not is_served:
        async with _alone(path) as upkeep:

            async def do(order: str, arguments: dict[str, object]) -> Answer:
                return await obey(upkeep, {"order": order, **arguments})

            yield do


async def is_mounted(folder: CacheFolder) -> bool:
    """Whether a mount answers at the folder's socket."""
    return await _is_served(folder.fd)


async def _is_served(folder_fd: int) -> bool:
    try:
        async with await connect(folder_fd):
            return True
    except (OSError, trio.TooSlowError):
        return False


async def connect(folder_fd: int) -> trio.SocketStream:
    """A connection to the mount that uses the folder; OSError, trio.TooSlowError."""
    with trio.fail_after(CONNECT_SECONDS):
        return await trio.open_unix_socket(path_of(folder_fd))


async def ask(folder_fd: int, order: Answer) -> Answer:
    """Give one order to the mount that uses the folder.

    Raises:
        OrderRefused: it refuses, or has gone.
    """
    try:
        with trio.fail_after(ANSWER_SECONDS):
            async with await connect(folder_fd) as stream:
                await send(stream, order)
                reply = await receive(stream)
    except (OSError, trio.BrokenResourceError) as error:
        raise OrderRefused(f"the mount that uses the cache has gone: {error}") from error
    except trio.TooSlowError:
        raise OrderRefused(
            f"the mount that uses the cache did not answer in {ANSWER_SECONDS:.0f} s"
        ) from None
    if "refused" in reply:
        code = reply.get("code")
        raise OrderRefused(str(reply["refused"]), code if isinstance(code, int) else 4)
    answer = reply.get("answer")
    if not isinstance(answer, dict):
        raise OrderRefused("the mount that uses the cache answers something else")
    return answer


@asynccontextmanager
async def _alone(path: Path) -> AsyncIterator[Upkeep]:
    clock, metrics = SystemClock(), Metrics()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(CacheFolder.open(path))
        try:
            index = await Index.open(folder.index_path, workspace=NOBODY, clock=clock, metrics=metrics)
        except CacheError as error:
            raise CacheFolderError(f"cannot use the cache folder {path}: {error}") from error
        stack.push_async_callback(index.aclose)
        await take_stock(index, folder)
        store = ChunkStore(folder, clock)
        stack.callback(store.close)
        supervisor = await stack.enter_async_context(supervised(metrics))
        tier = DiskTier(
            index=index,
            store=store,
            folder=folder,
            workspace=NOBODY,
            chunk_size=DEFAULT_CHUNK_SIZE,
            limits=NO_LIMIT,
            supervisor=supervisor,
            metrics=metrics,
            clock=clock,
        )
        assert tier.upkeep is not None
        supervisor.run_forever("sweep", tier.upkeep.stock.run_on_demand)
        yield tier.upkeep
