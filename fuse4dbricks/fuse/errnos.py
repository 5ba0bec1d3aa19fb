"""One table: what happened → the errno that programs see (design section 10).

The difficulty: the table must be exhaustive, or an exception without a row ends up as something that lies. Every
class of ``errors.py`` has its row here or inherits its parent's (a test walks the tree), an ``OSError`` keeps its
own number, and what nobody foresaw is EIO, logged with its traceback.
"""

from __future__ import annotations

import errno
import logging

import trio

from fuse4dbricks import errors

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
    trio.TooSlowError: errno.ETIMEDOUT,
    MemoryError: errno.ENOMEM,
}

#: Failures that somebody should look at, although a program only sees an errno.
_NOTEWORTHY = (errors.ProtocolViolation, errors.ServerFailure, errors.RequestRejected)


def errno_of(error: BaseException) -> int | None:
    """The errno of a foreseen failure, or None."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    for kind in type(error).__mro__:
        if kind in ERRNO_OF:
            return ERRNO_OF[kind]
    return None


def log_failure(operation: str, error: BaseException) -> None:
    """Say what an errno hides: outages and refusals quietly, surprises loudly, none of them in a flood."""
    if isinstance(error, _NOTEWORTHY):
        request = f" (request {error.request_id})" if error.request_id else ""
        logger.warning("%s: %s%s", operation, error, request, extra={"rate_limit": 10})
    elif errno_of(error) is None or isinstance(error, errors.CacheError | errors.UserError):
        logger.error("%s failed unexpectedly", operation, exc_info=error, extra={"rate_limit": 10})
    else:
        logger.debug("%s: %s: %s", operation, type(error).__name__, error)
