"""The server of all benchmarks, in a process of its own: a workspace, and the same tree as plain web pages.

The difficulty: a server in the process that measures would share its interpreter, and peers that know nothing of
Databricks must meet the same line. So this process serves both doors with one certificate, and one setting slows
both alike: latency before each answer, and a rate per connection.

``python -m benchmarks.server FOLDER`` prints one line of JSON and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import html
import json
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from fuse4dbricks.devworkspace.body_effects import Bandwidth
from fuse4dbricks.devworkspace.certificates import make_certificate
from fuse4dbricks.devworkspace.connection import connection_of
from fuse4dbricks.devworkspace.disk_tree import DiskTree
from fuse4dbricks.devworkspace.effects import Latency
from fuse4dbricks.devworkspace.file_reply import FileReply, Span, file_headers, parse_range
from fuse4dbricks.devworkspace.server import LocalWorkspace
from fuse4dbricks.devworkspace.serving import listen, serve_until

#: Pieces of a paced body, as the workspace's own Bandwidth effect cuts them.
_PIECE = 256 * 1024


class Pages:
    """The tree as nginx would show it: index pages and files with ranges. ``PUT /_line`` sets the line of both."""

    def __init__(self, root: Path, workspace: LocalWorkspace) -> None:
        self._tree = DiskTree(root)
        self._workspace = workspace
        self._latency = 0.0
        self._rate = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        if request.url.path == "/_line":
            self._set_line(await request.json())
            await Response(status_code=204)(scope, receive, send)
            return
        await asyncio.sleep(self._latency)
        reply = self._reply(request)
        await reply(scope, receive, self._paced(scope, send) if self._rate else send)

    def _set_line(self, line: dict[str, Any]) -> None:
        self._latency, self._rate = line["latency_seconds"], line["bytes_per_second"]
        self._workspace.faults.clear()
        if self._latency:
            self._workspace.faults.add(Latency(self._latency))
        if self._rate:
            self._workspace.faults.add(Bandwidth(self._rate))

    def _reply(self, request: Request) -> Any:
        parts = tuple(part for part in request.url.path.split("/") if part)
        node = self._tree.stat(parts)
        if node is None:
            return Response(status_code=404)
        if node.is_folder:
            return Response(self._index(parts), media_type="text/html")
        content = self._tree.open(parts)
        assert content is not None
        span: Span | None = parse_range(request.headers.get("range"), node.size)
        return FileReply(content, span, file_headers(node, span, None), connection_of(request.scope))

    def _index(self, parts: tuple[str, ...]) -> str:
        names = (item.name + ("/" if item.is_folder else "") for item in self._tree.items(parts))
        links = "\n".join(f'<a href="{quote(name)}">{html.escape(name)}</a>' for name in names)
        return f"<html><body><pre>{links}</pre></body></html>"

    def _paced(self, scope: Scope, send: Send) -> Send:
        connection = connection_of(scope)

        async def paced(message: Message) -> None:
            body = message.get("body", b"")
            for start in range(0, max(1, len(body)), _PIECE):
                piece = body[start : start + _PIECE]
                await connection.pace(len(piece), self._rate)
                more = message.get("more_body", False) or start + _PIECE < len(body)
                await send({**message, "body": piece, "more_body": more} if "body" in message else message)

        return paced


def main() -> None:
    """Serve until standard input ends."""
    root = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        certificate = make_certificate(Path(folder))
        with LocalWorkspace(root, certificate=certificate) as workspace:
            # Upstream asks for each privilege by its name; being allowed everything does not count.
            workspace.grants.open_to_all = False
            workspace.grants.let_read("main.sales.raw", workspace.user)
            # All subjects fetch from the workspace: what its URLs would lead past would be another question.
            workspace.behaviour.presigned = "not_enabled"
            door = listen("127.0.0.1", 0)
            pages = Pages(root, workspace)
            serving = serve_until(asyncio.Event(), [pages], [door], certificate, lambda: None)
            threading.Thread(target=lambda: asyncio.run(_run(serving)), daemon=True).start()
            print(
                json.dumps(
                    {
                        "url": workspace.url,
                        "token": workspace.token,
                        "authority": str(certificate.authority),
                        "pages": f"https://127.0.0.1:{door.getsockname()[1]}",
                    }
                ),
                flush=True,
            )
            sys.stdin.read()


async def _run(serving: Any) -> None:
    await serving


if __name__ == "__main__":
    main()
