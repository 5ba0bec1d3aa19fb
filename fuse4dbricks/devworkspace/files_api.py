"""``/api/2.0/fs/files``: read, look at, write and remove a file.

The difficulty: the 2.0 API has no ETag, one condition (If-Unmodified-Since, on reads only), creates parents without
being asked, and overwrites unless told not to. A client that passes here has not relied on anything better.
"""

from __future__ import annotations

import secrets

from starlette.responses import Response
from starlette.types import ASGIApp

from fuse4dbricks.devworkspace.endpoint import Call, json_reply
from fuse4dbricks.devworkspace.errors import ApiError, bad_request, permission_denied
from fuse4dbricks.devworkspace.file_reply import (
    FileReply,
    RangeUnsatisfiable,
    Span,
    file_headers,
    http_time,
    is_modified_since,
    parse_range,
)
from fuse4dbricks.devworkspace.namespace import VOLUME_DEPTH
from fuse4dbricks.devworkspace.paging import read_flag
from fuse4dbricks.devworkspace.tree import Content, Parts, Upload
from fuse4dbricks.devworkspace.volumes import Place, asked_place, check_query, file_missing, in_the_way

PREFIX = "/api/2.0/fs/files"

_PRESIGNED_OFF = "Presigned URLs are not enabled."


async def read_file(call: Call) -> ASGIApp:
    """GET and HEAD."""
    check_query(call)
    place = asked_place(call, PREFIX)
    content = None if place.ends_with_slash else call.state.tree.open(place.parts)
    if content is None:
        raise file_missing(place)
    try:
        span = _checked_span(call, content)
    except ApiError:
        content.close()
        raise
    etag = f'"{content.node.etag}"' if call.state.behaviour.etag else None
    return FileReply(content, span, file_headers(content.node, span, etag), call.connection)


def _checked_span(call: Call, content: Content) -> Span | None:
    node, headers = content.node, call.request.headers
    if is_modified_since(node, headers.get("if-unmodified-since")):
        raise ApiError(
            412,
            "FAILED_PRECONDITION",
            "The file was modified after the given time.",
            reason="FILES_API_PRECONDITION_FAILED",
            headers={"last-modified": http_time(node.modified)},
        )
    try:
        return parse_range(headers.get("range"), node.size)
    except RangeUnsatisfiable:
        raise ApiError(
            416,
            "INVALID_PARAMETER_VALUE",
            "The range is not satisfiable.",
            reason="FILES_API_RANGE_NOT_SATISFIABLE",
            headers={"content-range": f"bytes */{node.size}"},
        ) from None


async def write_file(call: Call) -> Response:
    """PUT: 204; the file appears whole or not at all."""
    check_query(call, "overwrite")
    place = asked_place(call, PREFIX, write=True)
    overwrite = "overwrite" not in call.query or read_flag(call.query, "overwrite")
    _check_target(call, place, overwrite=overwrite)
    try:
        upload = call.state.tree.create(place.parts)
    except FileExistsError as error:
        raise in_the_way(call, f"{place.path}: {error}") from None
    try:
        await _receive(call, upload)
        # Somebody else may have been quicker while the body came in.
        _check_target(call, place, overwrite=overwrite)
        upload.commit()
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise in_the_way(call, f"A file or directory is in the way of {place.path}.") from None
    except OSError as error:
        raise bad_request(f"Invalid path: {error.strerror}", "FILES_API_INVALID_PATH") from None
    finally:
        upload.abort()
    return Response(status_code=204)


def _check_target(call: Call, place: Place, *, overwrite: bool) -> None:
    if place.is_volume or place.ends_with_slash:
        raise bad_request("Invalid path: not a file.", "FILES_API_INVALID_PATH")
    node = call.state.tree.stat(place.parts)
    if node is not None and (node.is_folder or not overwrite):
        raise in_the_way(call, f"The file being created already exists: {place.path}")


async def _receive(call: Call, upload: Upload) -> None:
    received = 0
    async for piece in call.request.stream():
        received += len(piece)
        if received > call.state.behaviour.max_upload:
            raise ApiError(413, "BAD_REQUEST", "The file is too large.", reason="FILES_API_FILE_TOO_LARGE")
        upload.write(piece)


async def remove_file(call: Call) -> Response:
    """DELETE: 204; 404 when there is no file."""
    check_query(call)
    place = asked_place(call, PREFIX, write=True)
    node = call.state.tree.stat(place.parts)
    if node is None or node.is_folder:
        raise file_missing(place)
    call.state.tree.remove(place.parts)
    if call.state.behaviour.layout == "flat":
        _let_vanish(call, place.parts[:-1])
    return Response(status_code=204)


def _let_vanish(call: Call, folder: Parts) -> None:
    """Remove folders that were only ever a prefix of what was in them, as on S3 and GCS."""
    while len(folder) > VOLUME_DEPTH and folder not in call.state.made_folders:
        if call.state.tree.items(folder):
            return
        call.state.tree.remove(folder)
        folder = folder[:-1]


async def start_upload(call: Call) -> Response:
    """POST ?action=initiate-upload: as on a workspace without presigned uploads.

    The SDK begins every large upload so and treats only a refusal of the *part URLs* as a reason to fall back to
    one PUT; a refusal here would make the upload fail.
    """
    check_query(call, "action", "overwrite")
    place = asked_place(call, PREFIX, write=True)
    if call.query.get("action") != "initiate-upload":
        raise bad_request("Unsupported action.", "FILES_API_UNEXPECTED_QUERY_PARAMETERS")
    overwrite = "overwrite" not in call.query or read_flag(call.query, "overwrite")
    _check_target(call, place, overwrite=overwrite)
    return json_reply({"multipart_upload": {"session_token": secrets.token_urlsafe(24)}})


async def refuse_presigned_upload(call: Call) -> Response:
    """POST create-upload-url and its kin: not enabled here."""
    del call
    raise permission_denied(
        _PRESIGNED_OFF, reason="FILES_API_API_IS_NOT_ENABLED", domain="filesystem.databricks.com"
    )
