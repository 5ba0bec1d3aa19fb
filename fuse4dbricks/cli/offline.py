"""``fuse4dbricks offline``: what could be read without a network, before somebody has to find out.

The difficulty: it must tell the same with a mount at work and with none, and with no network, so all of it is read from the
cache folder, which is its owner's alone. Only what a mount shows of the workspace, the mount itself is asked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fuse4dbricks.cli.cache import CacheNotInOrderError
from fuse4dbricks.cli.cache_options import cache_options
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
    files = list_files(folder, asked_below(folder, path))
    if as_json:
        click.echo(
            json.dumps({"schema": SCHEMA, **_summary(files), "files": [_shown(each) for each in files]})
        )
        return
    for each in files:
        part = "complete" if each.is_complete else f"{100 * each.cached_bytes // each.version.size}%"
        click.echo(f"{part:>8} {format_bytes(each.version.size):>10}  {printable(str(each.path))}")
    complete = [each for each in files if each.is_complete]
    total = format_bytes(sum(each.version.size for each in complete))
    click.echo(f"{len(complete)} files complete, {total}; {len(files) - len(complete)} in part.")


@offline.command()
@click.argument("path", required=False)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
@cache_options
def manifest(path: str | None, out: Path, disk_cache_dir: Path | None, as_json: bool) -> None:
    """Write down each file below PATH that is here as a whole: size, version and SHA-256, as JSON.

    Every byte is read. The file is for its owner alone, because names are as protected as contents.
    """
    from fuse4dbricks.app.offline import make_manifest, write_manifest  # noqa: PLC0415 - --help needs none of it

    folder = folder_of(disk_cache_dir)
    below = asked_below(folder, path)
    with progress_bar("reading") as on_progress:
        made = make_manifest(folder, below, on_progress)
    write_manifest(made, out)
    files, size = len(made["files"]), made["bytes"]
    document = {"schema": SCHEMA, "out": str(out), "files": files, "bytes": size}
    click.echo(json.dumps(document) if as_json else f"{files} files, {format_bytes(size)}, in {out}.")


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


def _summary(files: list[OfflineFile]) -> dict[str, int]:
    complete = [each for each in files if each.is_complete]
    return {
        "complete_files": len(complete),
        "complete_bytes": sum(each.version.size for each in complete),
        "partial_files": len(files) - len(complete),
        "cached_bytes": sum(each.cached_bytes for each in files),
    }


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
