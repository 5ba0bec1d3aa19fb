"""One table, exhaustive, with no word in it that lies."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator

import pytest
import trio

from fuse4dbricks import errors
from fuse4dbricks.concurrency.flights import FlightAborted
from fuse4dbricks.errors import NotAsked
from fuse4dbricks.fuse.errnos import ERRNO_OF, errno_of, log_failure, stray_errno


def tree_of(root: type[BaseException]) -> Iterator[type[BaseException]]:
    yield root
    for child in root.__subclasses__():
        yield from tree_of(child)


DECLARED = [kind for kind in tree_of(errors.Fuse4dbricksError) if kind.__module__ == errors.__name__]


def test_there_is_a_tree() -> None:
    assert len(DECLARED) > 25


@pytest.mark.parametrize("kind", DECLARED, ids=lambda kind: kind.__name__)
def test_each_class_has_a_row_or_inherits_one_below_the_root(kind: type[BaseException]) -> None:
    rows = [row for row in kind.__mro__ if row in ERRNO_OF]
    assert rows[0] is not errors.Fuse4dbricksError or kind is errors.Fuse4dbricksError


def test_each_class_is_drawn_in_the_picture() -> None:
    assert errors.__doc__ is not None
    assert all(kind.__name__ in errors.__doc__ for kind in DECLARED)


def test_every_row_is_an_errno_and_none_says_try_again() -> None:
    assert all(number in errno.errorcode for number in ERRNO_OF.values())
    assert not set(ERRNO_OF.values()) & {errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR}


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (errors.NotFound("x"), errno.ENOENT),
        (errors.PermissionDenied("x"), errno.EACCES),
        (errors.NoToken(1), errno.EACCES),
        (errors.ReadOnly("x"), errno.EROFS),
        (errors.VersionChanged("x"), errno.ESTALE),
        (errors.Unreachable("x"), errno.EHOSTUNREACH),
        (NotAsked("x"), errno.EHOSTUNREACH),
        (errors.DeadlineExceeded("x"), errno.ETIMEDOUT),
        (errors.Throttled("x"), errno.ETIMEDOUT),
        (errors.ProtocolViolation("x"), errno.EIO),
        (errors.NameTooLong("x"), errno.ENAMETOOLONG),
        (errors.NoAttribute("x"), errno.ENODATA),
        (trio.TooSlowError(), errno.ETIMEDOUT),
        (FlightAborted("x"), errno.ENOTCONN),
        (MemoryError(), errno.ENOMEM),
        (ValueError(), None),
        (OSError(errno.ENOSPC, "x"), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_table_of_the_design(error: BaseException, number: int | None) -> None:
    assert errno_of(error) == number


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.EIO, errno.ENOMEM, errno.ELOOP])
def test_a_stray_error_of_this_machine_keeps_its_number(number: int) -> None:
    assert stray_errno(OSError(number, os.strerror(number))) == number


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "a chunk file"),
        PermissionError(errno.EACCES, "the cache folder"),
        BlockingIOError(errno.EAGAIN, "x"),
        InterruptedError(errno.EINTR, "x"),
        socket.gaierror(socket.EAI_NONAME, "x"),
        OSError("no number"),
        OSError("text", "text"),
        OSError(0, "x"),
        OSError(99999, "x"),
        ValueError("x"),
    ],
    ids=repr,
)
def test_but_none_that_would_be_taken_for_the_workspaces_answer(error: BaseException) -> None:
    assert stray_errno(error) == errno.EIO


def test_surprises_are_loud_and_answers_are_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    log_failure("lookup", errors.NotFound("x"))
    log_failure("read", errors.ProtocolViolation("html", request_id="r-7"))
    log_failure("read", OSError(errno.ENOSPC, "x"))
    log_failure("read", errors.IndexUnavailable("x"))
    levels = [record.levelno for record in caplog.records]
    assert levels == [logging.DEBUG, logging.WARNING, logging.ERROR, logging.ERROR]
    assert "r-7" in caplog.text
    assert all(hasattr(record, "rate_limit") for record in caplog.records[1:])
