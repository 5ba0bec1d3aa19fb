"""Log lines neither flood nor leak."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from fuse4dbricks.telemetry.logs import MAX_REMEMBERED, RateLimit, configure_logging, redact
from tests.support.fakes import HandClock

CANARY = "dapi0123456789abcdef"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Where the configured log goes; the root logger is as before afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("fuse4dbricks")
    kept = root.handlers[:], root.level, ours.level
    yield io.StringIO()
    root.handlers[:], root.level = kept[0], kept[1]
    ours.setLevel(kept[2])


def record(template: str = "%d failed", *, period: float | None = 60, number: int = 1) -> logging.LogRecord:
    made = logging.LogRecord("x", logging.WARNING, __file__, 1, template, (number,), None)
    if period is not None:
        made.rate_limit = period
    return made


def test_one_line_in_a_period_and_then_how_many_were_held_back() -> None:
    clock = HandClock()
    limit = RateLimit(clock)
    assert [limit.filter(record(number=n)) for n in range(4)] == [True, False, False, False]
    clock.step(59)
    assert not limit.filter(record())
    clock.step(1)
    late = record()
    assert limit.filter(late)
    assert late.getMessage() == "1 failed [4 more like it since the last]"
    assert not limit.filter(record())


def test_templates_are_limited_apart_and_lines_without_a_limit_never() -> None:
    limit = RateLimit(HandClock())
    assert limit.filter(record("%d a"))
    assert limit.filter(record("%d b"))
    assert all(limit.filter(record(period=None)) for _ in range(3))


def test_its_memory_is_bounded() -> None:
    limit = RateLimit(HandClock())
    for number in range(MAX_REMEMBERED + 1):
        assert limit.filter(record(f"%d of kind {number}"))
    assert limit.filter(record("%d of kind 0")), "the oldest is forgotten"
    assert not limit.filter(record(f"%d of kind {MAX_REMEMBERED}"))


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"bearer  {CANARY}",
        f"b'Bearer {CANARY}'",
        f"token {CANARY} refused",
        f'{{"access_token": "{CANARY}"}}',
        f"client_secret={CANARY}&x=1",
        f"eyJhbGciOi.{CANARY}.sig-nature",
        f"basic {CANARY}==",
    ],
)
def test_credentials_are_removed(text: str) -> None:
    assert CANARY not in redact(text)
    assert "[redacted]" in redact(text)


def test_the_rest_of_the_line_stays() -> None:
    assert redact("GET /Volumes/c/s/v/data 404") == "GET /Volumes/c/s/v/data 404"
    assert redact(f"before Bearer {CANARY} after") == "before Bearer [redacted] after"


def test_a_traceback_is_cleared_too(stream: io.StringIO) -> None:
    configure_logging(debug=False, stream=stream)
    error = ValueError(f"illegal header value b'Bearer {CANARY}\\n'")
    logging.getLogger("fuse4dbricks.test").error("with %s", f"Bearer {CANARY}", exc_info=error)
    assert "illegal header value" in stream.getvalue()
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize(("debug", "shown"), [(False, ["info"]), (True, ["debug", "info"])])
def test_levels(stream: io.StringIO, *, debug: bool, shown: list[str]) -> None:
    configure_logging(debug=debug, stream=stream)
    for name in ("fuse4dbricks.test", "httpx"):
        logging.getLogger(name).debug("%s says debug", name)
        logging.getLogger(name).info("%s says info", name)
    logging.getLogger("httpx").warning("httpx warns")
    lines = stream.getvalue().splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == [*shown, "warns"]
