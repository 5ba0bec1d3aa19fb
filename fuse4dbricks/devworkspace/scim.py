"""SCIM Me: who a token belongs to."""

from __future__ import annotations

import hashlib
from typing import Any

from starlette.responses import Response

from fuse4dbricks.devworkspace.endpoint import Call, json_reply
from fuse4dbricks.devworkspace.people import Principal


def _group_id(name: str) -> str:
    return str(int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big"))


def describe(principal: Principal) -> dict[str, Any]:
    """The SCIM document of a principal; a service principal's user name is its application id."""
    groups = ["users", *principal.groups]
    described: dict[str, Any] = {
        "schemas": [
            "urn:ietf:params:scim:schemas:core:2.0:User",
            "urn:ietf:params:scim:schemas:extension:workspace:2.0:User",
        ],
        "id": principal.id,
        "userName": principal.user_name,
        "displayName": principal.display_name,
        "active": True,
        "groups": [
            {"display": name, "type": "direct", "value": _group_id(name), "$ref": f"Groups/{_group_id(name)}"}
            for name in groups
        ],
        "entitlements": [{"value": "workspace-access"}],
    }
    if not principal.is_service_principal:
        described["name"] = {"givenName": principal.display_name}
        described["emails"] = [{"type": "work", "value": principal.user_name, "primary": True}]
    return described


def _names(raw: str | None) -> set[str]:
    return {name.strip() for name in (raw or "").split(",") if name.strip()}


async def get_me(call: Call) -> Response:
    """GET /api/2.0/preview/scim/v2/Me, with ``attributes`` and ``excludedAttributes``."""
    described = describe(call.principal)
    wanted, unwanted = _names(call.query.get("attributes")), _names(call.query.get("excludedAttributes"))
    kept = {
        key: value
        for key, value in described.items()
        if key in ("id", "schemas") or ((not wanted or key in wanted) and key not in unwanted)
    }
    return json_reply(kept)
