"""Every failure that crosses a floor, as one tree.

The difficulty: an outage must never look like "no such file", a refusal never like an outage, and a sick
cache never like either, because programs act on the difference (``rsync --delete``, ``make``, a retry loop).
So each class says *what happened*, carries the facts as attributes, and one table in ``fuse/errnos.py``
says which errno that is. Nothing below ``fuse/`` knows an errno.

::

    Fuse4dbricksError
    ├── UserError                 bad input or surroundings: one clear line and an exit code
    │   ├── ConfigError           an option is missing, malformed or out of range
    │   ├── MountError            the mount point or the FUSE device is not usable
    │   └── CacheFolderError      the cache folder is foreign, unsafe, locked or newer than this program
    ├── RemoteError               the workspace answered, or did not
    │   ├── NotFound              404
    │   │   └── EmptyVolume       ... of a whole volume that Unity Catalog shows: emptied, or not his to read
    │   ├── PermissionDenied      403 PERMISSION_DENIED: this principal may not
    │   ├── InvalidToken          401, or 403 with a numeric code: the token is not (or no longer) good
    │   ├── VersionChanged        412, or the bytes are no longer those of the version asked for
    │   ├── Unreachable           no route, refused, DNS, TLS not trusted
    │   │   └── NotAsked          ... as others have found a moment ago, or because the mount is told to be offline
    │   ├── ConnectionLost        made, then broken, until the retries were over
    │   ├── DeadlineExceeded      the time for the call, the body or all retries ran out
    │   │   └── Throttled         ... because the service kept saying 429 or 503
    │   ├── ServerFailure         500 and its kin, after the retries
    │   ├── RequestRejected       any other 4xx: our request, not the weather
    │   └── ProtocolViolation     an answer that is not what the API promises
    │       └── NotTheService     ... a page or a redirect: somebody else answered in the workspace's place
    ├── NoToken                   this local user has not given a token
    ├── CacheError                a cache layer failed; a reader never sees it, he reads the layer below
    │   ├── IndexUnavailable      the index is closed, corrupt or refuses to write
    │   └── ChunkUnusable         a chunk file is missing, cut, altered or unreadable
    └── FsError                   a file system operation that cannot be
        ├── ReadOnly  NotADirectory  IsADirectory  BadHandle  NameTooLong  NoSuchName
        └── AccessDenied  InvalidWrite  NoAttribute
"""

from __future__ import annotations


class Fuse4dbricksError(Exception):
    """Root of everything this project raises on purpose."""


# --- to the person at the terminal ---------------------------------------------------------------


class UserError(Fuse4dbricksError):
    """What happened, why, and what to do, in one line; shown without a traceback.

    ``exit_code`` is what the command ends with: 2 for bad input, others as the subclasses say.
    """

    exit_code = 2


class ConfigError(UserError):
    """An option or a setting is missing, malformed or out of range."""


class MountError(UserError):
    """The mount point, ``/dev/fuse`` or ``fusermount3`` cannot be used."""

    exit_code = 3


class CacheFolderError(UserError):
    """The cache folder is not ours, not safe, locked by another mount, or newer than this program."""

    exit_code = 4


# --- the workspace -------------------------------------------------------------------------------


class RemoteError(Fuse4dbricksError):
    """The workspace refused, failed or stayed silent.

    Attributes:
        request_id: the service's ``x-request-id`` (or the one in ``details``), for its support; may be None.
        status: HTTP status if there was an answer.
        error_code: the service's own code (``PERMISSION_DENIED``); for refinement in messages only.
        said: the service's own words, bounded and printable; None where it used none.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        error_code: str | None = None,
        request_id: str | None = None,
        said: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = error_code
        self.request_id = request_id
        self.said = said


class NotFound(RemoteError):
    """404: the service knows of no such object (as far as this principal may know)."""


class EmptyVolume(NotFound):
    """The Files API answers 404 for the root of a volume that Unity Catalog shows.

    Some stores say so of an emptied one (databricks-api 1.2), and a workspace may say so of one that is not this
    principal's to read. So for him the volume is an empty folder, for others it says nothing, and it proves no right.
    """


class PermissionDenied(RemoteError):
    """403 with ``PERMISSION_DENIED``: an answer about this principal, never about the weather."""


class InvalidToken(RemoteError):
    """401, or 403 with a numeric ``error_code`` (databricks-api 5.1): the token is not good."""


class VersionChanged(RemoteError):
    """412, or Last-Modified, ETag or size differ from the version that was asked for."""


class Unreachable(RemoteError):
    """No connection: route, refusal, name resolution or an untrusted certificate."""


class NotAsked(Unreachable):
    """Nothing was sent: the workspace could not be reached a moment ago, or is not to be asked. It is no news."""


class ConnectionLost(RemoteError):
    """A connection was made and broke, each time.

    An outage for who asked, but no sign that the next call would fail: a gateway may break one path's replies
    and serve all others.
    """


class DeadlineExceeded(RemoteError):
    """The call, its body or all of its retries took longer than allowed."""


class Throttled(DeadlineExceeded):
    """429 or 503 until the time was up."""


class ServerFailure(RemoteError):
    """500 and its kin, still there after the retries."""


class RequestRejected(RemoteError):
    """A 4xx that is neither absence, refusal nor throttling; says more about our request."""


class ProtocolViolation(RemoteError):
    """HTML where JSON was due, a 200 to a range, a wrong Content-Range, a missing field."""


class NotTheService(ProtocolViolation):
    """A page or a redirect: a gateway, a proxy or a login form answered, and the workspace was not reached.

    An outage for who has something to show, because nothing was said about him or the object.
    """


# --- the local user ------------------------------------------------------------------------------


class NoToken(Fuse4dbricksError):
    """The local user has no token source that answers.

    Attributes:
        uid: the local user's number.
    """

    def __init__(self, uid: int) -> None:
        super().__init__(f"uid {uid} has no token; write one into .auth/personal_access_token")
        self.uid = uid


# --- the cache -----------------------------------------------------------------------------------


class CacheError(Fuse4dbricksError):
    """A cache layer failed. The reader goes to the layer below and never sees this."""


class IndexUnavailable(CacheError):
    """The index is closed, corrupt, full or refuses to write."""


class ChunkUnusable(CacheError):
    """A chunk file is missing, cut, altered, foreign or unreadable: a miss, never an answer."""


# --- file system semantics -----------------------------------------------------------------------


class FsError(Fuse4dbricksError):
    """An operation that cannot be, whatever the workspace says."""


class ReadOnly(FsError):
    """Anything that would change the remote tree."""


class NotADirectory(FsError):
    """A file was used as a folder."""


class IsADirectory(FsError):
    """A folder was used as a file."""


class BadHandle(FsError):
    """A file handle that is not open (or not open for this)."""


class NameTooLong(FsError):
    """A name of more than 255 bytes."""


class NoSuchName(FsError):
    """A name that cannot exist remotely: not UTF-8, or not there by definition."""


class AccessDenied(FsError):
    """Refused by the mount itself: a mode bit, or another user's control file."""


class InvalidWrite(FsError):
    """What was written to a control file is not acceptable; nothing of it was kept."""


class NoAttribute(FsError):
    """No such extended attribute."""
