"""An explanation as a terminal shows it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from fuse4dbricks.cli.explain import EXIT_CODES
from fuse4dbricks.cli.explained import lines_of
from fuse4dbricks.tokens import Principal
from fuse4dbricks.vfs.explaining.answer import (
    Cached,
    Explanation,
    Failure,
    NextOpen,
    Standing,
    Step,
    Verdict,
)

NASTY = "a\x1b[31m\u202eb\nc"


def shown(**changes: Any) -> str:
    known: dict[str, Any] = {
        "path": "/Volumes/a/b/c/f", "verdict": Verdict.READABLE, "why": "so", "local_user": 7, "workspace": "w",
    }  # fmt: skip
    return "\n".join(lines_of(json.loads(Explanation(**(known | changes)).as_json())))


def test_each_verdict_has_words_and_a_code() -> None:
    assert set(EXIT_CODES) == set(Verdict)
    texts = {shown(verdict=verdict).splitlines()[1] for verdict in Verdict}
    assert len(texts) == len(Verdict)


def test_a_refusal_has_all_that_support_asks_for() -> None:
    failure = Failure(
        "PermissionDenied", "GET /x: 403 PERMISSION_DENIED No.", "No.", 403, "PERMISSION_DENIED", "r-9"
    )
    steps = (
        Step("catalog", "a", Standing.ALLOWED),
        Step("schema", "a.b", Standing.REFUSED, failure, ("USE_CATALOG",)),
        Step("volume", "a.b.c", Standing.NOT_ASKED),
    )
    text = shown(verdict=Verdict.REFUSED, steps=steps, principal=Principal("1", "ada"))
    assert "schema        a.b: refused\n              GET /x: 403 PERMISSION_DENIED No.\n" in text
    assert "request id r-9" in text
    assert "privileges that Unity Catalog lists for you there: USE_CATALOG" in text
    assert "a.b.c: not asked" in text
    assert "cached        not told" in text


def test_what_is_cached_and_what_it_costs() -> None:
    cached = Cached(
        version="1:9:-", size=9, ram_ranges=((0, 4),), disk_ranges=tuple((n * 10, n * 10 + 5) for n in range(9)),
        cached_bytes=4, pinned=True, owners=("ada",), fetched_at=0.0, validated_at=0.0, fresh_for=61,
    )  # fmt: skip
    text = shown(
        cached=cached, current_version="2:9:-", next_open=NextOpen(data=2, data_bytes=5, permission=1)
    )
    assert "1:9:-; the workspace has 2:9:- now" in text
    assert "4 B of 9 B, pinned" in text
    assert "bytes 0-3\n" in text
    assert "50-54 and 3 more" in text
    assert "1970-01-01 00:00:00 UTC, for ada" in text
    assert "believed for 1 min 1 s more" in text
    assert "about 3 calls (1 permission, 2 data), 5 B" in text
    assert "next reading  no calls" in shown(next_open=NextOpen())


def test_nothing_that_a_terminal_obeys_is_printed() -> None:
    failure = Failure(NASTY, NASTY, NASTY, 403, NASTY, NASTY)
    text = shown(
        path=NASTY, why=NASTY, workspace=NASTY, token_source=NASTY, principal=Principal(NASTY, NASTY),
        failure=failure, steps=(Step("path", NASTY, Standing.REFUSED, failure, (NASTY,)),),
        cached=Cached(version=NASTY, size=1, owners=(NASTY,), fetched_at=0.0), current_version=NASTY,
    )  # fmt: skip
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert all(line.strip() != "c" for line in text.splitlines())


def test_the_json_is_what_the_values_are() -> None:
    cached = Cached(ram_ranges=((0, 4),), disk_ranges=((5, 6),))
    document = json.loads(
        Explanation(
            "p", Verdict.READABLE, "so", 1, "w", cached=cached, next_open=NextOpen(1, 2, 3, 4, 5)
        ).as_json()
    )
    assert document["schema"] == 1
    assert document["cached"]["ram_ranges"] == [[0, 3]]
    assert document["cached"]["disk_ranges"] == [[5, 5]]
    assert document["next_open"] == {"calls": 10, **asdict(NextOpen(1, 2, 3, 4, 5))}
