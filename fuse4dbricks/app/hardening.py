"""Keeps a token from leaving the process by the side doors.

The difficulty: a token in ``DATABRICKS_TOKEN`` is readable in ``/proc/PID/environ`` for as long as the process
lives, deleting it from ``os.environ`` or not, because the kernel shows the bytes that ``execve`` laid down; it is
inherited by every child; and a core dump holds two or three copies of it (seen). So the variable is taken: read,
unset, and its original bytes overwritten. Core dumps and tracing by other processes of the same user are refused.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import MutableMapping

#: linux/prctl.h
_PR_SET_DUMPABLE = 4

#: Fields of /proc/self/stat after the command name (proc(5)): env_start is the 50th of all, env_end the 51st.
_ENV_START = 50 - 3
_ENV_END = 51 - 3


def take_secret(name: str, environ: MutableMapping[str, str] = os.environ) -> str | None:
    """The value of ``name``, removed from the environment of this process and of its children to come.

    An empty value counts as none.
    """
    value = environ.pop(name, "")
    _overwrite_in_initial_environment(name)
    return value or None


def _overwrite_in_initial_environment(name: str) -> None:
    """Replace the value of ``name`` in the memory that ``/proc/self/environ`` shows.

    Only after the variable was unset: until then the C library's ``environ`` points at these bytes.
    """
    try:
        with open("/proc/self/stat", "rb") as stat:  # noqa: PTH123 - no pathlib needed before everything else
            numbers = stat.read().rpartition(b")")[2].split()
        start, end = int(numbers[_ENV_START]), int(numbers[_ENV_END])
    except (OSError, ValueError, IndexError):
        return  # no /proc: then nobody reads /proc/PID/environ either
    if not 0 < start < end:
        return
    offset = 0
    wanted = name.encode() + b"="
    for variable in ctypes.string_at(start, end - start).split(b"\0"):
        if variable.startswith(wanted):
            ctypes.memset(start + offset + len(wanted), ord("*"), len(variable) - len(wanted))
        offset += len(variable) + 1


def forbid_core_dumps() -> None:
    """No core file, and no reading of our memory by another process of the same user (root still can)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # prctl cannot fail for these constants; where there is no prctl there is no FUSE either.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
