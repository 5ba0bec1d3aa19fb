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

from fuse4dbricks.app.upkeep.orders import obey
from fuse4dbricks.app.upkeep.wire import ANSWER_SECONDS, OrderRefused, path_of, receive, send
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

_CREDENTIALS = struct.Struct("3i")


async def serve_orders(folder: CacheFolder, upkeep: Upkeep) -> None:
    """Take orders until cancelled; where there can be no socket (a full disk), try again from time to time."""
    while True:
        try:
            await _serve(folder, upkeep)
        except* OSError as failed:
            why = failed.exceptions[0]
            logger.warning("no orders to the cache can be taken now: %s", why, extra={"rate_limit": 60})
        await trio.sleep(RETRY)


async def _serve(folder: CacheFolder, upkeep: Upkeep) -> None:
    turns = trio.CapacityLimiter(CLIENTS)
    with _listening(folder) as listener:
        try:
            async with trio.open_nursery() as nursery:
                while True:
                    token = object()
                    await turns.acquire_on_behalf_of(token)
                    stream, _ = await listener.accept()
                    nursery.start_soon(_serve_one, trio.SocketStream(stream), upkeep, turns, token)
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
    stream: trio.SocketStream, upkeep: Upkeep, turns: trio.CapacityLimiter, token: object
) -> None:
    try:
        async with stream:
            with trio.move_on_after(ANSWER_SECONDS):
                await _answer(stream, upkeep)
    except (OSError, trio.BrokenResourceError):
        pass  # the other end has gone: nobody is left to be told
    finally:
        turns.release_on_behalf_of(token)


async def _answer(stream: trio.SocketStream, upkeep: Upkeep) -> None:
    try:
        _check_peer(stream)
        with trio.fail_after(LISTEN_SECONDS):
            order = await receive(stream)
        answer = {"answer": await obey(upkeep, order)}
    except OrderRefused as refusal:
        await send(stream, {"refused": str(refusal)})
    except trio.TooSlowError:
        await send(stream, {"refused": f"no order came within {LISTEN_SECONDS:.0f} s"})
    except Exception:  # a mistake in one order must neither end the service nor leave its client waiting
        logger.exception("an order to the cache failed", extra={"rate_limit": 60})
        await send(stream, {"refused": "it failed unexpectedly; the mount's log says how"})
    else:
        await send(stream, answer)


def _check_peer(stream: trio.SocketStream) -> None:
    raw = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    if uid not in {0, os.geteuid()}:
        raise OrderRefused("only the user who mounted, and root, may give orders to this cache")
