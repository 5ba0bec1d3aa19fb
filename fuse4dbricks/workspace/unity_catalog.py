"""Catalogs, schemas and volumes.

The difficulty: names at these levels come from users and enter URLs of an API that joins them with dots, so
``c?max_results=1`` must not alias ``c``, and ``a.b`` must not be taken for schema ``b`` of catalog ``a``. Names
compare case-insensitively there and have one canonical spelling, which is the one to keep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fuse4dbricks.entry import Entry, Kind
from fuse4dbricks.errors import NotFound, ProtocolViolation
from fuse4dbricks.paths import RemotePath, quote_part
from fuse4dbricks.telemetry.metrics import Metrics
from fuse4dbricks.tokens import Principal, Token
from fuse4dbricks.workspace.calls import Caller
from fuse4dbricks.workspace.exchange import Call
from fuse4dbricks.workspace.identity import Identity
from fuse4dbricks.workspace.limits import Lane
from fuse4dbricks.workspace.pages import PageTrail, RejectLog
from fuse4dbricks.workspace.wire import parse_privileges, parse_securable, parse_securables

T = TypeVar("T")

_API = "/api/2.1/unity-catalog"
_COLLECTION = {Kind.CATALOG: "catalogs", Kind.SCHEMA: "schemas", Kind.VOLUME: "volumes"}
#: Zero lets the server choose the page size, which is what its documentation recommends.
_SERVER_PAGES = {"max_results": "0"}
#: A metastore holds a few thousand of each; this is an end for a server that invents them.
MAX_SECURABLES = 1_000_000


class UnityCatalog:
    """What a reader asks of Unity Catalog."""

    def __init__(self, caller: Caller, identity: Identity, metrics: Metrics) -> None:
        self._caller = caller
        self._identity = identity
        self._rejects = RejectLog(metrics)

    async def fetch_children(self, token: Token, path: RemotePath) -> list[Entry]:
        """All catalogs of the root, schemas of a catalog or volumes of a schema that the token may see.

        What it may only browse is not asked for: it could not be read. Names that cannot be shown are left out.

        Raises:
            NotFound: no such catalog or schema.
            PermissionDenied: the principal may not.
            ProtocolViolation: the pages are malformed or do not end.
            RemoteError: any other failure.
        """
        kind = _child_kind(path)
        _refuse_impossible(path)
        entries: dict[str, Entry] = {}
        trail = PageTrail(path)
        query = {**_SERVER_PAGES, **dict(zip(("catalog_name", "schema_name"), path.parts, strict=False))}
        while True:
            call = Call("catalog", Lane.CATALOG, "GET", f"{_API}/{_COLLECTION[kind]}", query)
            listing = await self._fetch(call, token, lambda page: parse_securables(page, kind))
            self._rejects.report(path, listing)
            known = len(entries)
            for entry in listing.entries:
                # No snapshot is promised: pages may overlap.
                entries.setdefault(entry.name, entry)
            next_token = trail.follow(listing.next_token, len(entries) - known)
            if next_token is None:
                return list(entries.values())
            if len(entries) > MAX_SECURABLES:
                raise ProtocolViolation(f"{path} lists more than {MAX_SECURABLES} securables")
            query = {**query, "page_token": next_token}

    async def fetch_securable(self, token: Token, path: RemotePath) -> Entry:
        """A catalog, schema or volume by name; the entry's name is the server's spelling.

        Raises:
            NotFound: no such securable.
            PermissionDenied: the principal may not.
            RemoteError: any other failure.
        """
        kind = _kind(path)
        call = Call("catalog", Lane.CATALOG, "GET", f"{_API}/{_COLLECTION[kind]}/{_full_name(path)}")
        return await self._fetch(call, token, lambda payload: parse_securable(payload, kind))

    async def fetch_effective_permissions(
        self, token: Token, path: RemotePath, principal: Principal
    ) -> list[str]:
        """Privileges of ``principal`` on a securable, sorted. Advice only: owners have no row here, and whether
        groups count is not settled (databricks-api 3).

        Raises:
            RemoteError: the workspace could not or would not say.
        """
        kind = _kind(path)
        privileges: set[str] = set()
        trail = PageTrail(path)
        query: Mapping[str, str] = {**_SERVER_PAGES, "principal": principal.user_name}
        while True:
            url = f"{_API}/effective-permissions/{kind.name.lower()}/{_full_name(path)}"
            call = Call("catalog", Lane.CATALOG, "GET", url, query)
            names, next_token = await self._fetch(call, token, parse_privileges)
            known = len(privileges)
            privileges.update(names)
            next_token = trail.follow(next_token, len(privileges) - known)
            if next_token is None:
                return sorted(privileges)
            query = {**query, "page_token": next_token}

    async def _fetch(self, call: Call, token: Token, parse: Callable[[Any], T]) -> T:
        async with self._identity.settling_denials(token):
            return await self._caller.fetch_json(call, token, lambda payload, _: parse(payload))


def _child_kind(path: RemotePath) -> Kind:
    if path.depth > 2:
        raise ValueError(f"{path} has no securables in it")
    return Kind(path.depth + 1)


def _kind(path: RemotePath) -> Kind:
    if not 1 <= path.depth <= 3:
        raise ValueError(f"{path} is not a catalog, schema or volume")
    return Kind(path.depth)


def _full_name(path: RemotePath) -> str:
    _refuse_impossible(path)
    return quote_part(path.full_name)


def _refuse_impossible(path: RemotePath) -> None:
    # Names there hold neither (databricks-api 2); joined with dots they would name something else.
    if any("." in part or "/" in part for part in path.parts):
        raise NotFound(f"{path}: no such name can exist")
