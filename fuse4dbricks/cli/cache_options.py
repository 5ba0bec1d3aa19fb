"""The options that the commands share: which cache folder, and JSON for programs.

The difficulty: the same two, declared by each command anew, would drift apart in name, variable or meaning. They are apart from
the options of a mount, whose declaration is more to import than ``--help`` needs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def folder_option(command: Command) -> Command:
    """Decorate a command with ``--disk-cache-dir``."""
    return click.option(
        "--disk-cache-dir",
        type=click.Path(path_type=Path),
        envvar="FUSE4DBRICKS_DISK_CACHE_DIR",
        help="Folder of the disk cache (default: the one that a mount uses by default).",
    )(command)


def json_option(meaning: str) -> Callable[[Command], Command]:
    """Decorates a command with ``--json``; ``meaning`` says what is printed."""
    return click.option("--json", "as_json", is_flag=True, help=meaning)


def cache_options(command: Command) -> Command:
    """Decorate a command with both; it prints one object."""
    return folder_option(json_option("Print one JSON object.")(command))
