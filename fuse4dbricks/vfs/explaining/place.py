"""What a question is about: a path of the workspace, from what somebody wrote.

The difficulty: the path may be one that no file can have, may lie outside of what the mount shows, or be a control file,
and none of that may cost a call or be mistaken for an answer of the workspace.
"""

from __future__ import annotations

from dataclasses import dataclass

from fuse4dbricks.errors import FsError
from fuse4dbricks.paths import ROOT, VOLUMES, RemotePath, name_from_kernel

_VOLUMES = VOLUMES.encode()


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the workspace.

    Attributes:
        path: where; as far as the names are possible ones.
        shown: what was asked for, for people.
        first_name: in the mount's own root folder; empty for that folder itself and for ``/Volumes/…``.
        problem: why there can be nothing.
        is_outside: whether it lies beside what the mount shows.
    """

    path: RemotePath
    shown: str
    first_name: str = ""
    problem: str = ""
    is_outside: bool = False


def parse_place(raw: bytes, root: RemotePath) -> Place:
    """A path in the mount, or ``/Volumes/…``; a newline at its end is none of it.

    Args:
        raw: as written.
        root: what the mount point shows.
    """
    raw = raw.removesuffix(b"\n")
    is_remote = raw == _VOLUMES or raw.startswith(_VOLUMES + b"/")
    words = [word for word in raw.removeprefix(_VOLUMES if is_remote else b"").split(b"/") if word]
    path, problem = ROOT if is_remote else root, ""
    try:
        for word in words:
            if word != b".":
                path = path.child(name_from_kernel(word))
    except FsError as error:
        problem = str(error)
    written = raw.decode("utf-8", "replace")
    shown = str(path) if not problem else written if is_remote else f"{root}/{written}"
    first = "" if is_remote or path.depth <= root.depth else path.parts[root.depth]
    return Place(path, shown, first, problem, is_outside=is_remote and not _is_below(path, root))


def _is_below(path: RemotePath, root: RemotePath) -> bool:
    """Whether a mount of ``root`` shows it. Names of securables are case-insensitive, those of folders are not."""
    return path.folded[: root.depth] == root.folded
