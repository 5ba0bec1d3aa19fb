"""Sizes, ages and paths as people type them.

The difficulty: a path may be one in a mount or one of the workspace, and the mount may be dead or slow, so it is told
which from the kernel's table and without a look at the path itself.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import click

from fuse4dbricks.paths import VOLUMES
from fuse4dbricks.units import GIB, KIB, MIB

#: What Databricks' own tools write before a path.
DBFS = "dbfs:"

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_SIZES = {"": 1, "k": KIB, "m": MIB, "g": GIB, "t": 1024 * GIB}
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")
_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Spot:
    """A path of the workspace.

    Attributes:
        path: ``/Volumes/…``.
        host: of the workspace whose mount it was found in; None: any.
    """

    path: str
    host: str | None


def size(text: str) -> int:
    """``2G``, ``500 MiB``, ``1048576`` → bytes, by 1024.

    Raises:
        click.BadParameter: it is none.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise click.BadParameter(f"{text!r} is not a size such as 2G or 500M")
    return int(float(match[1]) * _SIZES[match[2].lower()])


def age(text: str) -> float:
    """``7d``, ``12h``, ``30m`` → seconds.

    Raises:
        click.BadParameter: it is none.
    """
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise click.BadParameter(f"{text!r} is not an age such as 7d, 12h or 30m")
    return float(match[1]) * _AGES[match[2]]


def spot(text: str) -> Spot:
    """A path in a mount, or one that begins with ``/Volumes`` or ``dbfs:/Volumes``, as a path of the workspace.

    Raises:
        click.BadParameter: it is neither.
    """
    from fuse4dbricks.fuse.connection import OUR_TYPE, read_mounts  # noqa: PLC0415 - --help needs none of it

    text = text.removeprefix(DBFS) if text.startswith(f"{DBFS}{VOLUMES}") else text
    path = os.path.abspath(text)  # noqa: PTH100 - a look at the path could hang in a dead mount
    for mount in reversed(read_mounts()):
        top = mount.mountpoint.rstrip("/")
        if mount.fstype == OUR_TYPE and (path == top or path.startswith(f"{top}/")):
            return Spot(VOLUMES + path[len(top) :], mount.source)
    if path != VOLUMES and not path.startswith(f"{VOLUMES}/"):
        raise click.BadParameter(f"{text!r} is neither in a mount of fuse4dbricks nor in {VOLUMES}")
    return Spot(path, None)
