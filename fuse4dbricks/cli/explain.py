"""``fuse4dbricks explain``: why you may or may not read a path, what is cached of it, and what reading it would cost.

The difficulty: the daemon may belong to somebody else, and who asks is known for sure only to the kernel. So the
question goes through a file of the mount, whoever may read the path, and needs no look at the path itself.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import click

from fuse4dbricks.cli.cache_options import json_option
from fuse4dbricks.cli.whereabouts import Asked, find_asked
from fuse4dbricks.errors import MountError

#: What the command ends with, by the verdict.
EXIT_CODES = {
    "readable": 0,
    "not_signed_in": 5,
    "unknown": 7,
    "busy": 7,
    "refused": 8,
    "absent": 9,
    "hidden": 9,
}


@click.command()
@click.argument("path")
@click.option(
    "--mountpoint", type=click.Path(path_type=Path), help="The mount to ask (default: that which PATH is in)."
)
@json_option("Print the answer as JSON.")
@click.pass_context
def explain(context: click.Context, path: str, mountpoint: Path | None, as_json: bool) -> None:
    """Say why you may or may not read PATH, what of it is cached, and what it would cost to read it.

    PATH is a path in a mount, whether you may look at it or not, or begins with /Volumes. The workspace is asked in your
    name; some six calls. Exit code 0: it can be read; 5: you are not signed in; 7: the workspace did not say; 8: it is
    refused; 9: there is no such file, or this mount does not show it.
    """
    answer = ask(find_asked(path, mountpoint))
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        from fuse4dbricks.cli.explained import lines_of  # noqa: PLC0415 - --help needs none of it

        click.echo("\n".join(lines_of(answer)))
    context.exit(EXIT_CODES[answer["verdict"]])


def ask(asked: Asked) -> dict[str, Any]:
    """The mount's answer.

    Raises:
        MountError: it does not answer.
    """
    try:
        said = _talk(asked.mountpoint / ".auth/explain", os.fsencode(asked.path) or b"/")
        answer = json.loads(said)
    except FileNotFoundError:
        raise MountError(f"{asked.mountpoint} is mounted by a program that does not explain") from None
    except OSError as error:
        if error.errno == errno.EACCES:
            raise MountError(
                f"{asked.mountpoint} is closed to other users than the one who mounted it (--allow-other opens it)"
            ) from None
        raise MountError(f"{asked.mountpoint} does not answer: {error.strerror}") from None
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or answer.get("schema") != 1 or answer.get("verdict") not in EXIT_CODES:
        raise MountError(f"{asked.mountpoint} answers something else; was it mounted by another version?")
    return answer


def _talk(file: Path, question: bytes) -> bytes:
    """Write a question and read on."""
    descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(descriptor, question)
        pieces = []
        while piece := os.read(descriptor, 1 << 16):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        os.close(descriptor)
