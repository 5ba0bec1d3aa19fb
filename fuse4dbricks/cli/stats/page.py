"""Statistics as one HTML page with charts.

The difficulty: it is mailed around and opened from a disk, so it loads nothing and runs nothing (its own policy
forbids both), and file names in it, which anybody who may write to a volume can choose, are text and never markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from fuse4dbricks import __version__
from fuse4dbricks.cache.statistics import DIMENSIONS, Statistics
from fuse4dbricks.cli.stats.charts import Mark, bars, columns, stack
from fuse4dbricks.cli.stats.sections import Section, facts_of, sections_of, when

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --dim: #667380; --paper: #fff; --line: #d9dfe5; --mark: #2b7bba;
  --track: #eef1f4; --part1: #58a55c; --part2: #d9892b; --over: #c0392b }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --dim: #93a0ad; --paper: #14191f; --line: #303a45;
  --mark: #4a9ad8; --track: #222a33; --part1: #6cbf70; --part2: #e5a04e; --over: #e06557 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1.5rem } dt, .note { color: var(--dim) } dd { margin: 0;
  overflow-wrap: anywhere }
svg { width: 100%; max-width: 720px; height: auto; display: block; font-size: 12px } svg text { fill: var(--ink) }
.end { text-anchor: end } .middle { text-anchor: middle } .track { fill: var(--track) } .mark, .part0 { fill: var(--mark) }
.part1 { fill: var(--part1) } .part2 { fill: var(--part2) } .over { fill: var(--over) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin-top: .5rem } summary { color: var(--dim) }
th, td { text-align: right; padding: .15rem 1rem .15rem 0; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; white-space: pre-wrap }
"""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(statistics: Statistics, *, top: int) -> str:
    """The whole page."""
    sections = sections_of(statistics, by=DIMENSIONS, top=top)
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts_of(statistics)
    )
    body = "".join(_shown(section, statistics) for section in sections)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width"><title>fuse4dbricks cache</title>'
        f"<style>{_STYLE}</style></head><body><h1>What the cache of fuse4dbricks holds</h1><dl>{facts}</dl>{body}"
        f'<p class="note">As of {escape(when(statistics.taken_at))}, by fuse4dbricks {escape(__version__)}.</p>'
        "</body></html>\n"
    )


def _shown(section: Section, statistics: Statistics) -> str:
    note = f'<p class="note">{escape(section.note)}</p>' if section.note else ""
    chart = _chart(section, statistics)
    return f"<section><h2>{escape(section.title)}</h2>{chart}{note}{_table(section)}</section>"


def _chart(section: Section, statistics: Statistics) -> str:
    marks = _marks(section)
    if not marks:
        return ""
    if section.columns[0] == "answered by":
        return stack(marks) if statistics.reads.answered_bytes else ""
    return columns(marks) if section.columns[0] == "age" else bars(marks)


def _marks(section: Section) -> list[Mark]:
    """Name, fraction, and the last column that is an amount of bytes or a count."""
    position = {"answered by": 2, "": 1}.get(section.columns[0], len(section.columns) - 1)
    return [
        (row.cells[0].strip(), row.fraction, row.cells[position])
        for row in section.rows
        if row.fraction is not None
    ]


def _table(section: Section) -> str:
    head = _line("th", section.columns)
    rows = "".join(_line("td", row.cells) for row in section.rows)
    return f"<details><summary>figures</summary><table>{head}{rows}</table></details>"


def _line(tag: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
