"""An explanation for people.

The difficulty: names and messages come from a server and from other users, and are printed on a terminal, where some
characters are orders. So each is shown with those escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from fuse4dbricks.units import format_bytes, format_seconds, printable

#: Ranges that are printed; the JSON has all.
SHOWN_RANGES = 6

_WORDS = {
    "readable": "You can read it",
    "refused": "You may not read it",
    "absent": "There is no such thing",
    "hidden": "It is not shown by this mount",
    "unknown": "It is not known whether you can read it",
    "not_signed_in": "You are not signed in",
    "busy": "Not answered",
}
_STANDINGS = {"not_asked": "not asked", "absent": "not found", "hidden": "hidden by the lists of this mount"}


def lines_of(answer: Mapping[str, Any]) -> Iterator[str]:
    """The answer line by line."""
    kind = f" ({answer['kind']})" if answer["kind"] else ""
    yield f"{printable(answer['path'])}{kind}"
    yield f"{_WORDS[answer['verdict']]}: {printable(answer['why'])}."
    yield ""
    yield f"workspace     {printable(answer['workspace'])}"
    principal = answer["principal"]
    yield f"local user    {answer['local_user']}"
    if principal is not None:
        yield f"principal     {printable(principal['user_name'])} (id {printable(principal['id'])})"
        yield f"token from    {printable(answer['token_source'] or 'an unknown source')}"
    if answer["failure"] is not None:
        yield from _failure(answer["failure"])
    if answer["steps"]:
        yield ""
        for step in answer["steps"]:
            yield from _step(step)
    if answer["kind"] == "control":
        return
    yield from _cached(answer)
    yield from _next_open(answer["next_open"])


def _step(step: Mapping[str, Any]) -> Iterator[str]:
    standing = _STANDINGS.get(step["standing"], step["standing"])
    yield f"{step['what']:<13} {printable(step['name'])}: {standing}"
    if step["failure"] is not None:
        yield from _failure(step["failure"])
    if step["privileges"] is not None:
        listed = ", ".join(map(printable, step["privileges"])) or "none"
        yield f"              privileges that Unity Catalog lists for you there: {listed}"


def _failure(failure: Mapping[str, Any]) -> Iterator[str]:
    yield f"              {printable(failure['message'])}"
    if failure["request_id"]:
        yield f"              request id {printable(failure['request_id'])}"


def _cached(answer: Mapping[str, Any]) -> Iterator[str]:
    cached = answer["cached"]
    yield ""
    if cached is None:
        yield f"cached        {'nothing' if answer['next_open'] is not None else 'not told'}"
        return
    if cached["version"] is not None:
        now = answer["current_version"]
        newer = "" if now in {None, cached["version"]} else f"; the workspace has {printable(now)} now"
        yield f"version       {printable(cached['version'])}{newer}"
    if cached["validated_at"] is not None:
        left = format_seconds(cached["fresh_for"])
        yield f"validated     {_day(cached['validated_at'])}, believed for {left} more"
    if cached["size"] is not None:
        part = "all" if cached["complete"] else format_bytes(cached["cached_bytes"])
        yield f"cached        {part} of {format_bytes(cached['size'])}{', pinned' if cached['pinned'] else ''}"
        for layer in ("ram", "disk"):
            if cached[f"{layer}_ranges"]:
                yield f"  in {layer:<10} bytes {_ranges(cached[f'{layer}_ranges'])}"
    if cached["fetched_at"] is not None:
        owners = ", ".join(map(printable, cached["owners"])) or "somebody"
        yield f"fetched       {_day(cached['fetched_at'])}, for {owners}"
    if cached["listed"] is not None:
        whole = "all" if cached["listing_complete"] else "not all"
        yield f"listing       {cached['listed']} names, {whole} that there are"


def _next_open(cost: Mapping[str, Any] | None) -> Iterator[str]:
    if cost is None:
        return
    kinds = [f"{cost[kind]} {kind}" for kind in ("permission", "catalog", "metadata", "data") if cost[kind]]
    size = f", {format_bytes(cost['data_bytes'])}" if cost["data_bytes"] else ""
    yield (
        f"next reading  about {cost['calls']} calls ({', '.join(kinds)}){size}"
        if kinds
        else "next reading  no calls"
    )


def _ranges(ranges: list[list[int]]) -> str:
    shown = ", ".join(f"{first}-{last}" for first, last in ranges[:SHOWN_RANGES])
    return shown + (f" and {len(ranges) - SHOWN_RANGES} more" if len(ranges) > SHOWN_RANGES else "")


def _day(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"
