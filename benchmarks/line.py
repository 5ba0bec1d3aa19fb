"""The benchmarks' end of the server: start it, set its line, count its calls, and how fast it could be."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fuse4dbricks.units import MIB


@dataclass(frozen=True, slots=True)
class Line:
    """What lies between client and server; zeros for nothing."""

    latency_seconds: float = 0.0
    bytes_per_second: float = 0.0


DIRECT = Line()
#: The line of the goals: 30 ms and 50 MB/s per connection.
SLOW = Line(0.030, 50e6)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server process.

    Attributes:
        url: of the workspace.
        token: of its user.
        authority: PEM file to trust.
        pages: URL of the same tree as web pages.
    """

    url: str
    token: str
    authority: str
    pages: str

    def connect(self, url: str) -> http.client.HTTPSConnection:
        """A connection to one of the two doors."""
        address = urlsplit(url)
        assert address.hostname is not None
        context = ssl.create_default_context(cafile=self.authority)
        return http.client.HTTPSConnection(address.hostname, address.port, context=context, timeout=60)

    def set_line(self, line: Line) -> None:
        """Slow both doors down."""
        connection = self.connect(self.pages)
        connection.request("PUT", "/_line", json.dumps(asdict(line)))
        assert connection.getresponse().status == 204
        connection.close()

    def get_counts(self) -> dict[str, Any]:
        """``calls`` and ``bytes`` by kind since the last :meth:`clear_counts`."""
        return self._local("GET", "counts")

    def clear_counts(self) -> None:
        """Begin counting anew."""
        self._local("DELETE", "log")

    def _local(self, method: str, name: str) -> dict[str, Any]:
        connection = self.connect(self.url)
        connection.request(method, f"/_local/{name}")
        answer: dict[str, Any] = json.load(connection.getresponse())
        connection.close()
        return answer

    def measure_limit(self, path: str, size: int, threads: int = 8, step: int = 8 * MIB) -> float:
        """MiB per second with ``http.client`` and ``readinto``, the least that a client can do."""
        offsets = iter(range(0, size, step))
        lock = threading.Lock()

        def fetch() -> None:
            connection, buffer = self.connect(self.url), memoryview(bytearray(step))
            while True:
                with lock:
                    start = next(offsets, None)
                if start is None:
                    return connection.close()
                stop = min(start + step, size)
                headers = {"Authorization": f"Bearer {self.token}", "Range": f"bytes={start}-{stop - 1}"}
                connection.request("GET", f"/api/2.0/fs/files/Volumes/{path}", headers=headers)
                reply, gained = connection.getresponse(), 0
                while gained < stop - start:
                    gained += reply.readinto(buffer[gained : stop - start])

        began = time.perf_counter()
        workers = [threading.Thread(target=fetch) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return size / MIB / (time.perf_counter() - began)


@contextmanager
def serving(root: Path) -> Iterator[Server]:
    """A server over ``root`` (CATALOG/SCHEMA/VOLUME/…), for the length of a block."""
    command = [sys.executable, "-m", "benchmarks.server", str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(**json.loads(process.stdout.readline()))
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)
