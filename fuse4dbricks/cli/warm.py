"""``fuse4dbricks cache warm``: everything below some paths, into the cache.

The difficulty: it is asked for in the evening and must be there in the morning, on a train, with no network: so it says
before it starts what it will take, goes on where it was interrupted, and ends with a code that says whether all is there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from fuse4dbricks.cli.filling import planned, shown
from fuse4dbricks.cli.lone import alone_options, config_for, given
from fuse4dbricks.cli.options import ENVIRONMENT
from fuse4dbricks.cli.places import folder_of, placed, sight_of
from fuse4dbricks.errors import ConfigError, UserError
from fuse4dbricks.units import format_bytes, printable

#: Of the JSON; grows when a field changes its meaning or goes.
SCHEMA = 1


class NotAllThereError(UserError):
    """Something could not be fetched, or is not sound."""

    exit_code = 6


class NoSuchPathError(UserError):
    """What is asked for is not there, or the mount does not show it."""

    exit_code = 9


@click.command(context_settings=ENVIRONMENT)
@click.argument("paths", nargs=-1, metavar="PATH…")
@click.option(
    "--from-list",
    type=click.File(encoding="utf-8"),
    help="Read more paths, one a line, from FILE (- is stdin).",
)
@click.option(
    "--jobs", type=click.IntRange(1, 8), default=6, show_default=True, help="Ranges fetched at once."
)
@click.option("--dry-run", is_flag=True, help="Say what it would take, and fetch nothing.")
@click.option("--check", is_flag=True, help="Read everything back at the end.")
@alone_options
def warm(
    paths: tuple[str, ...],
    from_list: Any,
    jobs: int,
    dry_run: bool,
    check: bool,
    disk_cache_dir: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Fetch all files at and below the paths into the disk cache; what is there already is not fetched again.

    The mount that uses the cache folder does it, behind its readers; without a mount this command does it itself, and then
    takes the options below. Interrupted, it goes on when it is run again. Exit code 6: something could not be had; 9: nothing
    is wrong but that one of the paths does not exist.
    """
    folder = folder_of(disk_cache_dir)
    named = [*paths, *(line.rstrip("\n") for line in from_list or () if line.strip())]
    if not named:
        raise ConfigError("say what to fetch: one or more paths, or --from-list FILE")
    order = {"order": "warm", "jobs": jobs, "dry_run": dry_run, "check": check}
    state = work(folder, order, named, is_quiet=as_json and not sys.stderr.isatty(), options=given(options))
    lines = [planned(state)] if dry_run else [_told(state, is_checked=check)]
    if dry_run and state["to_fetch_bytes"] and state["disk_bytes"] > state["room_bytes"]:
        lines.append(
            f"It takes {format_bytes(state['disk_bytes'])} of the disk and there is room for "
            f"{format_bytes(state['room_bytes'])}: it would be refused."
        )
    click.echo(
        json.dumps({"schema": SCHEMA, **state})
        if as_json
        else "\n".join(map(printable, [*state["problems"], *lines]))
    )
    absent = state.get("absent", 0)
    if absent and absent == state["failed"] and not state["incomplete_files"]:
        raise NoSuchPathError(f"{absent:,} of the paths {'does' if absent == 1 else 'do'} not exist")
    if state["failed"] or state["incomplete_files"]:
        raise NotAllThereError(f"{state['failed']:,} files or folders are not in the cache as they should be")


def work(
    folder: Path, order: dict[str, Any], paths: list[str], *, is_quiet: bool, options: dict[str, Any]
) -> dict[str, Any]:
    """Have an order that takes long carried out, and show how far it is; its answer."""
    from fuse4dbricks.app.upkeep import errands  # noqa: PLC0415 - --help needs none of it
    from fuse4dbricks.app.upkeep.following import have_done  # noqa: PLC0415

    sight = sight_of(folder)
    targets = [placed(text, sight).path for text in paths]
    with shown(is_quiet=is_quiet) as on_progress:
        return errands.run(
            lambda: have_done(folder, order, targets, on_progress, lambda: config_for(folder, options))
        )


def _told(state: dict[str, Any], *, is_checked: bool) -> str:
    line = f"{format_bytes(state['fetched_bytes'])} fetched in {state['calls_made']:,} calls"
    if is_checked:
        line += f"; {state['checked_files']:,} of {state['files']:,} files read back and sound"
    return f"{line}."
