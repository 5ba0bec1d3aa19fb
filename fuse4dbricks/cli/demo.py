"""``fuse4dbricks demo``: the whole thing, without a workspace and without an account."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import click

from fuse4dbricks.app.hardening import take_secret
from fuse4dbricks.auth.variables import SECRETS
from fuse4dbricks.cli.extras import demo_extra
from fuse4dbricks.cli.mount import run
from fuse4dbricks.config import MountConfig
from fuse4dbricks.tokens import Token

#: 1 GiB is plenty for the sample tree, and kind to a small /tmp.
CACHE_GB = 1.0


@click.command()
@click.argument("mountpoint", required=False, type=click.Path(path_type=Path))
@click.option("--debug", is_flag=True, help="Log each call and each failed request, and show tracebacks.")
def demo(mountpoint: Path | None, debug: bool) -> None:
    """Mount a made-up workspace, served from this machine, on MOUNTPOINT (default: a new temporary folder).

    Ctrl-C ends it. Nothing is left behind: neither the mount nor the sample files nor the cache.
    """
    from fuse4dbricks.app.surroundings import check_fuse, prepare_mountpoint  # noqa: PLC0415 - see cli/__init__
    from fuse4dbricks.cli.janitor import cleaned_up  # noqa: PLC0415
    from fuse4dbricks.cli.sample_tree import make_sample_tree  # noqa: PLC0415

    with demo_extra():
        from fuse4dbricks.devworkspace.server import LocalWorkspace  # noqa: PLC0415

    # Not for this workspace, nor for the programs that are started.
    for name in SECRETS:
        take_secret(name)
    check_fuse(allow_other=False)
    # Before the janitor knows of it: a mount that was there before is not his to take away.
    target = None if mountpoint is None else prepare_mountpoint(mountpoint)
    folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="fuse4dbricks-demo-")))
    target = target or folder / "mnt"
    with cleaned_up(folder, target):
        (folder / "mnt").mkdir()
        count = make_sample_tree(folder / "lake")
        with LocalWorkspace(folder / "lake") as workspace:
            click.echo(f"made {count} sample files; {workspace.url} serves them as a Databricks workspace")
            config = MountConfig(
                mountpoint=target,
                workspace=workspace.url,
                token=Token(workspace.token),
                disk_cache_dir=folder / "cache",
                disk_cache_gb=CACHE_GB,
                debug=debug,
            )
            run(config, on_ready=lambda: click.echo(invitation(target)))


def invitation(mountpoint: Path) -> str:
    """What to try."""
    tools = ["ls -lR {0}/main/default/welcome", "cat {0}/main/default/welcome/hello.txt"]
    tools += ["md5sum {0}/main/sales/orders/year=2024/*/*", "cp -r {0}/research/imaging/scans /tmp/scans"]
    tools += ["tar -cf /dev/null {0}/main", "find {0} -name '*.csv' -size +10k"]
    if shutil.which("sqlite3"):
        tools.append(
            "sqlite3 -readonly {0}/main/sales/orders/orders.sqlite 'SELECT count(*), sum(amount) FROM orders'"
        )
    lines = (f"  {tool.format(mountpoint)}" for tool in tools)
    return "\n".join(
        (
            f"mounted on {mountpoint}, read-only. Try, in another terminal:",
            *lines,
            "Ctrl-C ends it and cleans up.",
        )
    )
