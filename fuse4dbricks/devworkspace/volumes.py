"""From a Files API path to a place in the tree, past the permission checks.

The difficulty: three namespaces meet in one path (the fixed ``/Volumes``, three names without case, then names
with case), each refused in its own words, and a missing right on a parent is named before anything is said of
what lies below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fuse4dbricks.devworkspace.endpoint import Call, decoded_path
from fuse4dbricks.devworkspace.errors import ApiError, bad_request, not_found
from fuse4dbricks.devworkspace.grants import READ_VOLUME, WRITE_VOLUME, lineage
from fuse4dbricks.devworkspace.namespace import VOLUME_DEPTH, SecurableMissing
from fuse4dbricks.devworkspace.permissions import lacks
from fuse4dbricks.devworkspace.tree import Node, Parts

#: Assumed limit of an object key, in bytes of UTF-8 (S3, Blob Storage and GCS agree).
_KEY_MAX = 1024


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a volume.

    Attributes:
        volume: full name, in lower case.
        parts: the tree's own names, volume included.
        ends_with_slash: as it was asked for.
    """

    volume: str
    parts: Parts
    ends_with_slash: bool

    @property
    def path(self) -> str:
        """``/Volumes/c/s/v/…`` as the service writes it."""
        return "/".join(("/Volumes", *self.volume.split("."), *self.parts[VOLUME_DEPTH:]))

    @property
    def is_volume(self) -> bool:
        """Whether it is the root of the volume."""
        return len(self.parts) == VOLUME_DEPTH


def check_query(call: Call, *known: str) -> None:
    """Refuse parameters that the service does not know.

    Raises:
        ApiError: 400.
    """
    unexpected = sorted(set(call.query) - set(known))
    if unexpected:
        raise bad_request(
            f"Unexpected query parameters: {', '.join(unexpected)}", "FILES_API_UNEXPECTED_QUERY_PARAMETERS"
        )


def _split(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part]
    if not parts or parts[0] != "Volumes":
        first = parts[0] if parts else ""
        raise bad_request(
            f"Invalid path: unsupported first path component: {first}", "FILES_API_INVALID_PATH"
        )
    if any(part in (".", "..") or "\0" in part for part in parts):
        raise bad_request("Invalid path: '.', '..' and NUL are not allowed.", "FILES_API_INVALID_PATH")
    if len(parts) <= VOLUME_DEPTH:
        raise bad_request("Invalid path: a path in a volume is needed.", "FILES_API_INVALID_PATH")
    if len("/".join(parts[VOLUME_DEPTH + 1 :]).encode()) > _KEY_MAX:
        raise bad_request("Invalid path: too long.", "FILES_API_INVALID_PATH")
    return parts[1:]


def find(call: Call, path: str, *, write: bool = False) -> Place:
    """The place that a decoded path names, if the caller may read (and write) it.

    Raises:
        ApiError: 400 for no path of a volume, 403, 404.
    """
    parts = _split(path)
    names, rest = [name.lower() for name in parts[:VOLUME_DEPTH]], parts[VOLUME_DEPTH:]
    volume = ".".join(names)
    located = _locate(call, names)
    # Recorded: a write needs READ VOLUME as well.
    _check_grants(call, volume, (READ_VOLUME, WRITE_VOLUME) if write else (READ_VOLUME,))
    return Place(volume, (*located, *rest), path.endswith("/"))


def _locate(call: Call, names: Sequence[str]) -> Parts:
    try:
        return call.state.namespace.locate(names)
    except SecurableMissing as missing:
        _check_use(call, reversed(lineage(missing.full_name)[1:]))
        text = f"{missing.kind.title()} '{missing.full_name}' does not exist."
        raise not_found(text) from None


def _check_use(call: Call, securables: Iterable[str]) -> None:
    lacking = call.state.grants.missing_use(call.principal, securables)
    if lacking is not None:
        raise lacks(lacking[1], lacking[0])


def _check_grants(call: Call, volume: str, privileges: Iterable[str]) -> None:
    _check_use(call, reversed(lineage(volume)[1:]))
    for privilege in privileges:
        if not call.state.grants.holds(call.principal, volume, privilege):
            raise lacks(privilege, volume)


def asked_place(call: Call, prefix: str, *, write: bool = False) -> Place:
    """The place that the request's own path names, after a literal prefix."""
    return find(call, decoded_path(call.request.scope)[len(prefix) :], write=write)


def stat(call: Call, place: Place) -> Node | None:
    """What is there, as the layout has it: in ``flat``, an emptied volume root is not there."""
    node = call.state.tree.stat(place.parts)
    if node is None or not node.is_folder or call.state.behaviour.layout == "hns":
        return node
    if place.is_volume and not call.state.tree.items(place.parts):
        return None
    return node


def file_missing(place: Place) -> ApiError:
    """404 for a file."""
    return not_found(f"No such file: {place.path}", "FILES_API_FILE_NOT_FOUND")


def folder_missing(place: Place) -> ApiError:
    """404 for a directory."""
    return not_found(f"No such directory: {place.path}", "FILES_API_DIRECTORY_IS_NOT_FOUND")


def in_the_way(call: Call, text: str) -> ApiError:
    """409; its code is not settled, so it rotates through those seen."""
    codes = call.state.behaviour.conflict_codes
    code = codes[call.state.journal.get_counts()[call.record.kind] % len(codes)]
    return ApiError(409, code, text, reason="FILES_API_ALREADY_EXISTS")
