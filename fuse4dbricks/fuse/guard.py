"""The wrapper round every handler.

The difficulty: pyfuse3 ends the mount, for every user of it, on any exception but ``FUSEError`` that leaves a
handler; and a request that the daemon has accepted cannot be killed by its caller, so a handler that waits for
ever makes an unkillable process. Hence: one deadline and one exit for all of them.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar, cast

import pyfuse3
import trio

from fuse4dbricks.auth.caller import CALLER_PID
from fuse4dbricks.concurrency.supervise import split_cancelled
from fuse4dbricks.fuse.errnos import errno_of, log_failure, stray_errno
from fuse4dbricks.telemetry.metrics import Metrics, key_of

#: Seconds in which each request is answered. The workspace client gives up after 25, so that its own, clearer
#: error usually comes first.
DEADLINE_SECONDS = 30.0


class Guarded(Protocol):
    """What the wrapper needs of the object whose handlers it wraps."""

    metrics: Metrics
    deadline: float


Handler = TypeVar("Handler", bound=Callable[..., Awaitable[Any]])


def guarded(handler: Handler, at_once: Callable[..., Any] | None = None) -> Handler:
    """Let nothing but an answer, ``FUSEError`` and trio's cancellation out of ``handler``.

    ``at_once`` is asked before with the same arguments, and its answer taken unless it is None: what does not wait needs
    no deadline, which would cost a fifth of the opening of a file that is known.
    """
    operation = handler.__name__
    counter = key_of("fuse.calls", operation=operation)

    @functools.wraps(handler)
    async def guard(self: Guarded, *args: Any) -> Any:
        self.metrics.tick(counter)
        # Set each time, to 0 where the kernel names nobody: tasks answer one request after another.
        CALLER_PID.set(getattr(args[-1], "pid", 0) if args else 0)
        try:
            if at_once is not None:
                answer = at_once(self, *args)
                if answer is not None:
                    return answer
            # As trio.fail_after does, whose two context managers take a fifth of a cached stat.
            with trio.CancelScope(deadline=trio.current_time() + self.deadline):
                return await handler(self, *args)
        except (pyfuse3.FUSEError, trio.Cancelled):
            raise
        except BaseException as error:  # noqa: BLE001 - anything else would end the mount for everybody
            cancelled, failed = split_cancelled(error)
            if failed is None and cancelled is not None:
                raise cancelled from None
            raise pyfuse3.FUSEError(_note(self.metrics, operation, failed or error)) from None
        raise pyfuse3.FUSEError(_note(self.metrics, operation, trio.TooSlowError()))

    guard.is_guarded = True  # type: ignore[attr-defined]  # a test proves that no handler goes without
    return cast(Handler, guard)


def guarded_unless(at_once: Callable[..., Any]) -> Callable[[Handler], Handler]:
    """:func:`guarded`, for a handler that is not needed where ``at_once`` answers."""
    return functools.partial(guarded, at_once=at_once)


def prompt(handler: Handler) -> Handler:
    """The same for a handler that waits for nothing, which needs no deadline."""
    operation = handler.__name__
    counter = key_of("fuse.calls", operation=operation)

    @functools.wraps(handler)
    async def guard(self: Guarded, *args: Any) -> Any:
        self.metrics.tick(counter)
        try:
            return await handler(self, *args)
        except (pyfuse3.FUSEError, trio.Cancelled):
            raise
        except BaseException as error:  # noqa: BLE001 - anything else would end the mount for everybody
            raise pyfuse3.FUSEError(_note(self.metrics, operation, error)) from None

    guard.is_guarded = True  # type: ignore[attr-defined]  # a test proves that no handler goes without
    return cast(Handler, guard)


def silenced(handler: Handler) -> Handler:
    """The same for requests that have no reply (``forget``): a failure is counted and swallowed."""
    operation = handler.__name__

    @functools.wraps(handler)
    async def guard(self: Guarded, *args: Any) -> None:
        self.metrics.count("fuse.calls", operation=operation)
        try:
            await handler(self, *args)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - anything else would end the mount for everybody
            cancelled, failed = split_cancelled(error)
            if failed is not None:
                _note(self.metrics, operation, failed)
            if cancelled is not None:
                raise cancelled from None

    guard.is_guarded = True  # type: ignore[attr-defined]  # a test proves that no handler goes without
    return cast(Handler, guard)


def _note(metrics: Metrics, operation: str, error: BaseException) -> int:
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return _note(metrics, operation, error.exceptions[0])
    if isinstance(error, pyfuse3.FUSEError):
        return error.errno
    log_failure(operation, error)
    number = errno_of(error)
    if number is None:
        metrics.count("fuse.internal_errors", operation=operation)
        number = stray_errno(error)
    metrics.count("fuse.errors", errno=errno.errorcode.get(number, str(number)))
    return number
