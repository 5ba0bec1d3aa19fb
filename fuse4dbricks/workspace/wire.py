"""From decoded JSON to the words of the domain, strictly.

The difficulty: what arrives is whatever somebody put on the wire. A listing read leniently turns an error page into
an empty folder, and an empty folder into deleted files at the next ``rsync --delete``; one hostile name (``..``, a
lone surrogate, a size of ``-1``) must not take its whole folder down either. So a wrong *shape* raises
:class:`~fuse4dbricks.errors.ProtocolViolation`, while a bad *entry* in a sound list is left out and reported.

Pure functions of their arguments; nothing else can come out of them, whatever goes in. A ``path`` that the server
puts beside a name is never read: ours is built from the folder that was asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fuse4dbricks.entry import Entry, Kind, Version
from fuse4dbricks.errors import ProtocolViolation
from fuse4dbricks.paths import why_unusable
from fuse4dbricks.tokens import Principal
from fuse4dbricks.workspace.dates import MAX_TIME

#: st_size is a signed 64-bit number.
MAX_SIZE = 2**63 - 1
#: Page tokens are opaque and travel back in a URL, which httpx limits to 64 KiB after percent-encoding.
MAX_PAGE_TOKEN = 16 * 1024
#: SCIM ids are decimal numbers; they become part of database keys.
MAX_ID = 256
MAX_URL = 32 * 1024
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}")


@dataclass(frozen=True, slots=True)
class Reject:
    """An entry that was left out.

    Attributes:
        name: as sent, whatever type that was.
        why: in a few words.
    """

    name: object
    why: str


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of children.

    Attributes:
        entries: distinct names, in the server's order.
        next_token: opaque; None on the last page.
        rejects: what was left out.
    """

    entries: tuple[Entry, ...]
    next_token: str | None
    rejects: tuple[Reject, ...]


@dataclass(frozen=True, slots=True)
class DownloadUrl:
    """A presigned URL. It is a bearer secret: ``repr`` shows nothing of it.

    Attributes:
        url: absolute.
        headers: to be sent verbatim with it, and never the workspace's token.
    """

    url: str
    headers: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return "DownloadUrl(…)"


class _BadEntry(Exception):
    """This one entry cannot be used."""


def decode_json(body: bytes) -> Any:
    """Decode UTF-8 JSON; NaN and Infinity are not JSON.

    Raises:
        ProtocolViolation: it is not JSON, or too deeply nested to be an answer of this API.
    """
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ProtocolViolation("the answer is not JSON") from None


def _refuse_constant(text: str) -> float:
    raise ValueError(text)


# --- Files API -----------------------------------------------------------------------------------


def parse_directory(payload: Any, observed_at: float) -> Listing:
    """One page of ``GET /fs/directories`` (databricks-api 1.2).

    An empty folder is ``{}``. Where a file and a folder share one name, which flat stores allow, the file wins.

    Raises:
        ProtocolViolation: the shape is wrong.
    """
    items, next_token = _page(payload, "contents")
    rejects: list[Reject] = []
    entries: dict[str, Entry] = {}
    for item in items:
        try:
            entry = _directory_entry(item, observed_at)
        except _BadEntry as bad:
            rejects.append(Reject(_name_of(item), str(bad)))
            continue
        known = entries.get(entry.name)
        if known is None or (known.kind is Kind.DIRECTORY and entry.kind is Kind.FILE):
            entries[entry.name] = entry
    return Listing(tuple(entries.values()), next_token, tuple(rejects))


def _directory_entry(item: Any, observed_at: float) -> Entry:
    name = _checked_name(item)
    # proto3 JSON may leave out a false.
    is_directory = item.get("is_directory", False)
    if not isinstance(is_directory, bool):
        raise _BadEntry("is_directory is not a boolean")
    if is_directory:
        return Entry(name, Kind.DIRECTORY)
    size = item.get("file_size")
    modified = item.get("last_modified")
    if size is None or modified is None:
        return Entry(name, Kind.FILE)
    if not is_size(size):
        raise _BadEntry("file_size is not a size")
    seconds = seconds_from_ms(modified)
    if seconds is None:
        raise _BadEntry("last_modified is not a time")
    return Entry(name, Kind.FILE, Version.observed(size, int(seconds), None, observed_at))


def parse_download_url(payload: Any) -> DownloadUrl:
    """The reply of ``create-download-url`` (databricks-api 1.5); ``headers`` may be absent.

    Raises:
        ProtocolViolation: the shape is wrong, or a value could not travel in a request.
    """
    payload = _object(payload)
    url = payload.get("url")
    if not isinstance(url, str) or not 0 < len(url) <= MAX_URL or not (url.isascii() and url.isprintable()):
        raise ProtocolViolation("the download URL is missing or malformed")
    headers = payload.get("headers", [])
    if not isinstance(headers, list):
        raise ProtocolViolation("the headers of the download URL are not a list")
    return DownloadUrl(url, tuple(_header(header) for header in headers))


def _header(item: Any) -> tuple[str, str]:
    name, value = (item.get("name"), item.get("value")) if isinstance(item, dict) else (None, None)
    if not isinstance(name, str) or not isinstance(value, str) or not _HEADER_NAME.fullmatch(name):
        raise ProtocolViolation("a header of the download URL is malformed")
    if not (value.isascii() and value.isprintable()):
        raise ProtocolViolation("a header of the download URL is malformed")
    return name, value


# --- Unity Catalog and SCIM ----------------------------------------------------------------------


def parse_securables(payload: Any, kind: Kind) -> Listing:
    """One page of ``/catalogs``, ``/schemas`` or ``/volumes`` (databricks-api 2).

    Raises:
        ProtocolViolation: the shape is wrong.
    """
    items, next_token = _page(
        payload, {Kind.CATALOG: "catalogs", Kind.SCHEMA: "schemas", Kind.VOLUME: "volumes"}[kind]
    )
    rejects: list[Reject] = []
    entries: dict[str, Entry] = {}
    for item in items:
        try:
            entry = _securable(item, kind)
        except _BadEntry as bad:
            rejects.append(Reject(_name_of(item), str(bad)))
        else:
            entries.setdefault(entry.name, entry)
    return Listing(tuple(entries.values()), next_token, tuple(rejects))


def parse_securable(payload: Any, kind: Kind) -> Entry:
    """The reply of a GET by name; the entry carries the server's spelling of the name.

    Raises:
        ProtocolViolation: the shape is wrong, or the name cannot be shown.
    """
    try:
        return _securable(_object(payload), kind)
    except _BadEntry as bad:
        raise ProtocolViolation(f"a securable's name is unusable: {bad}") from None


def _securable(item: Any, kind: Kind) -> Entry:
    name = _checked_name(item)
    # Both are absent from some system and foreign objects; a folder's time is for show only.
    times = (seconds_from_ms(item.get(key)) for key in ("updated_at", "created_at"))
    return Entry(name, kind, None, next((time for time in times if time is not None), None))


def parse_privileges(payload: Any) -> tuple[list[str], str | None]:
    """One page of effective permissions: privilege names as opaque strings, and the next page's token.

    Raises:
        ProtocolViolation: the shape is wrong.
    """
    assignments, next_token = _page(payload, "privilege_assignments")
    names: list[str] = []
    for assignment in assignments:
        privileges = _object(assignment).get("privileges", [])
        if not isinstance(privileges, list):
            raise ProtocolViolation("privileges are not a list")
        names += (_privilege(item) for item in privileges)
    return names, next_token


def _privilege(item: Any) -> str:
    name = _object(item).get("privilege")
    if not isinstance(name, str):
        raise ProtocolViolation("a privilege has no name")
    return name


def parse_principal(payload: Any) -> Principal:
    """The reply of SCIM Me (databricks-api 4).

    Raises:
        ProtocolViolation: no usable id.
    """
    payload = _object(payload)
    identifier = payload.get("id")
    if not isinstance(identifier, str) or not 0 < len(identifier) <= MAX_ID or not identifier.isprintable():
        raise ProtocolViolation("the identity has no id")
    user_name = payload.get("userName")
    if not isinstance(user_name, str) or not user_name.isprintable():
        user_name = identifier
    return Principal(identifier, user_name)


# --- shared shapes -------------------------------------------------------------------------------


def is_size(value: object) -> bool:
    """Whether it is a byte count that a file can have."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SIZE


def seconds_from_ms(value: object) -> float | None:
    """Whole Unix seconds of a time in milliseconds, or None if it is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_TIME * 1000:
        return None
    return float(value // 1000)


def _object(payload: Any) -> dict[str, Any]:
    if not isinstance(payload, dict):
        raise ProtocolViolation(f"a JSON object was due, not {type(payload).__name__}")
    return payload


def _page(payload: Any, key: str) -> tuple[list[Any], str | None]:
    """The list under ``key`` and the next page's token.

    Only an object that holds nothing else may lack the key: that is how an empty list looks, and an error
    object or somebody else's JSON must not look the same.
    """
    page = _object(payload)
    items = page.get(key, [])
    if not isinstance(items, list):
        raise ProtocolViolation(f"{key} is not a list")
    if key not in page and page.keys() - {"next_page_token"}:
        raise ProtocolViolation(f"the answer has no {key}")
    return items, _page_token(page)


def _page_token(page: Mapping[str, Any]) -> str | None:
    token = page.get("next_page_token")
    if token is None or token == "":  # the SDKs stop on both
        return None
    if not isinstance(token, str) or len(token) > MAX_PAGE_TOKEN or _is_not_utf8(token):
        raise ProtocolViolation("the next page's token is unusable")
    return token


def _is_not_utf8(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def _checked_name(item: Any) -> str:
    if not isinstance(item, dict):
        raise _BadEntry("not an object")
    name = item.get("name")
    why = why_unusable(name)
    if why is not None:
        raise _BadEntry(why)
    assert isinstance(name, str)
    return name


def _name_of(item: Any) -> object:
    return item.get("name") if isinstance(item, dict) else None
