"""``fuse4dbricks offline``: what could be read without a network, before somebody has to find out.

The difficulty: it must tell the same with a mount at work and with none, and with no network, so all of it is read from the
cache folder, which is its owner's alone. Only what a mount shows of the workspace, the mount itself is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fuse4dbricks.cli.cache import CacheNotInOrderError
from fuse4dbricks.cli.cache_options import cache_options
from fuse4dbricks.cli.pieces import one_object, write_pieces
from fuse4dbricks.cli.places import asked_below, folder_of
from fuse4dbricks.cli.progress import progress_bar
from fuse4dbricks.units import format_bytes, printable

if TYPE_CHECKING:
    from fuse4dbricks.index.offline import OfflineFile

#: Of the JSON that these commands print; grows when a field changes its meaning or goes.
SCHEMA = 1

#: Differences that are printed; the JSON has all.
SHOWN = 20


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def offline() -> None:
    """Say what can be read without a network, write it down, and hold the cache against that later."""


@offline.command()
@click.argument("path", required=False)
@cache_options
def ls(path: str | None, disk_cache_dir: Path | None, as_json: bool) -> None:
    """List the files below PATH of which something can be read without a network: how much, size, path.

    PATH is a path in a mount, or /Volumes/…. Whoever reads needs the permission, too, which is another question.
    """
    from fuse4dbricks.app.offline import list_files  # noqa: PLC0415 - --help needs none of it

    folder = folder_of(disk_cache_dir)
    tally = _Tally()
    files = tally.count(list_files(folder, asked_below(folder, path)))
    if as_json:
        write_pieces(one_object(SCHEMA, "files", map(_shown, files), lambda: asdict(tally)))
    else:
        write_pieces(chain(map(_line, files), map(_summary, [tally])))


@offline.command()
@click.argument("path", required=False)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
@cache_options
def manifest(path: str | None, out: Path, disk_cache_dir: Path | None, as_json: bool) -> None:
    """Write down each file below PATH that is here as a whole: size, version and SHA-256, as JSON.

    Every byte is read. The file is for its owner alone, because names are as protected as contents.
    """
    from fuse4dbricks.app.offline import write_manifest  # noqa: PLC0415 - --help needs none of it

    folder = folder_of(disk_cache_dir)
    below = asked_below(folder, path)
    with progress_bar("reading") as on_progress:
        made = write_manifest(folder, below, out, on_progress)
    document = {"schema": SCHEMA, "out": str(out), **asdict(made)}
    line = f"{made.files} files, {format_bytes(made.bytes)}, in {printable(str(out))}."
    click.echo(json.dumps(document) if as_json else line)


@offline.command()
@click.argument("file", type=click.Path(path_type=Path))
@cache_options
def verify(file: Path, disk_cache_dir: Path | None, as_json: bool) -> None:
    """Read everything that the manifest FILE names, and say what is not here as it was.

    Exit code 6: something is gone (its name is not known any more), changed (another version is known), incomplete or
    damaged.
    """
    from fuse4dbricks.app.offline import compare, read_manifest  # noqa: PLC0415 - --help needs none of it

    wanted = read_manifest(file)
    with progress_bar("verifying") as on_progress:
        different = compare(folder_of(disk_cache_dir), wanted, on_progress)
    if as_json:
        rows = [{"host": each.host, "path": each.path, "why": each.why} for each in different]
        click.echo(json.dumps({"schema": SCHEMA, "files": len(wanted), "different": rows}))
    else:
        for each in different[:SHOWN]:
            click.echo(f"{each.why}: {printable(str(each.path))}")
        click.echo(f"{len(wanted)} files, {len(different)} not as they were.")
    if different:
        raise CacheNotInOrderError(f"not all of what {file.name} names can be read without a network")


@dataclass(slots=True)
class _Tally:
    """What was told, added up."""

    complete_files: int = 0
    complete_bytes: int = 0
    partial_files: int = 0
    cached_bytes: int = 0

    def count(self, files: Iterable[OfflineFile]) -> Iterator[OfflineFile]:
        """The same files, counted as they pass."""
        for each in files:
            self.complete_files += each.is_complete
            self.complete_bytes += each.version.size if each.is_complete else 0
            self.partial_files += not each.is_complete
            self.cached_bytes += each.cached_bytes
            yield each


def _line(each: OfflineFile) -> str:
    part = "complete" if each.is_complete else f"{100 * each.cached_bytes // each.version.size}%"
    return f"{part:>8} {format_bytes(each.version.size):>10}  {printable(str(each.path))}\n"


def _summary(tally: _Tally) -> str:
    size = format_bytes(tally.complete_bytes)
    return f"{tally.complete_files} files complete, {size}; {tally.partial_files} in part.\n"


def _shown(each: OfflineFile) -> dict[str, Any]:
    return {
        "host": each.host,
        "path": str(each.path),
        "size": each.version.size,
        "cached_bytes": each.cached_bytes,
        "complete": each.is_complete,
        "last_modified": each.version.last_modified,
        "seen_at": each.fetched_at,
    }
