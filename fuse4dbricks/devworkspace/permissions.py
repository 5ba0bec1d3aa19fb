"""The permissions API: grants, effective grants, and the texts of refusals.

The difficulty: owners and admins have rights without a row here, and whether a user's groups are expanded is not
documented (``Behaviour.expand_groups``). A client that gates reads on these answers is wrong; this file lets it
find that out.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from fuse4dbricks.devworkspace.endpoint import Call, json_reply
from fuse4dbricks.devworkspace.errors import ApiError, invalid_parameter, permission_denied, securable_missing
from fuse4dbricks.devworkspace.grants import EffectiveGrant, kind_of
from fuse4dbricks.devworkspace.namespace import SecurableMissing
from fuse4dbricks.devworkspace.paging import Cursor, read_max_results

#: Documented: a positive ``max_results`` below it is an error here.
_LEAST_MAX_RESULTS = 150


def lacks(privilege: str, securable: str) -> ApiError:
    """403 in the service's words: ``User does not have READ VOLUME on Volume 'c.s.v'.``"""
    spoken = privilege.replace("_", " ")
    return permission_denied(f"User does not have {spoken} on {kind_of(securable).title()} '{securable}'.")


def _securable(call: Call) -> str:
    full_name, kind = call.name("full_name").lower(), call.name("kind").upper()
    if kind not in ("CATALOG", "SCHEMA", "VOLUME"):
        raise invalid_parameter(f"Securable type {kind} is not supported here.")
    parts = full_name.split(".")
    if len(parts) != ("CATALOG", "SCHEMA", "VOLUME").index(kind) + 1:
        raise invalid_parameter(f"'{full_name}' is not a valid name for a {kind.lower()}.")
    try:
        call.state.namespace.locate(parts)
    except SecurableMissing as missing:
        raise securable_missing(missing.kind, missing.full_name) from None
    return full_name


def _asked_principal(call: Call, securable: str) -> str | None:
    asked = call.query.get("principal")
    if asked not in call.principal.identities and not call.state.grants.may_administer(
        call.principal, securable
    ):
        raise permission_denied(f"User does not have MANAGE on {kind_of(securable).title()} '{securable}'.")
    return asked


def _page(call: Call, rows: list[dict[str, Any]], *, least: int) -> Response:
    wanted = read_max_results(call.query)
    if wanted is not None and 0 < wanted < least:
        raise invalid_parameter(f"max_results must be 0 or at least {least}.")
    size = max(least, call.state.behaviour.catalog_page_size) if wanted == 0 else wanted
    start = Cursor.read(call.query.get("page_token"), "permissions").position
    stop = len(rows) if size is None else start + size
    reply: dict[str, Any] = {}
    if rows[start:stop]:
        reply["privilege_assignments"] = rows[start:stop]
    if stop < len(rows):
        reply["next_page_token"] = Cursor("permissions", stop).encode()
    return json_reply(reply)


async def get_permissions(call: Call) -> Response:
    """GET /permissions/{kind}/{name}: direct grants, privileges as plain strings."""
    securable = _securable(call)
    asked = _asked_principal(call, securable)
    rows = [
        {"principal": who, "privileges": list(held)}
        for who, held in call.state.grants.direct(securable).items()
        if asked in (None, who)
    ]
    return _page(call, rows, least=_LEAST_MAX_RESULTS)


async def get_effective_permissions(call: Call) -> Response:
    """GET /effective-permissions/{kind}/{name}: direct and inherited grants."""
    securable = _securable(call)
    asked = _asked_principal(call, securable)
    by_principal: dict[str, list[dict[str, str]]] = {}
    for grant in call.state.grants.effective(securable):
        row_of = _row_principal(call, grant, asked)
        if row_of is not None:
            by_principal.setdefault(row_of, []).append(_privilege(grant))
    rows = [{"principal": who, "privileges": held} for who, held in by_principal.items()]
    return _page(call, rows, least=_LEAST_MAX_RESULTS)


def _row_principal(call: Call, grant: EffectiveGrant, asked: str | None) -> str | None:
    if asked is None or grant.principal == asked:
        return grant.principal
    known = call.state.people.get(asked)
    if call.state.behaviour.expand_groups and known is not None and grant.principal in known.identities:
        return asked
    return None


def _privilege(grant: EffectiveGrant) -> dict[str, str]:
    described = {"privilege": grant.privilege}
    if grant.inherited_from is not None:
        described["inherited_from_type"] = kind_of(grant.inherited_from)
        described["inherited_from_name"] = grant.inherited_from
    return described


async def update_permissions(call: Call) -> Response:
    """PATCH /permissions/{kind}/{name}: ``{"changes": [{"principal", "add": [], "remove": []}]}``."""
    securable = _securable(call)
    if not call.state.grants.may_administer(call.principal, securable):
        raise lacks("MANAGE", securable)
    for change in (await call.document()).get("changes", []):
        principal = change.get("principal")
        if not principal:
            raise invalid_parameter("A change needs a principal.")
        call.state.grants.grant(securable, principal, *change.get("add", []))
        if change.get("remove"):
            call.state.grants.revoke(securable, principal, *change["remove"])
    rows = [
        {"principal": who, "privileges": list(held)}
        for who, held in call.state.grants.direct(securable).items()
    ]
    return json_reply({"privilege_assignments": rows})
