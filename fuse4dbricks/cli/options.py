"""Flags made from the fields of :class:`~fuse4dbricks.config.MountConfig`.

The difficulty: sixteen flags, each with a default, a type, a help text and an environment variable, are easily
written twice. Here each comes from its one declaration. Bounds are checked by the configuration itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import Field
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import click

from fuse4dbricks.cli.measures import age
from fuse4dbricks.config import MountConfig, flag_of, option_fields

Command = TypeVar("Command", bound=Callable[..., Any])

#: Prefix of the environment variable of every flag: --ram-cache-mb is FUSE4DBRICKS_RAM_CACHE_MB.
ENVIRONMENT_PREFIX = "FUSE4DBRICKS"

ENVIRONMENT = {"auto_envvar_prefix": ENVIRONMENT_PREFIX, "help_option_names": ["-h", "--help"]}


def duration(text: str) -> float:
    """``8h``, ``30m``, ``45s``, ``2d``, or a number of seconds → seconds.

    Raises:
        click.BadParameter: it is none.
    """
    try:
        return float(text)
    except ValueError:
        return age(text)


def one_of(words: type[StrEnum]) -> Callable[[str], StrEnum]:
    """A parser of one of a few words, whatever its case."""

    def word(text: str) -> StrEnum:
        try:
            return words(text.lower())
        except ValueError:
            raise click.BadParameter(f"{text!r} is none of {', '.join(words)}") from None

    return word


def octal(text: str) -> int:
    """Permission bits as chmod takes them: ``0440``, ``440`` or ``0o440``.

    Raises:
        click.BadParameter: it is not octal.
    """
    try:
        return int(text, 8)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not an octal number such as 0440") from None


def in_words(seconds: float) -> str:
    """``28800.0`` → ``8h``."""
    size, unit = next((size, unit) for size, unit in _UNITS if not seconds % size)
    return f"{seconds / size:g}{unit}"


def mount_options(command: Command) -> Command:
    """Decorate ``command`` with one flag for each option of a mount, shown in the order of the declaration."""
    return _with_flags(command, list(option_fields()))


def some_mount_options(*names: str) -> Callable[[Command], Command]:
    """Decorate a command with the flags of these options of a mount."""

    def decorate(command: Command) -> Command:
        return _with_flags(command, [each for each in option_fields() if each.name in names])

    return decorate


def _with_flags(command: Command, options: Sequence[Field[Any]]) -> Command:
    # Once for all of them: it evaluates every annotation of the class, half a millisecond of each start.
    hints = get_type_hints(MountConfig)
    for option in reversed(options):
        command = _flag(option, hints[option.name])(command)
    return command


_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def _flag(option: Field[Any], hint: Any) -> Callable[[Command], Command]:
    given = next((part for part in get_args(hint) if part is not type(None)), hint)
    flag, meaning = flag_of(option.name), option.metadata["meaning"]
    if given is bool and option.default:
        return click.option(f"{flag}/--no-{flag[2:]}", default=True, show_default=True, help=meaning)
    if given is bool:
        return click.option(flag, is_flag=True, default=option.default, help=meaning)
    if get_origin(hint) is tuple:
        return click.option(flag, multiple=True, metavar="NAMES", help=meaning)
    if option.name.endswith("_mode"):
        return click.option(
            flag,
            type=octal,
            metavar="OCTAL",
            default=f"{option.default:04o}",
            show_default=True,
            help=meaning,
        )
    if option.metadata["is_duration"]:
        return click.option(
            flag,
            type=duration,
            metavar="DURATION",
            default=in_words(float(str(option.default))),
            show_default=True,
            help=meaning,
        )
    if issubclass(given, StrEnum):
        return click.option(
            flag,
            type=one_of(given),
            metavar=f"[{'|'.join(given)}]",
            default=str(option.default),
            show_default=True,
            help=meaning,
        )
    kind: Any = {str: click.STRING, int: click.INT, float: click.FLOAT, Path: click.Path(path_type=Path)}[
        given
    ]
    shown = option.default is not None
    return click.option(flag, type=kind, default=option.default, show_default=shown, help=meaning)
