"""``fuse4dbricks local-workspace``: a folder, served as a Databricks workspace."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fuse4dbricks.cli.extras import demo_extra
from fuse4dbricks.cli.options import ENVIRONMENT
from fuse4dbricks.errors import UserError

if TYPE_CHECKING:
    from fuse4dbricks.devworkspace.server import LocalWorkspace


@click.command("local-workspace", context_settings=ENVIRONMENT)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port (default: a free one).")
@click.option("--tls", is_flag=True, help="Serve https, with a certificate authority made on the spot.")
@click.option(
    "--user", default="someone@example.com", show_default=True, help="The user whose token is printed."
)
def local_workspace(folder: Path, host: str, port: int, tls: bool, user: str) -> None:
    """Serve DIR/CATALOG/SCHEMA/VOLUME/… with the Databricks REST API until Ctrl-C, for tests and experiments.

    It is no security boundary: whoever reaches the port may change the tree.
    """
    with demo_extra():
        from fuse4dbricks.devworkspace.server import run  # noqa: PLC0415 - the extra may be missing
        from fuse4dbricks.devworkspace.settings import Settings  # noqa: PLC0415

        # A closed terminal ends it like Ctrl-C, so that its certificate folder goes too.
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
        try:
            run(Settings(root=folder, host=host, port=port, tls=tls, user=user), announce)
        except OSError as error:
            raise UserError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error


def announce(workspace: LocalWorkspace) -> None:
    """Print where it is and how to mount it."""
    authority = workspace.authority_file
    trust = "" if authority is None else f" --ca-file {authority}"
    click.echo(
        f"{workspace.url} serves {workspace.settings.root} to {workspace.user}; Ctrl-C ends it. To mount it:"
    )
    click.echo(
        f"DATABRICKS_TOKEN={workspace.token} fuse4dbricks --workspace {workspace.url}{trust} MOUNTPOINT"
    )
