"""``fuse4dbricks cache pin``, ``unpin`` and ``pins``.

The difficulty: a pin promises something for as long as it lasts, so it is only made when it fits, and how far the promise is
kept can be asked at any time.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from fuse4dbricks.cli.cache_options import cache_options
from fuse4dbricks.cli.lone import alone_options, given
from fuse4dbricks.cli.measures import age
from fuse4dbricks.cli.options import ENVIRONMENT
from fuse4dbricks.cli.places import folder_of, placed, sight_of
from fuse4dbricks.cli.warm import SCHEMA, work
from fuse4dbricks.errors import UserError
from fuse4dbricks.units import format_bytes, format_moment, format_seconds, printable


class NoSuchPinError(UserError):
    """There is no pin on this path."""

    exit_code = 9


@click.command(context_settings=ENVIRONMENT)
@click.argument("path")
@click.option("--ttl", metavar="AGE", help="How long it lasts: 7d, 12h, 30m (default: until it is unpinned).")
@alone_options
def pin(path: str, ttl: str | None, disk_cache_dir: Path | None, as_json: bool, **options: Any) -> None:
    """Keep what is at and below PATH in the cache: no limit evicts it, and the mount fetches what is new or has changed.

    All pins together may take what --pin-max-gb of the mount says; what would take more is refused.
    """
    order: dict[str, Any] = {"order": "pin"}
    if ttl is not None:
        order["ttl"] = age(ttl)
    state = work(
        folder_of(disk_cache_dir),
        order,
        [path],
        is_quiet=as_json or not sys.stderr.isatty(),
        options=given(options),
    )
    ends = (
        "until it is unpinned"
        if state["expires_at"] is None
        else f"until {format_moment(state['expires_at'])}"
    )
    missing = state["to_fetch_bytes"]
    lines = [f"{state['path']} is pinned {ends}: {state['files']:,} files, {format_bytes(state['bytes'])}."]
    if missing:
        lines.append(
            f"{format_bytes(missing)} of it are not cached yet; a mount fetches them in the background, `cache warm` now."
        )
    click.echo(json.dumps({"schema": SCHEMA, **state}) if as_json else "\n".join(map(printable, lines)))


@click.command()
@click.argument("path")
@cache_options
def unpin(path: str, disk_cache_dir: Path | None, as_json: bool) -> None:
    """End the pin on PATH; what is cached stays until it is evicted like anything else. Exit code 6: there was none."""
    from fuse4dbricks.app.upkeep import errands  # noqa: PLC0415 - --help needs none of it

    folder = folder_of(disk_cache_dir)
    place = placed(path, sight_of(folder))
    ended = place.is_shown and errands.run(lambda: errands.unpin(folder, place.path))
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, "path": place.path, "ended": ended}))
    elif ended:
        click.echo(f"{printable(place.path)} is no longer pinned.")
    if not ended:
        raise NoSuchPinError(f"there is no pin on {place.path}; `cache pins` lists them")


@click.command()
@cache_options
def pins(disk_cache_dir: Path | None, as_json: bool) -> None:
    """List the pins: until when, how fresh, and what is missing."""
    from fuse4dbricks.app.upkeep import errands  # noqa: PLC0415 - --help needs none of it

    folder = folder_of(disk_cache_dir)
    found = errands.run(lambda: errands.list_pins(folder))
    if as_json:
        click.echo(json.dumps({"schema": SCHEMA, **found}))
        return
    limit = "" if found["max_bytes"] is None else f" of {format_bytes(found['max_bytes'])}"
    lines = [_line(each) for each in found["pins"]]
    count = "1 pin; it takes" if len(lines) == 1 else f"{len(lines)} pins; they take"
    click.echo("\n".join([*lines, f"{count} {format_bytes(found['pinned_bytes'])}{limit}."]))


def _line(each: dict[str, Any]) -> str:
    now = time.time()
    left = (
        "until unpinned" if each["expires_at"] is None else f"{format_seconds(each['expires_at'] - now)} left"
    )
    words = [printable(each["path"]), left]
    if "state" in each:
        why = f" ({each['why']})" if each["why"] else ""
        words.append(f"{each['state']}{why}")
    if each.get("files") is not None:
        words.append(f"{each['files']:,} files, {format_bytes(each['bytes'])}")
    return "  ".join(words)
