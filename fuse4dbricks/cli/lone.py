"""Options of commands that do a mount's work when nobody is mounted.

The difficulty: the cache must be the one that a later mount finds, so what is not said is as the last mount had it; and
what a mount would ask the network for is said by the same flags.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from fuse4dbricks.cli.cache_options import Command, cache_options
from fuse4dbricks.cli.options import some_mount_options
from fuse4dbricks.config import MountConfig
from fuse4dbricks.errors import ConfigError

#: Options of a mount that matter without one.
TAKEN = (
    "ca_file",
    "securable_allowlist",
    "securable_denylist",
    "no_unified_auth",
    "tenant_id",
    "client_id",
    "entra_authority",
    "disk_cache_gb",
    "disk_cache_min_free_percent",
    "chunk_size_kb",
    "pin_max_gb",
)


def alone_options(command: Command) -> Command:
    """Decorate a command with these, and with those of all commands for the cache."""
    command = some_mount_options(*TAKEN)(command)
    command = click.option(
        "--workspace",
        envvar=["FUSE4DBRICKS_WORKSPACE", "DATABRICKS_HOST"],
        default="",
        metavar="URL",
        help="The workspace, when nobody is mounted.",
    )(command)
    return cache_options(command)


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that somebody has set, on the command line or in the environment."""
    context = click.get_current_context()
    return {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }


def config_for(folder: Path, options: dict[str, Any]) -> MountConfig:
    """How to mount what the options (of :func:`given`) name, as far as that goes without a mount.

    Raises:
        ConfigError: no workspace is named, or an option is out of bounds.
    """
    from fuse4dbricks.app.hardening import forbid_core_dumps  # noqa: PLC0415 - --help needs none of it
    from fuse4dbricks.app.warming.alone import NOWHERE, settings_of_last_mount  # noqa: PLC0415
    from fuse4dbricks.chunks.layout import INDEX  # noqa: PLC0415
    from fuse4dbricks.cli.mount import take_variables  # noqa: PLC0415

    if not options.get("workspace"):
        raise ConfigError(
            f"nothing is mounted with the cache folder {folder}: mount first, or name the workspace with --workspace"
        )
    forbid_core_dumps()
    before = settings_of_last_mount(Path(os.path.abspath(folder)) / INDEX)  # noqa: PTH100 - no links followed
    settings = {**before, **options}
    return MountConfig(mountpoint=NOWHERE, disk_cache_dir=folder, variables=take_variables(), **settings)
