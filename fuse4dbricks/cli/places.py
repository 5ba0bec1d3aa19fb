"""Which cache folder, and which paths of the workspace, a command is about.

The difficulty: a path in a mount is not always the path of the workspace: the mount may show a part (``--root``), and hide
another, of which nothing may be told. Only the mount knows, so it is asked, if there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fuse4dbricks.cli.measures import spot
from fuse4dbricks.paths import VOLUMES
from fuse4dbricks.visibility import EVERYTHING, Visibility, parse_patterns

if TYPE_CHECKING:
    from fuse4dbricks.app.below import Below
    from fuse4dbricks.paths import RemotePath


@dataclass(frozen=True, slots=True)
class Sight:
    """What the mount that works in a cache folder shows.

    Attributes:
        root: what is at its mount point, as ``/Volumes/…``.
        visibility: what it shows.
    """

    root: str = VOLUMES
    visibility: Visibility = EVERYTHING


@dataclass(frozen=True, slots=True)
class Place:
    """A path of the workspace.

    Attributes:
        path: as ``/Volumes/…``.
        host: of the workspace whose mount it was found in; None: any.
        is_shown: whether the mount shows it; without a mount everything is shown.
    """

    path: str
    host: str | None
    is_shown: bool


def folder_of(given: Path | None) -> Path:
    """The cache folder that is meant."""
    from fuse4dbricks.config import default_cache_folder  # noqa: PLC0415 - --help needs none of it

    return (given or default_cache_folder()).expanduser()


def sight_of(folder: Path) -> Sight:
    """What the mount in the folder shows; everything if there is none.

    Raises:
        CacheFolderError, OrderRefused: the folder cannot be used, or its mount does not say.
    """
    from fuse4dbricks.app.upkeep import errands  # noqa: PLC0415 - --help needs none of it

    told = errands.run(lambda: errands.describe(folder))
    if told is None:
        return Sight()
    shown, hidden = (tuple(map(str, told.get(name) or ())) for name in ("shown", "hidden"))
    return Sight(str(told.get("root") or VOLUMES), Visibility(parse_patterns(shown), parse_patterns(hidden)))


def placed(text: str | None, sight: Sight) -> Place:
    """A path in a mount, or one that begins with ``/Volumes``; None: all.

    Raises:
        click.BadParameter: it is neither.
        OrderRefused: it holds a name that cannot be.
    """
    found = spot(text or VOLUMES)
    path = found.path
    if found.host is not None and sight.root != VOLUMES:
        path = sight.root.rstrip("/") + found.path.removeprefix(VOLUMES)
    return Place(path, found.host, sight.visibility.shows(remote(path)))


def asked_below(folder: Path, text: str | None) -> Below:
    """What in the cache folder is asked about, as far as the mount, if there is one, shows it; None: all.

    Raises:
        click.BadParameter: it is neither a path in a mount nor one that begins with ``/Volumes``.
        CacheFolderError, OrderRefused: the folder cannot be used, its mount does not say, or a name cannot be.
    """
    from fuse4dbricks.app.below import Below  # noqa: PLC0415 - --help needs none of it
    from fuse4dbricks.app.upkeep.listing import load_spelled  # noqa: PLC0415

    sight = sight_of(folder)
    place = placed(text, sight)
    return Below(load_spelled(folder, remote(place.path), place.host), place.host, sight.visibility)


def remote(path: str) -> RemotePath:
    """``/Volumes/…`` as the path that the parts of the program use.

    Raises:
        OrderRefused: it holds a name that cannot be.
    """
    from fuse4dbricks.app.upkeep.fields import path_from  # noqa: PLC0415 - --help needs none of it

    return path_from(path)
