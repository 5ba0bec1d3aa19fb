"""The HTTP side of signing in: the workspace's own OAuth, its discovery documents, and the fake Entra."""

from __future__ import annotations

import base64
import binascii
import functools
import html
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from starlette.responses import HTMLResponse, RedirectResponse, Response

from fuse4dbricks.devworkspace.endpoint import Call, json_reply
from fuse4dbricks.devworkspace.entra import OAuthError

_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


def _oauth(answer: Callable[[Call], Awaitable[Response]]) -> Callable[[Call], Awaitable[Response]]:
    """Word failures as OAuth does, not as the API does."""

    @functools.wraps(answer)
    async def answered(call: Call) -> Response:
        try:
            return await answer(call)
        except OAuthError as error:
            return json_reply({"error": error.code, "error_description": error.description}, error.status)

    return answered


async def _form(call: Call) -> dict[str, str]:
    # Starlette's own parser wants python-multipart, for a kind of form that nobody sends here.
    return dict(parse_qsl((await call.request.body()).decode("utf-8", "replace"), keep_blank_values=True))


# --- the workspace ---------------------------------------------------------------------------------


async def get_workspace_config(call: Call) -> Response:
    """GET /.well-known/databricks-config."""
    return json_reply(
        {
            "oidc_endpoint": f"{call.state.url}/oidc",
            "workspace_id": str(call.state.settings.workspace_id),
            "cloud": call.state.behaviour.cloud,
        }
    )


async def get_oauth_server(call: Call) -> Response:
    """GET /oidc/.well-known/oauth-authorization-server."""
    issuer = f"{call.state.url}/oidc"
    return json_reply(
        {
            "issuer": issuer,
            "authorization_endpoint": f"{issuer}/v1/authorize",
            "token_endpoint": f"{issuer}/v1/token",
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        }
    )


def _basic(call: Call) -> tuple[str, str] | None:
    scheme, _, encoded = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, colon, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    # RFC 6749 section 2.3.1: both are form-encoded before they are joined.
    return (unquote_plus(name), unquote_plus(secret)) if colon else None


@_oauth
async def issue_workspace_token(call: Call) -> Response:
    """POST /oidc/v1/token with ``grant_type=client_credentials``."""
    form = await _form(call)
    credentials = _basic(call) or (form.get("client_id", ""), form.get("client_secret", ""))
    if form.get("grant_type") != "client_credentials":
        raise OAuthError("unsupported_grant_type")
    tokens = call.state.entra.client_credentials(*credentials, issuer=f"{call.state.url}/oidc")
    return json_reply(tokens | {"scope": form.get("scope", "all-apis")})


async def redirect_to_login(call: Call) -> Response:
    """GET /aad/auth: the tenant is the first part of the target's path."""
    target = f"{call.state.behaviour.login_url}/{call.state.entra.tenant}/oauth2/authorize?response_type=code"
    return RedirectResponse(target, 302)


# --- Entra -----------------------------------------------------------------------------------------


def _authority(call: Call) -> str:
    return f"{call.state.url}/{_tenant(call)}"


def _tenant(call: Call) -> str:
    asked = call.name("tenant")
    if asked not in (call.state.entra.tenant, "organizations", "common"):
        raise OAuthError("invalid_tenant", f"AADSTS90002: tenant '{asked}' not found.")
    return asked


@_oauth
async def get_openid_configuration(call: Call) -> Response:
    """GET {tenant}/v2.0/.well-known/openid-configuration."""
    authority = _authority(call)
    return json_reply(
        {
            "issuer": f"{authority}/v2.0",
            "authorization_endpoint": f"{authority}/oauth2/v2.0/authorize",
            "token_endpoint": f"{authority}/oauth2/v2.0/token",
            "device_authorization_endpoint": f"{authority}/oauth2/v2.0/devicecode",
            "jwks_uri": f"{authority}/discovery/v2.0/keys",
        }
    )


@_oauth
async def start_device_login(call: Call) -> Response:
    """POST {tenant}/oauth2/v2.0/devicecode."""
    form = await _form(call)
    login = call.state.entra.start_device_login(form.get("client_id", ""), form.get("scope", ""))
    page = f"{_authority(call)}/devicelogin"
    return json_reply(
        {
            "user_code": login.user_code,
            "device_code": login.device_code,
            "verification_uri": page,
            "expires_in": int(call.state.behaviour.device_lifetime),
            "interval": call.state.behaviour.device_interval,
            "message": f"To sign in, open {page} and enter the code {login.user_code}.",
        }
    )


@_oauth
async def issue_entra_token(call: Call) -> Response:
    """POST {tenant}/oauth2/v2.0/token, and the v1 form of service principals."""
    form, issuer = await _form(call), f"{_authority(call)}/v2.0"
    return json_reply(_grant(call, form, issuer))


def _grant(call: Call, form: dict[str, str], issuer: str) -> dict[str, Any]:
    entra, client_id = call.state.entra, form.get("client_id", "")
    match form.get("grant_type"):
        case "client_credentials":
            return entra.client_credentials(client_id, form.get("client_secret", ""), issuer)
        case "refresh_token":
            return entra.refresh(form.get("refresh_token", ""), client_id, form.get("scope"), issuer)
        case grant if grant == _DEVICE_GRANT:
            return entra.poll(form.get("device_code") or form.get("code", ""), client_id, issuer)
        case _:
            raise OAuthError("unsupported_grant_type", "AADSTS70003: the grant type is not supported.")


@_oauth
async def show_device_login(call: Call) -> Response:
    """GET {tenant}/devicelogin: a page for the person in front of a demo."""
    _tenant(call)
    options = "".join(f"<option>{html.escape(who.user_name)}</option>" for who in call.state.people.get_all())
    return HTMLResponse(
        "<!doctype html><title>Sign in</title><form method=post>"
        f"<label>Code <input name=user_code></label> <label>as <select name=user>{options}</select></label> "
        "<button name=answer value=approve>Approve</button> <button name=answer value=decline>Decline</button></form>"
    )


@_oauth
async def answer_device_login(call: Call) -> Response:
    """POST {tenant}/devicelogin."""
    _tenant(call)
    form = await _form(call)
    try:
        if form.get("answer") == "decline":
            call.state.entra.decline(form.get("user_code", ""))
        else:
            call.state.entra.approve(form.get("user_code", ""), form.get("user", ""))
    except KeyError:
        return HTMLResponse("<!doctype html><title>Sign in</title>That code or user is not known.", 404)
    return HTMLResponse("<!doctype html><title>Sign in</title>Done. You may close this page.")
