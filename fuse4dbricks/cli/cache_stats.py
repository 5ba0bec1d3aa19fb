"""``fuse4dbricks cache-stats``: what is cached, what it is worth, and who takes the room.

The difficulty: it is asked for while a mount is at work, after one was killed, and by programs that scrape. So it
only reads (see ``index/report``), and what it prints follows from who reads it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fuse4dbricks.cli.cache_options import folder_option, json_option
from fuse4dbricks.cli.places import folder_of
from fuse4dbricks.errors import ConfigError

if TYPE_CHECKING:
    from fuse4dbricks.cache.statistics import Statistics

#: As in :data:`fuse4dbricks.cache.statistics.DIMENSIONS`, which brings the index.
DIMENSIONS = ("user", "catalog", "schema", "volume", "extension", "age")

DEFAULT_TOP = 10
WATCH_SECONDS = 2


@click.command("cache-stats", context_settings={"help_option_names": ["-h", "--help"]})
@folder_option
@click.option("--by", type=click.Choice(DIMENSIONS), help="Show what takes the room, by this.")
@click.option(
    "--top",
    type=click.IntRange(0, 1000),
    default=DEFAULT_TOP,
    show_default=True,
    help="Rows of volumes, files and the like.",
)
@json_option("Print JSON; the README describes its fields.")
@click.option("--prometheus", is_flag=True, help="Print Prometheus' text format.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page with charts, readable without a network.",
)
@click.option(
    "--watch",
    type=click.IntRange(1, 3600),
    is_flag=False,
    flag_value=WATCH_SECONDS,
    metavar="[SECONDS]",
    help=f"Show it again every so many seconds ({WATCH_SECONDS}), until Ctrl-C.",
)
def cache_stats(
    disk_cache_dir: Path | None,
    by: str | None,
    top: int,
    as_json: bool,
    prometheus: bool,
    html: Path | None,
    watch: int | None,
) -> None:
    """Show what the disk cache holds, what it has saved, and who takes the room.

    Works while a workspace is mounted and while none is, and changes nothing.
    """
    if sum((as_json, prometheus, html is not None)) > 1:
        raise ConfigError("--json, --prometheus and --html exclude each other")
    if watch and (prometheus or html):
        raise ConfigError("--watch goes with the table and with --json only")
    folder = folder_of(disk_cache_dir)

    def load() -> Statistics:
        from fuse4dbricks.app.upkeep.noting import have_noted  # noqa: PLC0415 - see cli/__init__
        from fuse4dbricks.cache.statistics import load_statistics  # noqa: PLC0415

        have_noted(folder)
        return load_statistics(folder, top_files=top, now=time.time())

    if html is not None:
        _write_page(load(), html, top)
        return
    show = _printer(by, top, as_json=as_json, prometheus=prometheus, again=watch is not None)
    try:
        show(load())
        while watch is not None:
            time.sleep(watch)
            show(load())
    except KeyboardInterrupt:
        if watch is None:
            raise
    except BrokenPipeError:
        # Who reads has seen enough (`| head`); what Python still holds back must not fail at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _printer(
    by: str | None, top: int, *, as_json: bool, prometheus: bool, again: bool
) -> Callable[[Statistics], None]:
    """What prints the statistics once; with ``again`` so that it can follow itself."""
    if as_json:
        return partial(_print_json, by=by, indent=None if again else 2)
    if prometheus:
        return _print_prometheus
    if sys.stdout.isatty():
        return partial(_print_table, by=by, top=top, clear=again)
    return partial(_print_plain, by=by, top=top)


def _print_json(statistics: Statistics, *, by: str | None, indent: int | None) -> None:
    from fuse4dbricks.cache.statistics import as_document  # noqa: PLC0415

    document = as_document(statistics)
    if by is not None:
        document["groups"] = {by: document["groups"][by]}
    click.echo(json.dumps(document, indent=indent))
    sys.stdout.flush()


def _print_prometheus(statistics: Statistics) -> None:
    from fuse4dbricks.cli.stats.prometheus import prometheus_text  # noqa: PLC0415

    click.echo(prometheus_text(statistics), nl=False)


def _print_table(statistics: Statistics, *, by: str | None, top: int, clear: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 - 60 ms that a pipe and JSON do not need

    from fuse4dbricks.cli.stats.sections import facts_of, sections_of  # noqa: PLC0415
    from fuse4dbricks.cli.stats.tables import render  # noqa: PLC0415

    console = Console(highlight=False)
    shown = render(facts_of(statistics), sections_of(statistics, by=_dimensions(by), top=top))
    if clear:
        console.clear()
    console.print(shown)


def _print_plain(statistics: Statistics, *, by: str | None, top: int) -> None:
    from fuse4dbricks.cli.stats.sections import facts_of, sections_of  # noqa: PLC0415
    from fuse4dbricks.cli.stats.tables import plain  # noqa: PLC0415

    click.echo(plain(facts_of(statistics), sections_of(statistics, by=_dimensions(by), top=top)))
    sys.stdout.flush()


def _dimensions(by: str | None) -> tuple[str, ...]:
    return ("age", "volume") if by is None else (by,)


def _write_page(statistics: Statistics, file: Path, top: int) -> None:
    """Whole or not at all, and for its owner alone: names of files are as protected as their bytes.

    Raises:
        ConfigError: it cannot be written there.
    """
    from fuse4dbricks.app.whole_file import writing_whole  # noqa: PLC0415
    from fuse4dbricks.cli.stats.page import page  # noqa: PLC0415

    text = page(statistics, top=top)
    with writing_whole(file) as stream:
        stream.write(text)
    click.echo(f"wrote {file}")
