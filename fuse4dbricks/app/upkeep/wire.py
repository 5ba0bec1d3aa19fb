"""Orders and answers, each a line of JSON.

The difficulty: the other end may be of another version, stuck, or not ours at all. So a line has a limit, a wait has an
end, and whatever is not understood is refused in words.

Most orders are answered at once. One that takes long is answered by lines that say how far it is, before the one that ends
it; hanging up ends the work.
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

#: Seconds between two lines about work that takes long.
TELL_SECONDS = 0.5

#: JSON objects.
Order = dict[str, Any]
Answer = dict[str, Any]


class OrderRefused(UserError):
    """The order could not be carried out.

    Args:
        message: why, and what to do.
        exit_code: what the command ends with.
    """

    def __init__(self, message: str, exit_code: int = 4) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class HungUp(OrderRefused):
    """The other end has gone in the middle."""


def path_of(folder_fd: int) -> str:
    """The socket's path by the folder's descriptor: a path of a socket has 108 bytes at most, a folder's 4096."""
    return f"/proc/self/fd/{folder_fd}/{CONTROL}"


async def send(stream: trio.SocketStream, message: Answer) -> None:
    """Send one line."""
    await stream.send_all(json.dumps(message).encode() + b"\n")


async def receive(stream: trio.SocketStream) -> dict[str, Any]:
    """The only line that is expected.

    Raises:
        OrderRefused: too long, cut, or no JSON object.
    """
    return await Lines(stream).receive()


class Lines:
    """Reads line by line."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._rest = b""

    async def receive(self) -> dict[str, Any]:
        """The next line.

        Raises:
            HungUp: there is none.
            OrderRefused: too long, cut, or no JSON object.
        """
        while b"\n" not in self._rest:
            piece = await self._stream.receive_some(MAX_LINE)
            self._rest += piece
            if not self._rest:
                raise HungUp("the other end has gone")
            if not piece or (len(self._rest) > MAX_LINE and b"\n" not in self._rest):
                raise OrderRefused("the other end does not speak as a cache does")
        line, _, self._rest = self._rest.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError:
            raise OrderRefused("the other end does not speak JSON") from None
        if not isinstance(message, dict):
            raise OrderRefused("the other end sends no object")
        return message
