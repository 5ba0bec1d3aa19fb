"""The ``fuse4dbricks`` command: which sub-command is meant, and how failures are told.

The difficulty: a person who mistypes a path needs one line on what to do, not a traceback; a person who meets a
bug needs the traceback, but only when asked for, because it may quote what he would rather not paste. Both ends
are here: every :class:`~fuse4dbricks.errors.UserError` becomes one line and its exit code, everything else one
line that names ``--debug``.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Iterator, Sequence

import click

from fuse4dbricks import __version__
from fuse4dbricks.cli.table import CommandTable
from fuse4dbricks.errors import UserError

PROGRAM = "fuse4dbricks"

#: What shells give a process that Ctrl-C ended (128 + SIGINT).
INTERRUPTED = 130

#: Errors of a write to where there is no room, be it a file or what stdout leads to.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: All that tells this RuntimeError of Python's from others.
NO_THREAD = "can't start new thread"

COMMANDS = {
    "mount": "fuse4dbricks.cli.mount:mount",
    "auth": "fuse4dbricks.cli.auth:auth",
    "cache": "fuse4dbricks.cli.cache:cache",
    "cache-stats": "fuse4dbricks.cli.cache_stats:cache_stats",
    "explain": "fuse4dbricks.cli.explain:explain",
    "offline": "fuse4dbricks.cli.offline:offline",
    "demo": "fuse4dbricks.cli.demo:demo",
    "local-workspace": "fuse4dbricks.cli.workspace:local_workspace",
}


class MountByDefault(click.Group):
    """A group whose first argument may be left out when it would be ``mount``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``mount`` in front unless a command or an option of the group itself comes first."""
        own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        if args and args[0] not in self.commands and args[0] not in own:
            args = ["mount", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=MountByDefault,
    commands=CommandTable(COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`fuse4dbricks [OPTIONS] MOUNTPOINT` is short for `fuse4dbricks mount [OPTIONS] MOUNTPOINT`.",
)
@click.version_option(__version__, prog_name=PROGRAM)
def commands() -> None:
    """Mount Databricks Unity Catalog volumes as a local, read-only folder with a cache on disk."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, a :class:`UserError`'s own, 2 for bad usage, or 1 for a bug."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        result = commands.main(arguments, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as asked:
        click.echo(asked.format_message())
        return 2
    except click.ClickException as error:
        return _tell(_usage_line(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    # The outermost frame: what leaves here is a traceback on a terminal. Ctrl-C comes in a group when trio was at work.
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - see above
        if any(isinstance(cause, KeyboardInterrupt) for cause in _leaves(error)):
            return INTERRUPTED
        return _tell_failure(error, debug=_wants_debug(arguments))
    return result if isinstance(result, int) else 0


def _wants_debug(arguments: Sequence[str]) -> bool:
    """The same answer as the flag's own parsing, which may be what failed."""
    variable = os.environ.get("FUSE4DBRICKS_DEBUG", "")
    return "--debug" in arguments or variable.lower() in {"1", "true", "t", "yes", "y", "on"}


def _usage_line(error: click.ClickException) -> str:
    line = " ".join(error.format_message().split())
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{line} (see `{context.command_path} --help`)" if context else line


def _tell_failure(error: BaseException, *, debug: bool) -> int:
    causes = list(_leaves(error))
    for cause in causes:
        if isinstance(cause, UserError):
            return _tell(" ".join(str(cause).split()), cause.exit_code)
        scarcity = _name_scarcity(cause)
        if scarcity:
            return _tell(scarcity, UserError.exit_code)
    if debug:
        from fuse4dbricks.telemetry.logs import redact  # noqa: PLC0415 - only a failure pays for it

        click.echo(redact("".join(traceback.format_exception(error))), err=True, nl=False)
    names = ", ".join(dict.fromkeys(type(cause).__name__ for cause in causes))
    hint = "" if debug else "; run it again with --debug for the details"
    return _tell(f"this should not have happened ({names}){hint}", 1)


def _name_scarcity(cause: BaseException) -> str:
    """What there is not enough of, and what to do; empty when that is not the trouble."""
    if isinstance(cause, OSError) and cause.errno in FULL:
        return f"what it has to say cannot be written: {cause.strerror}"
    if isinstance(cause, RuntimeError) and NO_THREAD in str(cause):
        return (
            "the system lets this user start no more threads: end some of his programs, "
            "or raise the limits that `ulimit -u` and `ulimit -v` show"
        )
    if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno == errno.ENOMEM):
        return "there is not enough memory: end other programs, or raise the limit that `ulimit -v` shows"
    return ""


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that are no groups: trio wraps what leaves a nursery."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _tell(line: str, exit_code: int) -> int:
    click.echo(f"{PROGRAM}: {line}", err=True)
    return exit_code
