"""One order and one answer, each a line of JSON.

The difficulty: the other end may be of another version, stuck, or not ours at all. So a line has a limit, a wait has an
end, and whatever is not understood is refused in words.
"""

from __future__ import annotations

import json
from typing import Any

import trio

from fuse4dbricks.chunks.layout import CONTROL
from fuse4dbricks.errors import UserError

#: Bytes of a line: an order of 500 chunk names has 18 KB.
MAX_LINE = 64 * 1024

#: A working order takes so many seconds of the mount's time at once; the command repeats it.
WORK_SECONDS = 3.0

#: Seconds for an order: its work, a batch that hangs on the disk, and the line.
ANSWER_SECONDS = 60.0

#: JSON objects.
Order = dict[str, Any]
Answer = dict[str, Any]


class OrderRefused(UserError):
    """The order could not be carried out."""

    exit_code = 4


def path_of(folder_fd: int) -> str:
    """The socket's path by the folder's descriptor: a path of a socket has 108 bytes at most, a folder's 4096."""
    return f"/proc/self/fd/{folder_fd}/{CONTROL}"


async def send(stream: trio.SocketStream, message: Answer) -> None:
    """Send one line."""
    await stream.send_all(json.dumps(message).encode() + b"\n")


async def receive(stream: trio.SocketStream) -> dict[str, Any]:
    """The next line.

    Raises:
        OrderRefused: too long, cut, or no JSON object.
    """
    line = b""
    while not line.endswith(b"\n"):
        piece = await stream.receive_some(MAX_LINE)
        line += piece
        if not piece or len(line) > MAX_LINE:
            raise OrderRefused("the other end does not speak as a cache does")
    try:
        message = json.loads(line)
    except ValueError:
        raise OrderRefused("the other end does not speak JSON") from None
    if not isinstance(message, dict):
        raise OrderRefused("the other end sends no object")
    return message
