"""``fuse4dbricks cache sql``: questions to the index that no other command answers.

The difficulty: names in it are other people's, and may hold what paints on a terminal or begins a formula; so terminals get
them escaped, CSV gets what Python's writer makes, and JSON gets everything.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

import click

from fuse4dbricks.cli.cache_options import folder_option, json_option
from fuse4dbricks.cli.places import folder_of
from fuse4dbricks.cli.warm import SCHEMA
from fuse4dbricks.units import printable


@click.command()
@click.argument("question", required=False)
@json_option("Print one JSON object: columns, rows, cut.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV with a header.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000_000), default=1000, show_default=True, help="Rows at most."
)
@click.option(
    "--timeout", type=click.FloatRange(0.1, 3600), default=10.0, show_default=True, help="Seconds at most."
)
@folder_option
def sql(
    question: str | None, as_json: bool, as_csv: bool, limit: int, timeout: float, disk_cache_dir: Path | None
) -> None:
    """Ask the index one SELECT over its views; without a QUESTION, list these with their columns.

    Nothing can be changed by it. It works while a workspace is mounted and while none is.
    """
    from fuse4dbricks.chunks import CacheFolder  # noqa: PLC0415 - --help needs none of it
    from fuse4dbricks.index.asking import VIEWS, ask  # noqa: PLC0415

    if as_json and as_csv:
        raise click.UsageError("--json or --csv, not both")
    if question is None:
        views = {name: dict(columns) for name, columns in VIEWS.items()}
        click.echo(
            json.dumps({"schema": SCHEMA, "views": views}) if as_json else "\n".join(_described(views))
        )
        return
    with CacheFolder.open(folder_of(disk_cache_dir), exclusive=False) as folder:
        found = ask(folder.index_path, question, seconds=timeout, rows=limit)
    if as_json:
        document = {"schema": SCHEMA, "columns": found.columns, "rows": found.rows, "cut": found.is_cut}
        click.echo(json.dumps(document))
    elif as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(found.columns)
        writer.writerows(found.rows)
    else:
        click.echo("\n".join(_table(found.columns, found.rows)))
    if found.is_cut and not as_json:
        click.echo(f"There are more than {limit} rows; --limit shows more.", err=True)


def _described(views: dict[str, dict[str, str]]) -> list[str]:
    lines = []
    for name, columns in views.items():
        lines.append(name)
        lines += [f"    {column:<14} {meaning}".rstrip() for column, meaning in columns.items()]
    return lines


def _table(columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    """Columns side by side, neither cut nor wrapped."""
    cells = [tuple(map(printable, columns)), *(tuple(_cell(value) for value in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def _cell(value: object) -> str:
    return "NULL" if value is None else printable(str(value))
