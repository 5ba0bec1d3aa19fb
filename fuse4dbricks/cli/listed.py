"""``fuse4dbricks cache ls`` and ``cache du``: what is in the cache.

The difficulty: it may be a million files, and who asks may want the first ten of them. So each is told when it is found, and
no list of them is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fuse4dbricks.cli.cache_options import cache_options
from fuse4dbricks.cli.pieces import one_object, write_pieces
from fuse4dbricks.cli.places import asked_below, folder_of
from fuse4dbricks.units import format_bytes, format_moment, printable

if TYPE_CHECKING:
    from fuse4dbricks.index.contents import CachedFile

#: Of the JSON that these commands print; grows when a field changes its meaning or goes.
SCHEMA = 1


@click.command()
@click.argument("path", required=False)
@cache_options
def ls(path: str | None, disk_cache_dir: Path | None, as_json: bool) -> None:
    """List the files below PATH that are cached: size, how much of it is here, last read, path."""
    from fuse4dbricks.app.upkeep.listing import list_files  # noqa: PLC0415 - --help needs none of it

    folder = folder_of(disk_cache_dir)
    files = list_files(folder, asked_below(folder, path))
    if as_json:
        write_pieces(one_object(SCHEMA, "files", (_described(each) for each in files)))
    else:
        write_pieces(_or_nothing(f"{_line(each)}\n" for each in files))


@click.command()
@click.argument("path", required=False)
@cache_options
def du(path: str | None, disk_cache_dir: Path | None, as_json: bool) -> None:
    """Say how much disk space the cached chunks below PATH take: each entry of the folder, and in all."""
    from fuse4dbricks.app.upkeep.listing import load_disk_use  # noqa: PLC0415 - --help needs none of it

    folder = folder_of(disk_cache_dir)
    below = asked_below(folder, path)
    top = str(below.under)
    use = load_disk_use(folder, below)
    total = sum(use.values())
    rows = (
        (f"{top}/{name}" if name else top, use[name])
        for name in sorted(use, key=lambda name: (-use[name], name))
    )
    if as_json:
        entries = ({"path": name, "disk_bytes": size} for name, size in rows)
        write_pieces(one_object(SCHEMA, "entries", entries, path=top, disk_bytes=total))
    else:
        lines = chain(rows, [(f"{top} in all", total)])
        write_pieces(f"{format_bytes(size):>10}  {printable(name)}\n" for name, size in lines)


def _or_nothing(lines: Iterable[str]) -> Iterator[str]:
    found = iter(lines)
    yield next(found, "Nothing is cached there.\n")
    yield from found


def _described(each: CachedFile) -> dict[str, Any]:
    return {**each._asdict(), "path": str(each.path)}


def _line(each: CachedFile) -> str:
    percent = f"{100 * each.cached_bytes // each.size if each.size else 100}%"
    return f"{format_bytes(each.size):>10} {percent:>5}  {format_moment(each.last_access)}  {printable(str(each.path))}"
