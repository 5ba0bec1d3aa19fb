"""Log lines that neither flood nor leak.

The difficulty: a failing disk or a service outage repeats the same line thousands of times a second from a hot
path, and a traceback may carry a request header. A record with ``extra={"rate_limit": seconds}`` passes once per
period and message template (the next one that passes says how many were held back), and every line is cleared of
what looks like a bearer credential before it is written.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TextIO

from fuse4dbricks.clock import Clock, SystemClock

#: Templates remembered at once; the oldest is forgotten, which at worst lets one line through early.
MAX_REMEMBERED = 1000

_CREDENTIAL = re.compile(
    r"(Bearer\s+|Basic\s+|dapi|dose|eyJ)[A-Za-z0-9._~+/=-]{8,}|"
    r"((?:access_token|refresh_token|client_secret|id_token)[\"']?\s*[:=]\s*[\"']?)[^\s\"',}]+",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """``text`` with everything that looks like a credential replaced."""
    return _CREDENTIAL.sub(lambda match: (match.group(1) or match.group(2) or "") + "[redacted]", text)


class RateLimit(logging.Filter):
    """Lets a record with a ``rate_limit`` through once per that many seconds and template."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write ``record``; adds the number held back since the last one."""
        period = getattr(record, "rate_limit", None)
        if period is None:
            return True
        key = (record.name, record.lineno, str(record.msg))
        now = self._clock.monotonic()
        last, held = self._seen.pop(key, (None, 0))
        if last is not None and now - last < period:
            self._seen[key] = (last, held + 1)
            return False
        while len(self._seen) >= MAX_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = (now, 0)
        if held:
            record.msg = f"{record.msg} [{held} more like it since the last]"
        return True


class RedactingFormatter(logging.Formatter):
    """Formats as usual, then removes credentials from the whole text, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        """The finished line without secrets."""
        return redact(super().format(record))


def configure_logging(*, debug: bool, stream: TextIO | None = None, clock: Clock | None = None) -> None:
    """Send ``fuse4dbricks.*`` to ``stream`` (stderr): INFO and above, with ``debug`` everything.

    Other libraries' records stay at WARNING: httpx logs each URL at INFO, and presigned URLs are secrets.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(RateLimit(clock or SystemClock()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("fuse4dbricks").setLevel(logging.DEBUG if debug else logging.INFO)
