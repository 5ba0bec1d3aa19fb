"""Arguments as the kernel's requests carry them, for each handler."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import pyfuse3

from fuse4dbricks.fuse.operations import Operations


@dataclass(frozen=True)
class Caller:
    """Stands in for ``pyfuse3.RequestContext``, which cannot be made."""

    uid: int = 1001
    gid: int = 1001
    pid: int = 4711
    umask: int = 0o022


@dataclass(frozen=True)
class Fields:
    """Stands in for ``pyfuse3.SetattrFields``: a truncation."""

    update_atime: bool = False
    update_mtime: bool = False
    update_ctime: bool = False
    update_mode: bool = False
    update_uid: bool = False
    update_gid: bool = False
    update_size: bool = True


BY_NAME: dict[str, Any] = {
    "ctx": Caller(),
    "fields": Fields(),
    "attr": pyfuse3.EntryAttributes(),
    "name": b"name",
    "name_old": b"old",
    "name_new": b"new",
    "new_name": b"new",
    "target": b"target",
    "value": b"value",
    "buf": b"bytes",
    "inode_list": [(1, 1)],
    "token": None,
    "poll_handle": None,
    "datasync": False,
}

HANDLERS = sorted(
    name
    for name, member in inspect.getmembers(Operations, inspect.isfunction)
    if inspect.iscoroutinefunction(inspect.unwrap(member)) and name in vars(Operations)
)


def arguments_of(handler: str) -> list[Any]:
    """Something plausible for each parameter; numbers unless it is known by name."""
    parameters = list(inspect.signature(inspect.unwrap(getattr(Operations, handler))).parameters)[1:]
    return [BY_NAME.get(parameter, 1) for parameter in parameters]
