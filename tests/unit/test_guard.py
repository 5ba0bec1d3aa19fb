"""Nothing but an answer, FUSEError and cancellation leaves a handler."""

from __future__ import annotations

import errno
import inspect
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pyfuse3
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fuse4dbricks import errors
from fuse4dbricks.fuse.guard import guarded, silenced
from fuse4dbricks.fuse.operations import Operations
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.vfs.filesystem import Filesystem
from tests.support.requests import HANDLERS


class UnprintableError(Exception):
    """As bad as an exception can be."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class Handlers:
    """Two handlers that do as they are told."""

    def __init__(self, do: Callable[[], Awaitable[object]], deadline: float = 30) -> None:
        self.metrics = Metrics()
        self.deadline = deadline
        self._do = do

    @guarded
    async def lookup(self, *_: object) -> object:
        return await self._do()

    @silenced
    async def forget(self, *_: object) -> None:
        await self._do()


def failing(error: BaseException) -> Handlers:
    async def fail() -> None:
        await trio.lowlevel.checkpoint()
        raise error

    return Handlers(fail)


SURPRISES: list[BaseException] = [
    ValueError("v"),
    KeyError("k"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "bad"),
    AssertionError(),
    RecursionError(),
    StopIteration(),
    StopAsyncIteration(),
    EOFError(),
    OSError("no number"),
    FileNotFoundError(errno.ENOENT, "a local file"),
    BlockingIOError(errno.EAGAIN, "x"),
    ssl.SSLError(1, "x"),
    ExceptionGroup("g", [ValueError(), KeyError()]),
    ExceptionGroup("g", [ExceptionGroup("h", [ValueError()])]),
    BaseExceptionGroup("g", [KeyboardInterrupt(), ValueError()]),
    trio.BrokenResourceError(),
    trio.ClosedResourceError(),
    trio.WouldBlock(),
    KeyboardInterrupt(),
    SystemExit(1),
    GeneratorExit(),
    BaseException("bare"),
    UnprintableError(),
]
FORESEEN: list[tuple[BaseException, int]] = [
    (pyfuse3.FUSEError(errno.ENOSYS), errno.ENOSYS),
    (errors.NotFound("x"), errno.ENOENT),
    (errors.Throttled("x"), errno.ETIMEDOUT),
    (errors.IndexUnavailable("x"), errno.EIO),
    (MemoryError(), errno.ENOMEM),
    (ExceptionGroup("g", [errors.NotFound("x")]), errno.ENOENT),
    (ExceptionGroup("g", [ExceptionGroup("h", [pyfuse3.FUSEError(errno.ENOSYS)])]), errno.ENOSYS),
]


@pytest.mark.parametrize("error", SURPRISES, ids=lambda error: type(error).__name__)
async def test_a_surprise_is_eio_logged_and_counted(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    # A formatter that fails is pytest's here and logging's own in a mount: neither lets it out.
    logging_raises, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        with caplog.at_level(logging.CRITICAL if isinstance(error, UnprintableError) else logging.DEBUG):
            handlers = failing(error)
            with pytest.raises(pyfuse3.FUSEError) as info:
                await handlers.lookup(1, b"x", None)
    finally:
        logging.raiseExceptions = logging_raises
    assert info.value.errno == errno.EIO
    assert handlers.metrics.get("fuse.internal_errors", operation="lookup") == 1
    if not isinstance(error, UnprintableError):
        assert "lookup failed unexpectedly" in caplog.text


@pytest.mark.parametrize(("error", "number"), FORESEEN, ids=lambda value: type(value).__name__)
async def test_what_is_foreseen_has_its_number(error: BaseException, number: int) -> None:
    handlers = failing(error)
    with pytest.raises(pyfuse3.FUSEError) as info:
        await handlers.lookup(1, b"x", None)
    assert info.value.errno == number
    assert handlers.metrics.get("fuse.internal_errors") == 0


@pytest.mark.parametrize("error", [ValueError("v"), KeyboardInterrupt(), pyfuse3.FUSEError(5)], ids=repr)
async def test_forget_has_no_reply_and_so_no_error(error: BaseException) -> None:
    await failing(error).forget([(1, 1)])


async def test_answers_pass() -> None:
    async def answer() -> str:
        return "answer"

    handlers = Handlers(answer)
    assert await handlers.lookup() == "answer"
    assert handlers.metrics.get("fuse.calls", operation="lookup") == 1
    assert handlers.metrics.get("fuse.errors") == 0


async def test_a_request_that_takes_too_long_is_timed_out(autojump_clock: MockClock) -> None:
    handlers = Handlers(trio.sleep_forever, deadline=30)
    with pytest.raises(pyfuse3.FUSEError) as info:
        await handlers.lookup()
    assert info.value.errno == errno.ETIMEDOUT
    assert trio.current_time() == pytest.approx(30, abs=0.1)


async def nested() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(trio.sleep_forever)


async def test_a_deadline_inside_nurseries_is_one_too(autojump_clock: MockClock) -> None:
    handlers = Handlers(nested, deadline=3)
    with pytest.raises(pyfuse3.FUSEError) as info:
        await handlers.lookup()
    assert info.value.errno == errno.ETIMEDOUT


@pytest.mark.parametrize("do", [trio.sleep_forever, nested], ids=["plain", "in-a-nursery"])
@pytest.mark.parametrize("handler", ["lookup", "forget"])
async def test_cancellation_passes(do: Callable[[], Awaitable[Any]], handler: str) -> None:
    handlers = Handlers(do)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(getattr(handlers, handler))
            await wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    assert handlers.metrics.get("fuse.internal_errors") == 0


# --- the real handlers ---------------------------------------------------------------------------

#: What pyfuse3 knows and we leave to it: neither is a coroutine that could raise into its loop.
SYNCHRONOUS = {"init", "stacktrace"}
#: Its default answers ENOSYS, upon which the kernel stops asking: there are no links, and every file is ready.
LEFT_OUT = {"readlink", "poll"}


def test_every_handler_that_pyfuse3_knows_is_ours() -> None:
    known = {
        name
        for name, member in inspect.getmembers(pyfuse3.Operations, inspect.isfunction)
        if not name.startswith("_")
    }
    assert known - SYNCHRONOUS - LEFT_OUT == set(HANDLERS)
    assert len(HANDLERS) > 25


@pytest.mark.parametrize("handler", HANDLERS)
def test_every_handler_is_guarded(handler: str) -> None:
    function = getattr(Operations, handler)
    assert getattr(function, "is_guarded", False)
    assert inspect.unwrap(function) is not function


@pytest.mark.parametrize("handler", HANDLERS)
def test_every_handler_takes_what_pyfuse3_gives(handler: str) -> None:
    ours = inspect.signature(inspect.unwrap(getattr(Operations, handler)))
    theirs = inspect.signature(getattr(pyfuse3.Operations, handler))
    assert list(ours.parameters) == list(theirs.parameters)


@pytest.mark.parametrize("handler", sorted(LEFT_OUT))
async def test_what_is_left_out_answers_enosys(handler: str) -> None:
    function = getattr(pyfuse3.Operations(), handler)
    arguments = [1] * len(inspect.signature(function).parameters)
    with pytest.raises(pyfuse3.FUSEError) as info:
        await function(*arguments)
    assert info.value.errno == errno.ENOSYS


async def test_closes_are_not_told_of() -> None:
    """One request less for each open file, as long as nothing waits for its close to take effect."""
    operations = Operations(cast(Filesystem, object()), Metrics())
    with pytest.raises(pyfuse3.FUSEError) as info:
        await operations.flush(pyfuse3.FileHandleT(1))
    assert info.value.errno == errno.ENOSYS
