"""Tables for people at a terminal, and for a pipe.

The difficulty: bars and colours help an eye and harm ``grep`` and ``awk``. So a terminal gets both, and a pipe gets
columns of plain text that are neither cut nor wrapped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fuse4dbricks.cli.stats.sections import Section

if TYPE_CHECKING:
    from rich.console import RenderableType

#: Cells of a bar.
BAR_WIDTH = 24

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(fraction: float, width: int = BAR_WIDTH) -> str:
    """``fraction`` of ``width`` cells, to an eighth of a cell; anything above nothing is seen."""
    eighths = round(min(1.0, max(0.0, fraction)) * width * 8)
    if fraction > 0:
        eighths = max(1, eighths)
    whole, part = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[part] if part else "")


def render(facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> RenderableType:
    """For a terminal of any width."""
    from rich.console import Group  # noqa: PLC0415 - 60 ms that a pipe and JSON do not need
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    head = Table.grid(padding=(0, 2))
    for name, value in facts:
        head.add_row(Text(name, style="dim"), Text(value, overflow="fold"))
    parts: list[RenderableType] = [head]
    for section in sections:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for number, column in enumerate(section.columns):
            table.add_column(
                column, justify="right" if number else "left", overflow="fold", no_wrap=number > 0
            )
        table.add_column("", no_wrap=True, width=BAR_WIDTH)
        for row in section.rows:
            # Text and not str: a name is no markup.
            drawn = Text(
                "" if row.fraction is None else bar(row.fraction), style=_colour(section, row.fraction)
            )
            table.add_row(*(Text(cell) for cell in row.cells), drawn)
        parts += [Text(), Text(section.title, style="bold"), table]
        if section.note:
            parts.append(Text(section.note, style="dim"))
    return Group(*parts)


def _colour(section: Section, fraction: float | None) -> str:
    if section.title == "Size" and fraction is not None:
        return "red" if fraction > 1 else "yellow" if fraction > 0.9 else "green"
    return "cyan"


def plain(facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """For a pipe."""
    return "\n".join(_plain_lines(facts, sections)) + "\n"


def _plain_lines(facts: Sequence[tuple[str, str]], sections: Sequence[Section]) -> Iterator[str]:
    yield from (f"{name}: {value}" for name, value in facts)
    for section in sections:
        yield ""
        yield section.title
        lines = [section.columns, *(row.cells for row in section.rows)]
        widths = [max(len(line[number]) for line in lines) for number in range(len(section.columns))]
        for line in lines:
            cells = (
                cell.rjust(width) if number else cell.ljust(width)
                for number, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            yield f"  {'  '.join(cells)}".rstrip()
        if section.note:
            yield f"  {section.note}"
