"""The answer to "what about this path?", as values and as JSON.

The difficulty: programs act on it, so that each way in which a path cannot be read has a word of its own, and an outage
is never told as a refusal or as absence.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from fuse4dbricks.cache.holdings import Ranges
from fuse4dbricks.errors import RemoteError
from fuse4dbricks.tokens import Principal

#: Of the JSON form; grows when a field changes its meaning or goes.
SCHEMA = 1


class Standing(enum.StrEnum):
    """How one step of the way to a path ended."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    ABSENT = "absent"
    HIDDEN = "hidden"
    UNKNOWN = "unknown"
    NOT_ASKED = "not_asked"


class Verdict(enum.StrEnum):
    """Whether the path can be read."""

    READABLE = "readable"
    REFUSED = "refused"
    ABSENT = "absent"
    HIDDEN = "hidden"
    UNKNOWN = "unknown"
    NOT_SIGNED_IN = "not_signed_in"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong with a call.

    Attributes:
        error: the kind of failure, as in the log.
        message: the call and what came of it, in our words and the service's.
        said: the service's own words alone, where it used any.
        status, error_code, request_id: of the service's reply, where there was one.
    """

    error: str
    message: str
    said: str | None = None
    status: int | None = None
    error_code: str | None = None
    request_id: str | None = None

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """What there is to tell of an exception."""
        if not isinstance(error, RemoteError):
            return cls(type(error).__name__, str(error))
        facts = (error.said, error.status, error.error_code, error.request_id)
        return cls(type(error).__name__, str(error), *facts)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that has to be allowed on the way to the path.

    Attributes:
        what: ``catalog``, ``schema``, ``volume``, ``reading`` (of the volume) or ``path``.
        name: the securable's full name, or the path.
        privileges: of the principal there, as Unity Catalog lists them, where he was refused. Advice only.
    """

    what: str
    name: str
    standing: Standing
    failure: Failure | None = None
    privileges: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Cached:
    """What this mount keeps of the path.

    Attributes:
        version, size, last_modified, etag: of the file, as last seen.
        validated_at: Unix time at which the workspace was last asked about the path.
        fresh_for: seconds for which that is still believed; 0: the next look asks again.
        ram_ranges, disk_ranges: bytes [first, stop) of that version.
        cached_bytes: in either.
        complete: whether reading the whole file needs no call for bytes.
        owners: whose reads brought in what is on disk.
        fetched_at: Unix time of the newest of that.
        listed: of a folder, how many names of it are known in RAM.
        listing_complete: whether these are all.
    """

    version: str | None = None
    size: int | None = None
    last_modified: int | None = None
    etag: str | None = None
    validated_at: float | None = None
    fresh_for: float = 0.0
    ram_ranges: Ranges = ()
    disk_ranges: Ranges = ()
    cached_bytes: int = 0
    complete: bool = False
    pinned: bool = False
    owners: tuple[str, ...] = ()
    fetched_at: float | None = None
    listed: int | None = None
    listing_complete: bool | None = None


@dataclass(frozen=True, slots=True)
class NextOpen:
    """Calls to the workspace that opening and reading the whole of the path would make now, about.

    Attributes:
        catalog: to Unity Catalog, for names on the way.
        metadata: to the Files API, for folders and files on the way.
        permission: for a proof that the volume may be read.
        data: for bytes.
        data_bytes: bytes of these.
    """

    catalog: int = 0
    metadata: int = 0
    permission: int = 0
    data: int = 0
    data_bytes: int = 0

    @property
    def calls(self) -> int:
        """In all."""
        return self.catalog + self.metadata + self.permission + self.data


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole answer.

    Attributes:
        path: ``/Volumes/…`` in the server's spelling as far as it told, or as it was asked for.
        verdict: whether it can be read.
        why: one line for people.
        kind: ``file``, ``directory``, ``volume``, ``schema``, ``catalog``, ``root``, ``control`` or None.
        local_user: who asked.
        principal, token_source: as whom he reads, and where his token is from.
        workspace: host.
        steps: in the order in which they have to be allowed.
        current_version: of a file, as the workspace says now; None when it did not.
        cached, next_open: None for those who may not know.
    """

    path: str
    verdict: Verdict
    why: str
    local_user: int
    workspace: str
    kind: str | None = None
    principal: Principal | None = None
    token_source: str | None = None
    failure: Failure | None = None
    steps: tuple[Step, ...] = field(default=())
    current_version: str | None = None
    cached: Cached | None = None
    next_open: NextOpen | None = None

    def as_json(self) -> bytes:
        """For programs."""
        document: dict[str, object] = {"schema": SCHEMA, **asdict(self)}
        if self.cached is not None:
            shown = {name: _inclusive(getattr(self.cached, name)) for name in ("ram_ranges", "disk_ranges")}
            document["cached"] = {**_mapping(document["cached"]), **shown}
        if self.next_open is not None:
            document["next_open"] = {"calls": self.next_open.calls, **_mapping(document["next_open"])}
        return (json.dumps(document) + "\n").encode()


def _inclusive(ranges: Ranges) -> list[tuple[int, int]]:
    """First and last byte of each, as in HTTP and in the extended attribute."""
    return [(first, stop - 1) for first, stop in ranges]


def _mapping(value: object) -> Mapping[str, object]:
    assert isinstance(value, dict)  # made by asdict()
    return value
