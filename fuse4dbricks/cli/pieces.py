"""Long answers, written while they are found: lines for people, one JSON object for programs.

The difficulty: a million entries must not be held before the first is told, and a write for each is half of what a command
takes. So pieces go out some hundred at a time, and the members of the object that are only known at the end stand at its end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import click

#: Pieces that are written at once.
TOGETHER = 500


def write_pieces(pieces: Iterable[str]) -> None:
    """Write ``pieces`` as they come; each that ends a line may be the last that is wanted."""
    left = iter(pieces)
    while some := list(islice(left, TOGETHER)):
        click.echo("".join(some), nl=False)


def one_object(
    schema: int,
    name: str,
    entries: Iterable[dict[str, Any]],
    after: Callable[[], dict[str, Any]] = dict,
    **fields: object,
) -> Iterator[str]:
    """One object on one line, with ``entries`` as a member; nothing of it before the first entry is found.

    ``after`` gives the members behind them, when all are told.
    """
    head = json.dumps({"schema": schema, **fields}).removesuffix("}")
    before = f'{head}, "{name}": ['
    for each in entries:
        yield before + json.dumps(each)
        before = ", "
    opening = "" if before == ", " else before
    rest = json.dumps(after()).removeprefix("{")
    yield f"{opening}]{'' if rest == '}' else ', '}{rest}\n"
