"""Lists and gets of catalogs, schemas and volumes.

The difficulty: who sees what. A list shows what the caller owns or may use, with ``include_browse`` also what he may
only know of; a get answers 403 for what exists and 404 for what does not; and a missing USE on a parent is named
before anything is said of the child. Pages may be short or empty and still go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from fuse4dbricks.devworkspace.endpoint import Call, json_reply
from fuse4dbricks.devworkspace.errors import invalid_parameter, securable_missing
from fuse4dbricks.devworkspace.grants import BROWSE, READ_VOLUME, USE_CATALOG, USE_SCHEMA, kind_of, lineage
from fuse4dbricks.devworkspace.namespace import SecurableMissing
from fuse4dbricks.devworkspace.paging import Cursor, read_flag, read_max_results
from fuse4dbricks.devworkspace.permissions import lacks

#: What shows an object of each kind to someone who does not own it.
_SEEN_WITH = {"CATALOG": USE_CATALOG, "SCHEMA": USE_SCHEMA, "VOLUME": READ_VOLUME}

#: Server-chosen page of volumes, which are always paginated (docstring of the SDK).
_VOLUMES_PAGE = 10_000


async def list_catalogs(call: Call) -> Response:
    """GET /catalogs."""
    return _list(call, "catalogs", (), paginated=call.state.behaviour.paginate_unset)


async def list_schemas(call: Call) -> Response:
    """GET /schemas?catalog_name=."""
    parent = (_required(call, "catalog_name"),)
    return _list(call, "schemas", parent, paginated=call.state.behaviour.paginate_unset)


async def list_volumes(call: Call) -> Response:
    """GET /volumes?catalog_name=&schema_name=."""
    return _list(
        call, "volumes", (_required(call, "catalog_name"), _required(call, "schema_name")), paginated=True
    )


def _required(call: Call, name: str) -> str:
    value = call.query.get(name)
    if not value:
        raise invalid_parameter(f"Missing required parameter {name}.")
    return value.lower()


def _list(call: Call, key: str, parent: tuple[str, ...], *, paginated: bool) -> Response:
    browse = read_flag(call.query, "include_browse")
    prefix = ".".join(parent)
    try:
        names = [f"{prefix}.{name}" if prefix else name for name in call.state.namespace.children(parent)]
    except SecurableMissing as missing:
        raise _absent(call, missing) from None
    _check_parents(call, prefix, browse=browse)
    seen = [described for name in names if (described := _shown(call, name, browse=browse)) is not None]
    seen += call.state.hostile.get(f"{key} {prefix}".strip())
    return _page(call, key, seen, scope=f"{key} {prefix} {browse}", paginated=paginated)


def _absent(call: Call, missing: SecurableMissing) -> Exception:
    above = list(reversed(lineage(missing.full_name)[1:]))
    lacking = (
        None
        if call.state.grants.is_admin(call.principal)
        else call.state.grants.missing_use(call.principal, above)
    )
    return (
        securable_missing(missing.kind, missing.full_name)
        if lacking is None
        else lacks(lacking[1], lacking[0])
    )


def _check_parents(call: Call, parent: str, *, browse: bool) -> None:
    grants = call.state.grants
    if not parent or grants.is_admin(call.principal):
        return
    lacking = grants.missing_use(call.principal, reversed(lineage(parent)))
    if lacking is not None and not (browse and grants.holds(call.principal, parent, BROWSE)):
        raise lacks(lacking[1], lacking[0])


def _shown(call: Call, full_name: str, *, browse: bool) -> dict[str, Any] | None:
    grants, kind = call.state.grants, kind_of(full_name)
    parents = lineage(full_name)[1:]
    usable = grants.is_admin(call.principal) or grants.missing_use(call.principal, parents) is None
    if grants.is_admin(call.principal) or (
        usable and grants.holds(call.principal, full_name, _SEEN_WITH[kind])
    ):
        return call.state.metadata.describe(full_name)
    # Documented for schemas: the owner of the catalog is shown all of them.
    if kind == "SCHEMA" and grants.owns(call.principal, parents[0]):
        return call.state.metadata.describe(full_name)
    if browse and grants.holds(call.principal, full_name, BROWSE):
        return call.state.metadata.describe(full_name, browse_only=True)
    return None


def _page(call: Call, key: str, seen: Sequence[Any], *, scope: str, paginated: bool) -> Response:
    wanted = read_max_results(call.query)
    behaviour = call.state.behaviour
    if wanted is None and not paginated:
        return json_reply({key: list(seen)} if seen else {})
    served = (
        behaviour.catalog_page_size if key != "volumes" else min(behaviour.catalog_page_size, _VOLUMES_PAGE)
    )
    size = min(wanted, served) if wanted else served
    cursor = Cursor.read(call.query.get("page_token"), scope)
    if behaviour.empty_pages and not cursor.emptied:
        return json_reply({"next_page_token": Cursor(scope, cursor.position, None, emptied=True).encode()})
    stop = cursor.position + size
    page = list(seen[cursor.position : stop])
    reply: dict[str, Any] = {key: page} if page else {}
    if stop < len(seen):
        reply["next_page_token"] = Cursor(scope, stop).encode()
    return json_reply(reply)


async def get_securable(call: Call) -> Response:
    """GET /catalogs/{name}, /schemas/{full_name}, /volumes/{full_name}."""
    full_name = call.name("full_name").lower()
    kind = {"uc.catalogs.get": "CATALOG", "uc.schemas.get": "SCHEMA", "uc.volumes.get": "VOLUME"}[
        call.record.kind
    ]
    if full_name.count(".") != ("CATALOG", "SCHEMA", "VOLUME").index(kind):
        raise invalid_parameter(f"'{full_name}' is not a valid name for a {kind.lower()}.")
    try:
        call.state.namespace.locate(full_name.split("."))
    except SecurableMissing as missing:
        raise _absent(call, missing) from None
    shown = _shown(call, full_name, browse=read_flag(call.query, "include_browse"))
    if shown is None:
        raise _refusal(call, full_name)
    return json_reply(shown)


def _refusal(call: Call, full_name: str) -> Exception:
    above = list(reversed(lineage(full_name)[1:]))
    lacking = call.state.grants.missing_use(call.principal, above)
    return (
        lacks(_SEEN_WITH[kind_of(full_name)], full_name) if lacking is None else lacks(lacking[1], lacking[0])
    )
