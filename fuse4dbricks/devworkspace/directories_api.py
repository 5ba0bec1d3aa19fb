"""``/api/2.0/fs/directories``: list, look at, make and remove a directory.

The difficulty: a directory of 100,000 entries is asked for in a hundred pages while files come and go. A page
continues after the last entry that was given, found by bisection, so no page costs more than its own entries, and
nothing is given twice.
"""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from fuse4dbricks.devworkspace.endpoint import Call, json_reply
from fuse4dbricks.devworkspace.errors import bad_request
from fuse4dbricks.devworkspace.paging import Cursor, read_number
from fuse4dbricks.devworkspace.tree import Item
from fuse4dbricks.devworkspace.volumes import (
    Place,
    asked_place,
    check_query,
    folder_missing,
    in_the_way,
    stat,
)

PREFIX = "/api/2.0/fs/directories"


async def list_directory(call: Call) -> Response:
    """GET: one page; ``{}`` when there is nothing to say."""
    check_query(call, "page_size", "page_token")
    place = asked_place(call, PREFIX)
    size = _page_size(call)
    # A first scan of a large folder, and a thousand stats, are long enough to keep other readers waiting.
    return json_reply(await asyncio.to_thread(_build_page, call, place, size))


def _page_size(call: Call) -> int:
    wanted = read_number(call.query, "page_size") or call.state.behaviour.page_size
    if wanted < 0:
        raise bad_request("page_size must not be negative.", code="INVALID_PARAMETER_VALUE")
    return min(wanted, call.state.behaviour.page_size)


def _build_page(call: Call, place: Place, size: int) -> dict[str, Any]:
    node = stat(call, place)
    if node is None or not node.is_folder:
        raise folder_missing(place)
    items = call.state.tree.items(place.parts)
    cursor = Cursor.read(call.query.get("page_token"), f"{size} {place.path}")
    start = 0 if cursor.after is None else bisect.bisect_right(items, Item(*cursor.after))
    page = items[start : start + size]
    contents = _describe(call, place, page)
    if cursor.after is None:
        contents += call.state.hostile.get(place.path)
    reply: dict[str, Any] = {"contents": contents} if contents else {}
    if start + size < len(items):
        reply["next_page_token"] = Cursor(cursor.scope, after=list(page[-1])).encode()
    return reply


def _describe(call: Call, place: Place, page: Sequence[Item]) -> list[Any]:
    prefix = place.path
    contents: list[Any] = []
    for is_folder, name in page:
        path = f"{prefix}/{name}"
        if is_folder:
            contents.append({"path": f"{path}/", "is_directory": True, "name": name})
            continue
        node = call.state.tree.stat((*place.parts, name))
        if node is None or node.is_folder:  # gone or replaced since the folder was read
            continue
        contents.append(
            {
                "path": path,
                "is_directory": False,
                "file_size": node.size,
                "last_modified": int(node.modified) * 1000,
                "name": name,
            }
        )
    return contents


async def look_at_directory(call: Call) -> Response:
    """HEAD: 200 or 404, and no more."""
    check_query(call)
    place = asked_place(call, PREFIX)
    node = stat(call, place)
    if node is None or not node.is_folder:
        raise folder_missing(place)
    return Response(status_code=200)


async def make_directory(call: Call) -> Response:
    """PUT: 204; with parents, and fine when it is there."""
    check_query(call)
    place = asked_place(call, PREFIX, write=True)
    try:
        call.state.tree.make_folder(place.parts)
    except (FileExistsError, NotADirectoryError):
        text = "The given path points to an existing file. This API does not support operations on files."
        raise in_the_way(call, text) from None
    except OSError as error:
        raise bad_request(f"Invalid path: {error.strerror}", "FILES_API_INVALID_PATH") from None
    call.state.made_folders.add(place.parts)
    return Response(status_code=204)


async def remove_directory(call: Call) -> Response:
    """DELETE: 204; only an empty one."""
    check_query(call)
    place = asked_place(call, PREFIX, write=True)
    node = call.state.tree.stat(place.parts)
    if node is None or not node.is_folder:
        raise folder_missing(place)
    if place.is_volume:
        raise bad_request("Invalid path: the root of a volume cannot be removed.", "FILES_API_INVALID_PATH")
    try:
        call.state.tree.remove(place.parts)
    except OSError:
        raise bad_request(
            "The directory is not empty.", "FILES_API_DIRECTORY_IS_NOT_EMPTY", code="INVALID_PARAMETER_VALUE"
        ) from None
    call.state.made_folders.discard(place.parts)
    return Response(status_code=204)
