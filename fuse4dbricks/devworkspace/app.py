"""The routes of both servers, and the kind of call that each is.

Kinds are what the journal counts and what faults match: ``fs.*`` for the Files API (``fs.files.get``,
``fs.directories.list``, …), ``uc.*`` for Unity Catalog, ``scim.me``, ``oidc.*``, ``entra.*``, ``cloud.*`` for the cloud
store, ``other`` for paths that are no API.
"""

from __future__ import annotations

from collections.abc import Iterator

from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Scope

from fuse4dbricks.devworkspace import (
    cloud_store,
    directories_api,
    files_api,
    identity,
    permissions,
    scim,
    unity_catalog,
)
from fuse4dbricks.devworkspace.admin import admin_routes
from fuse4dbricks.devworkspace.endpoint import Answer, Call, Endpoint
from fuse4dbricks.devworkspace.errors import ApiError
from fuse4dbricks.devworkspace.state import State

_FS = "/api/2.0/fs"
_UC = "/api/2.1/unity-catalog"

#: Kinds that bear no token of the workspace.
_OPEN_KINDS = ("oidc.", "entra.", "cloud.", "login.", "other")


class _Rest(Convertor[str]):
    """The rest of a path. Starlette's own ``path`` stops at a newline, which a file name may hold."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("rest", _Rest())

_WORKSPACE: list[tuple[str, str, str, Answer]] = [
    ("GET", f"{_UC}/catalogs", "uc.catalogs.list", unity_catalog.list_catalogs),
    ("GET", f"{_UC}/catalogs/{{full_name}}", "uc.catalogs.get", unity_catalog.get_securable),
    ("GET", f"{_UC}/schemas", "uc.schemas.list", unity_catalog.list_schemas),
    ("GET", f"{_UC}/schemas/{{full_name}}", "uc.schemas.get", unity_catalog.get_securable),
    ("GET", f"{_UC}/volumes", "uc.volumes.list", unity_catalog.list_volumes),
    ("GET", f"{_UC}/volumes/{{full_name}}", "uc.volumes.get", unity_catalog.get_securable),
    ("GET", f"{_UC}/permissions/{{kind}}/{{full_name}}", "uc.permissions.get", permissions.get_permissions),
    (
        "PATCH",
        f"{_UC}/permissions/{{kind}}/{{full_name}}",
        "uc.permissions.update",
        permissions.update_permissions,
    ),
    (
        "GET",
        f"{_UC}/effective-permissions/{{kind}}/{{full_name}}",
        "uc.effective_permissions.get",
        permissions.get_effective_permissions,
    ),
    ("HEAD", f"{_FS}/files/{{path:rest}}", "fs.files.head", files_api.read_file),
    ("GET", f"{_FS}/files/{{path:rest}}", "fs.files.get", files_api.read_file),
    ("PUT", f"{_FS}/files/{{path:rest}}", "fs.files.put", files_api.write_file),
    ("POST", f"{_FS}/files/{{path:rest}}", "fs.files.start_upload", files_api.start_upload),
    ("DELETE", f"{_FS}/files/{{path:rest}}", "fs.files.delete", files_api.remove_file),
    ("HEAD", f"{_FS}/directories/{{path:rest}}", "fs.directories.head", directories_api.look_at_directory),
    ("GET", f"{_FS}/directories/{{path:rest}}", "fs.directories.list", directories_api.list_directory),
    ("PUT", f"{_FS}/directories/{{path:rest}}", "fs.directories.put", directories_api.make_directory),
    ("DELETE", f"{_FS}/directories/{{path:rest}}", "fs.directories.delete", directories_api.remove_directory),
    ("POST", f"{_FS}/create-download-url", "fs.download_url", cloud_store.create_download_url),
    *(
        ("POST", f"{_FS}/{name}", "fs.upload_url", files_api.refuse_presigned_upload)
        for name in (
            "create-upload-url",
            "create-delete-url",
            "create-upload-part-urls",
            "create-resumable-upload-url",
            "create-abort-upload-url",
        )
    ),
    ("GET", "/api/2.0/preview/scim/v2/Me", "scim.me", scim.get_me),
    ("GET", "/.well-known/databricks-config", "oidc.config", identity.get_workspace_config),
    ("GET", "/oidc/.well-known/oauth-authorization-server", "oidc.discovery", identity.get_oauth_server),
    ("POST", "/oidc/v1/token", "oidc.token", identity.issue_workspace_token),
    ("GET", "/aad/auth", "login.redirect", identity.redirect_to_login),
    (
        "GET",
        "/{tenant}/v2.0/.well-known/openid-configuration",
        "entra.discovery",
        identity.get_openid_configuration,
    ),
    ("POST", "/{tenant}/oauth2/v2.0/devicecode", "entra.devicecode", identity.start_device_login),
    ("POST", "/{tenant}/oauth2/v2.0/token", "entra.token", identity.issue_entra_token),
    ("POST", "/{tenant}/oauth2/token", "entra.token", identity.issue_entra_token),
    ("GET", "/{tenant}/devicelogin", "login.device", identity.show_device_login),
    ("POST", "/{tenant}/devicelogin", "login.device", identity.answer_device_login),
]


async def _no_endpoint(call: Call) -> Response:
    raise ApiError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{call.record.method} {call.record.path}'")


def _routes(state: State) -> Iterator[Route]:
    for method, path, kind, answer in _WORKSPACE:
        auth = "none" if kind.startswith(_OPEN_KINDS) else "token"
        endpoint = Endpoint(state, kind, answer, auth=auth)  # type: ignore[arg-type]  # a str of that Literal
        yield Route(path, endpoint, methods=[method], name=kind)
    yield from admin_routes(state)
    yield Route("/{path:rest}", Endpoint(state, "other", _no_endpoint, auth="none"), methods=None)


def workspace_app(state: State) -> ASGIApp:
    """The workspace."""
    state.faults.user_of = lambda scope: _user_of(state, scope)
    return Router(list(_routes(state)), redirect_slashes=False)


def _user_of(state: State, scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            principal = state.people.authenticate(value.decode("latin-1").partition(" ")[2].strip())
            return None if principal is None else principal.user_name
    return None


def cloud_app(state: State) -> ASGIApp:
    """The cloud store that presigned URLs lead to."""
    read = Endpoint(state, "cloud.get", cloud_store.read_object, side="cloud", auth="none")
    head = Endpoint(state, "cloud.head", cloud_store.read_object, side="cloud", auth="none")
    other = Endpoint(state, "cloud.other", _no_endpoint, side="cloud", auth="none")
    return Router(
        [
            Route("/{path:rest}", head, methods=["HEAD"]),
            Route("/{path:rest}", read, methods=["GET"]),
            Route("/{path:rest}", other, methods=None),
        ],
        redirect_slashes=False,
    )
