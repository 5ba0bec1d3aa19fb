"""Which mount a path lies in, told without a look at anything that is mounted there.

The difficulty: the path may be refused, absent, or in a mount that hangs, and a ``stat`` of it would fail or hang as
well; yet a link that leads into a mount is a way people go. So links are followed one by one, as far as the first
mount of ours, and what is behind that is taken as it is written.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fuse4dbricks.errors import MountError
from fuse4dbricks.paths import VOLUMES

#: As many links as the kernel follows (MAXSYMLINKS).
MAX_LINKS = 40


@dataclass(frozen=True, slots=True)
class Asked:
    """A path to ask about.

    Attributes:
        mountpoint: of the mount to ask.
        path: as that mount wants it: relative to its root, or ``/Volumes/…``.
    """

    mountpoint: Path
    path: str


def find_asked(text: str, mountpoint: Path | None) -> Asked:
    """The mount that ``text`` lies in, or which is given, and the path there.

    Raises:
        MountError: there is none, or more than one for a path that does not say which.
    """
    from fuse4dbricks.fuse.connection import OUR_TYPE, read_mounts  # noqa: PLC0415 - --help needs none of it

    mounts = list(dict.fromkeys(each.mountpoint for each in read_mounts() if each.fstype == OUR_TYPE))
    if mountpoint is not None:
        top = os.path.abspath(mountpoint)  # noqa: PTH100 - a look at the path could hang in a dead mount
        if top not in mounts:
            raise MountError(f"{mountpoint} is not a mount of fuse4dbricks")
        mounts = [top]
    where, inside = _follow(text, mounts)
    if where is not None:
        return Asked(Path(where), inside)
    if inside != VOLUMES and not inside.startswith(f"{VOLUMES}/"):
        raise MountError(f"{text} is neither in a mount of fuse4dbricks nor in {VOLUMES}")
    if len(mounts) != 1:
        found = (
            f"there are {len(mounts)} mounts: name one with --mountpoint" if mounts else "nothing is mounted"
        )
        raise MountError(f"{text} can be asked about through a mount, and {found}")
    return Asked(Path(mounts[0]), inside)


def _follow(text: str, mounts: Collection[str]) -> tuple[str | None, str]:
    """The mount that the path enters and what is left of it there, or None and the whole path without links."""
    here, left, links = "/", _parts(os.path.join(os.getcwd(), text)), 0  # noqa: PTH109, PTH118 - as text
    while left:
        part = left.pop(0)
        if part == "..":
            here = os.path.dirname(here)  # noqa: PTH120 - as text
            continue
        here = f"{here.rstrip('/')}/{part}"
        if here in mounts:
            # What is not looked at cannot be a link: the service has none.
            inside = os.path.normpath("/".join(["/", *left]))
            outer = here if not _leaves(left) else None
            if outer is not None:
                return outer, inside.lstrip("/")
            continue
        try:
            target = os.readlink(here)  # noqa: PTH115 - as text
        except OSError:
            continue
        links += 1
        if links > MAX_LINKS:
            break
        here, left = ("/" if target.startswith("/") else os.path.dirname(here)), [*_parts(target), *left]  # noqa: PTH120
    return None, "/".join([here.rstrip("/"), *left])


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in {"", "."}]


def _leaves(parts: list[str]) -> bool:
    """Whether the path goes out of the mount again."""
    depth = 0
    for part in parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return False
