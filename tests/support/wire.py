"""A plain HTTP client that keeps what it got when the body breaks off."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from tests.support.workspace import Served


@contextmanager
def connected(url: str, timeout: float = 10) -> Iterator[http.client.HTTPConnection]:
    """A connection to a server, closed at the end."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=timeout)
    try:
        yield connection
    finally:
        connection.close()


class Got:
    """A reply, read whole; ``error`` is what broke the body off."""

    def __init__(self, reply: http.client.HTTPResponse) -> None:
        self.status, self.headers = reply.status, reply.headers
        self.error: Exception | None = None
        self.body = b""
        try:
            while piece := reply.read1(65536):
                self.body += piece
        except (http.client.HTTPException, OSError) as error:
            self.error = error

    @property
    def is_cut(self) -> bool:
        """The body is not as long as its head promised."""
        return self.error is not None or len(self.body) != int(
            self.headers.get("content-length", len(self.body))
        )

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


def ask(
    workspace: Served, path: str, method: str = "GET", *, token: str | None = None, **headers: str
) -> Got:
    """One request on a connection of its own; underscores in header names stand for hyphens."""
    told = {"Authorization": f"Bearer {token or workspace.token}"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    with connected(workspace.url) as connection:
        connection.request(method, path, headers=told)
        return Got(connection.getresponse())
