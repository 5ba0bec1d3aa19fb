"""The mount's end of the control socket.

The difficulty: whoever connects may send nothing, half a line or a megabyte, and may stay for ever; the mount must not
notice. So clients are few, each has its seconds, a line its limit, and only the user who mounted and root are heard: the
folder is closed to others, and the kernel says who is at the other end.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
from contextlib import suppress

import trio

from fuse4dbricks.app.upkeep.attendant import MAX_PATHS, Attendant, Task
from fuse4dbricks.app.upkeep.fields import numbered, texts
from fuse4dbricks.app.upkeep.orders import obey
from fuse4dbricks.app.upkeep.wire import (
    ANSWER_SECONDS,
    TELL_SECONDS,
    Answer,
    Lines,
    Order,
    OrderRefused,
    path_of,
    send,
)
from fuse4dbricks.cache.storing.upkeep import Upkeep
from fuse4dbricks.chunks import CacheFolder
from fuse4dbricks.chunks.layout import CONTROL

logger = logging.getLogger("fuse4dbricks.app")

#: Who is served at once, and who may wait for it.
CLIENTS = 4
BACKLOG = 16

#: Seconds for the order to arrive, and until the socket is tried again.
LISTEN_SECONDS = 5.0
RETRY = 60.0

#: Orders that take long, and how many of them are carried out at once.
LONG = frozenset({"warm", "pin"})
WORKERS = 2

_CREDENTIALS = struct.Struct("3i")


async def serve_orders(folder: CacheFolder, upkeep: Upkeep, attendant: Attendant | None = None) -> None:
    """Take orders until cancelled; where there can be no socket (a full disk), try again from time to time."""
    while True:
        try:
            await _serve(folder, Service(upkeep, attendant))
        except* OSError as failed:
            why = failed.exceptions[0]
            logger.warning("no orders to the cache can be taken now: %s", why, extra={"rate_limit": 60})
        await trio.sleep(RETRY)


async def _serve(folder: CacheFolder, service: Service) -> None:
    turns = trio.CapacityLimiter(CLIENTS)
    with _listening(folder) as listener:
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    token = object()
                    await turns.acquire_on_behalf_of(token)
                    stream, _ = await listener.accept()
                    nursery.start_soon(_serve_one, trio.SocketStream(stream), service, turns, token)
        finally:
            with suppress(OSError):
                os.unlink(CONTROL, dir_fd=folder.fd)


def _listening(folder: CacheFolder) -> trio.socket.SocketType:
    """The socket, in place of one that a killed mount has left: the folder's lock says that nobody listens to that."""
    with suppress(FileNotFoundError):
        os.unlink(CONTROL, dir_fd=folder.fd)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(path_of(folder.fd))
        os.chmod(CONTROL, 0o600, dir_fd=folder.fd)
        made.listen(BACKLOG)
        made.setblocking(False)
        return trio.socket.from_stdlib_socket(made)
    except BaseException:  # raised on: only the descriptor must not leak
        made.close()
        raise


async def _serve_one(
    stream: trio.SocketStream, service: Service, turns: trio.CapacityLimiter, token: object
) -> None:
    try:
        async with stream:
            reply = await service.serve(stream)
            if reply is not None:
                with trio.move_on_after(ANSWER_SECONDS):
                    await send(stream, reply)
    except (OSError, trio.BrokenResourceError):
        pass  # the other end has gone: nobody is left to be told
    finally:
        turns.release_on_behalf_of(token)


class Service:
    """Serves one client after the other, or a few at once.

    Args:
        upkeep: of the folder.
        attendant: for orders that need the workspace.
    """

    def __init__(self, upkeep: Upkeep, attendant: Attendant | None) -> None:
        self._upkeep = upkeep
        self._attendant = attendant
        self._at_work = 0

    async def serve(self, stream: trio.SocketStream) -> Answer | None:
        """Hear one order and carry it out; what to reply, or None when there is nobody to reply to.

        Raises:
            OSError, trio.BrokenResourceError: the client has gone.
        """
        try:
            answer = await self._obey(stream)
        except OrderRefused as refusal:
            return {"refused": str(refusal), "code": refusal.exit_code}
        except trio.TooSlowError:
            return {"refused": f"no order came within {LISTEN_SECONDS:.0f} s"}
        except (OSError, trio.BrokenResourceError):
            raise
        except Exception:  # a mistake in one order must neither end the service nor leave its client waiting
            logger.exception("an order to the cache failed", extra={"rate_limit": 60})
            return {"refused": "it failed unexpectedly; the mount's log says how"}
        return None if answer is None else {"answer": answer}

    async def _obey(self, stream: trio.SocketStream) -> Answer | None:
        uid = _check_peer(stream)
        lines = Lines(stream)
        with trio.fail_after(LISTEN_SECONDS):
            order = await lines.receive()
        if self._attendant is not None and order.get("order") in LONG:
            return await self._work(self._attendant, stream, lines, order, uid)
        with trio.move_on_after(ANSWER_SECONDS):
            return await obey(self._upkeep, order, self._attendant)
        return None

    async def _work(
        self, attendant: Attendant, stream: trio.SocketStream, lines: Lines, order: Order, uid: int
    ) -> Answer | None:
        if self._at_work >= WORKERS:
            raise OrderRefused(f"{WORKERS} others are filling the cache already; try again when one is done")
        self._at_work += 1
        try:
            paths = await _receive_paths(lines, order)
            task = attendant.begin(order, paths, await attendant.whose(uid))
            return await _watched(task, stream)
        finally:
            self._at_work -= 1


async def _receive_paths(lines: Lines, order: Order) -> list[str]:
    """What further lines of an order say; so many as it announces."""
    paths: list[str] = []
    for _ in range(int(numbered(order, "lines") or 0)):
        with trio.fail_after(LISTEN_SECONDS):
            paths += texts(await lines.receive(), "paths")
        if len(paths) > MAX_PATHS:
            raise OrderRefused(f"more than {MAX_PATHS} paths at once", 2)
    return paths


async def _watched(task: Task, stream: trio.SocketStream) -> Answer | None:
    """Do it while its client listens; None when he has gone."""
    failure: OrderRefused | None = None
    answer: Answer | None = None
    done = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_tell, task, stream, done, nursery.cancel_scope)
        try:
            answer = await task.run()
        except OrderRefused as refusal:
            failure = refusal
        done.set()
    if failure is not None:
        raise failure
    return answer


async def _tell(task: Task, stream: trio.SocketStream, done: trio.Event, work: trio.CancelScope) -> None:
    try:
        while not done.is_set():
            with trio.move_on_after(TELL_SECONDS):
                await done.wait()
            # A line that is begun is finished, or the answer would stand in the middle of it.
            with trio.fail_after(ANSWER_SECONDS):
                await send(stream, {"progress": task.progress.snapshot()})
    except (OSError, trio.BrokenResourceError, trio.TooSlowError):
        work.cancel()


def _check_peer(stream: trio.SocketStream) -> int:
    raw = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    if uid not in {0, os.geteuid()}:
        raise OrderRefused("only the user who mounted, and root, may give orders to this cache")
    return int(uid)
