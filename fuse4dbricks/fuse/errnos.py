"""One table: what happened → the errno that programs see (design section 10).

The difficulty: the table must be exhaustive, or an exception without a row ends up as something that lies. Every
class of ``errors.py`` has its row here or inherits its parent's (a test walks the tree). What nobody foresaw is
logged with its traceback; an ``OSError`` among that keeps its own number, unless it would say something about the
remote file that only the workspace can know.
"""

from __future__ import annotations

import errno
import logging

import trio

from fuse4dbricks import errors
from fuse4dbricks.concurrency.flights import FlightAborted

logger = logging.getLogger("fuse4dbricks.fuse")

ERRNO_OF: dict[type[BaseException], int] = {
    errors.Fuse4dbricksError: errno.EIO,
    # the workspace
    errors.RemoteError: errno.EIO,
    errors.NotFound: errno.ENOENT,
    errors.PermissionDenied: errno.EACCES,
    errors.InvalidToken: errno.EACCES,
    errors.VersionChanged: errno.ESTALE,
    errors.Unreachable: errno.EHOSTUNREACH,
    errors.ConnectionLost: errno.EHOSTUNREACH,
    # EAGAIN would be the word for 429, but no program retries a regular file on it.
    errors.DeadlineExceeded: errno.ETIMEDOUT,
    errors.Throttled: errno.ETIMEDOUT,
    errors.ServerFailure: errno.EIO,
    errors.RequestRejected: errno.EIO,
    errors.ProtocolViolation: errno.EIO,
    # the local user
    errors.NoToken: errno.EACCES,
    # the mount's own rules
    errors.FsError: errno.EIO,
    errors.ReadOnly: errno.EROFS,
    errors.NotADirectory: errno.ENOTDIR,
    errors.IsADirectory: errno.EISDIR,
    errors.BadHandle: errno.EBADF,
    errors.NameTooLong: errno.ENAMETOOLONG,
    errors.NoSuchName: errno.ENOENT,
    errors.AccessDenied: errno.EACCES,
    errors.InvalidWrite: errno.EINVAL,
    errors.NoAttribute: errno.ENODATA,
    # a cache that fails is passed by; if one gets here it is a defect, and the log says so
    errors.CacheError: errno.EIO,
    errors.UserError: errno.EIO,
    # as the kernel says itself once the daemon is gone
    FlightAborted: errno.ENOTCONN,
    trio.TooSlowError: errno.ETIMEDOUT,
    MemoryError: errno.ENOMEM,
}

#: Failures that somebody should look at, although a program only sees an errno.
_NOTEWORTHY = (errors.ProtocolViolation, errors.ServerFailure, errors.RequestRejected)


#: A stray error of this machine must not be read as the workspace's answer, nor make a program wait for ever.
_MISLEADING = {errno.ENOENT, errno.EACCES, errno.EPERM, errno.ESTALE, errno.EAGAIN, errno.EINTR}


def errno_of(error: BaseException) -> int | None:
    """The errno of a foreseen failure, or None."""
    for kind in type(error).__mro__:
        if kind in ERRNO_OF:
            return ERRNO_OF[kind]
    return None


def stray_errno(error: BaseException) -> int:
    """The errno of a failure that nobody foresaw."""
    number = error.errno if isinstance(error, OSError) else None
    # ``socket.gaierror`` carries a negative one, and whoever raises can put in anything.
    if number is None or number not in errno.errorcode or number in _MISLEADING:
        return errno.EIO
    return number


def log_failure(operation: str, error: BaseException) -> None:
    """Say what an errno hides: outages and refusals quietly, surprises loudly, none of them in a flood."""
    if isinstance(error, _NOTEWORTHY):
        request = f" (request {error.request_id})" if error.request_id else ""
        logger.warning("%s: %s%s", operation, error, request, extra={"rate_limit": 10})
    elif errno_of(error) is None or isinstance(error, errors.CacheError | errors.UserError):
        logger.error("%s failed unexpectedly", operation, exc_info=error, extra={"rate_limit": 10})
    else:
        logger.debug("%s: %s: %s", operation, type(error).__name__, error)
