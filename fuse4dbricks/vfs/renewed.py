"""A refused token is renewed once, and the operation done again.

The difficulty: a token may be revoked, or end early because two clocks differ, in the middle of a read that takes hours,
and whoever issues tokens would give another one at once. Every operation may meet this, at any of its calls. All of
them can be repeated: those that refuse a token have changed nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar, cast

from fuse4dbricks.errors import InvalidToken


class HasTokens(Protocol):
    """What the wrappers need of the object whose operations they wrap."""

    async def has_other_token(self, uid: int) -> bool:
        """Whether the user has a token now that was not refused; asks for one if need be."""
        ...

    def uid_of(self, number: int) -> int | None:
        """Who opened a handle."""
        ...


Operation = TypeVar("Operation", bound=Callable[..., Awaitable[Any]])


def renewed(operation: Operation) -> Operation:
    """Run ``operation(uid, …)`` once more when the token was refused and there is another."""

    @functools.wraps(operation)
    async def run(self: HasTokens, uid: int, *args: Any) -> Any:
        try:
            return await operation(self, uid, *args)
        except InvalidToken:
            if not await self.has_other_token(uid):
                raise
        return await operation(self, uid, *args)

    return cast(Operation, run)


def renewed_for_handle(operation: Operation) -> Operation:
    """The same for ``operation(handle, …)``."""

    @functools.wraps(operation)
    async def run(self: HasTokens, number: int, *args: Any) -> Any:
        try:
            return await operation(self, number, *args)
        except InvalidToken:
            uid = self.uid_of(number)
            if uid is None or not await self.has_other_token(uid):
                raise
        return await operation(self, number, *args)

    return cast(Operation, run)
