"""``fuse4dbricks mount``: from a command line to a mount that answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fuse4dbricks.app import descriptor_table
from fuse4dbricks.app.hardening import forbid_core_dumps, take_secret
from fuse4dbricks.app.memory import made_for_good, reuse_buffers
from fuse4dbricks.auth.variables import SECRETS, Variables, read_variables
from fuse4dbricks.cli.options import ENVIRONMENT, mount_options
from fuse4dbricks.config import MountConfig
from fuse4dbricks.errors import ConfigError, InvalidWrite
from fuse4dbricks.trust import TrustAhead


@click.command(context_settings=ENVIRONMENT)
@click.argument("mountpoint", type=click.Path(path_type=Path))
@click.option(
    "--workspace",
    envvar=["FUSE4DBRICKS_WORKSPACE", "DATABRICKS_HOST"],
    default="",
    metavar="URL",
    help="The workspace, such as https://adb-….azuredatabricks.net (or set DATABRICKS_HOST).",
)
@mount_options
def mount(mountpoint: Path, workspace: str, **options: Any) -> None:
    """Mount the Unity Catalog volumes of a workspace on MOUNTPOINT, read-only, until Ctrl-C.

    A token is written into .auth/personal_access_token in the mount, comes from `fuse4dbricks auth login`, or from
    the environment and the files that Databricks' own tools read. Every flag can also be given by the environment:
    --ram-cache-mb by FUSE4DBRICKS_RAM_CACHE_MB.
    """
    config = MountConfig(mountpoint=mountpoint, workspace=workspace, variables=take_variables(), **options)
    run(config, on_ready=lambda: click.echo(f"{mountpoint} is mounted, read-only; Ctrl-C unmounts it"))


def take_variables() -> Variables:
    """What the environment says about signing in; secrets are erased from it.

    Raises:
        ConfigError: one of them is not usable.
    """
    try:
        return read_variables(os.environ, take_secret)
    except InvalidWrite as error:
        raise ConfigError(f"one of {', '.join(SECRETS)} is not usable: {error}") from None


def run(config: MountConfig, *, on_ready: Callable[[], None]) -> None:
    """Mount until told to end; ``on_ready`` is called when the mount answers.

    Raises:
        UserError: the surroundings do not allow it.
    """
    if not config.debug:
        forbid_core_dumps()
    reuse_buffers()
    descriptor_table.make_room()
    trust = TrustAhead(config.ca_file)
    # Here and not at the top: they bring trio, httpx, apsw and pyfuse3, which --help does not need.
    with made_for_good():
        import trio  # noqa: PLC0415

        from fuse4dbricks.app.mount import run_mount  # noqa: PLC0415
        from fuse4dbricks.telemetry.logs import configure_logging  # noqa: PLC0415

    configure_logging(debug=config.debug)
    trio.run(lambda: run_mount(config, trust, on_ready=on_ready))
