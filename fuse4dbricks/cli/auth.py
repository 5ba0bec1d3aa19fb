"""``fuse4dbricks auth``: who the mount takes you for, and logging in.

The difficulty: the daemon may belong to somebody else, and who asks is known for sure only to the kernel. So these
commands speak to it through the files in ``.auth``, as anybody can with ``cat`` and ``echo``.
"""

from __future__ import annotations

import contextlib
import errno
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import click

from fuse4dbricks.cli.cache_options import json_option
from fuse4dbricks.errors import MountError, UserError

#: Seconds between two looks at a login under way.
LOOK_SECONDS = 1.0


class NotSignedInError(UserError):
    """The mount has no valid token for this user."""

    exit_code = 5


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def auth() -> None:
    """Show how you stand with a mount, log in, or log out; for the user who runs the command."""


_mountpoint = click.argument("mountpoint", type=click.Path(path_type=Path))


@auth.command()
@_mountpoint
@json_option("Print the same as JSON.")
def status(mountpoint: Path, as_json: bool) -> None:
    """Say which sources of a token were looked at, which answered, who you are, and until when."""
    with _explained(mountpoint):
        shown = (mountpoint / ".auth/status").read_text(encoding="utf-8") if not as_json else ""
        document = json.loads((mountpoint / ".auth/status.json").read_bytes())
    click.echo(json.dumps(document, indent=2) if as_json else shown, nl=as_json)
    if document["principal"] is None:
        raise NotSignedInError(f"you are not signed in: {document['problem']}")


@auth.command()
@_mountpoint
def login(mountpoint: Path) -> None:
    """Sign in through Microsoft Entra: shows a page to open and a code to enter there, and waits."""
    with _explained(mountpoint), _cancelled_by_signals(mountpoint):
        _write(mountpoint, "login")
        shown = ""
        while True:
            state = _read_state(mountpoint)
            message = state.get("message", "")
            match state.get("state"):
                case "done":
                    click.echo(f"Done: {message}")
                    return
                case "waiting" if message != shown:
                    click.echo(f"To sign in, {message}")
                    shown = message
                case "failed" | "none" | None:
                    raise NotSignedInError(f"not signed in: {message or 'the login was forgotten'}")
            time.sleep(LOOK_SECONDS)


@auth.command()
@_mountpoint
def logout(mountpoint: Path) -> None:
    """Forget your login, and the token that you wrote into the mount."""
    with _explained(mountpoint):
        _write(mountpoint, "logout")
        (mountpoint / ".auth/personal_access_token").write_text("\n", encoding="ascii")


def _write(mountpoint: Path, word: str) -> None:
    (mountpoint / ".auth/login").write_text(f"{word}\n", encoding="ascii")


def _read_state(mountpoint: Path) -> dict[str, str]:
    lines = (mountpoint / ".auth/login").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition(": ") for line in lines)
    return {name: value for name, _, value in pairs}


@contextlib.contextmanager
def _cancelled_by_signals(mountpoint: Path) -> Iterator[None]:
    """Ctrl-C, and the end of the terminal, give up the login and not only the waiting."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            _write(mountpoint, "cancel")
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _explained(mountpoint: Path) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise MountError(f"{mountpoint} is not a mount of fuse4dbricks") from None
    except OSError as error:
        if error.errno == errno.EACCES:
            raise NotSignedInError(
                f"{mountpoint} does not take a login from you: it reads with one identity for everybody, "
                "or is closed to other users"
            ) from None
        raise MountError(f"{mountpoint} does not answer: {error.strerror}") from None
