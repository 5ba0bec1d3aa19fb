"""The figures as one self-contained HTML page with a bar chart per question."""

from __future__ import annotations

import html
from itertools import groupby
from pathlib import Path

from benchmarks.results import Figure, get_environment

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color:#222}
h2{margin:2rem 0 .3rem;font-size:1.1rem} small{color:#666} rect{fill:#9bb} .ours{fill:#2a7} .r{stroke:#333}
text{font:13px system-ui,sans-serif;fill:#222}
"""
_WIDTH, _ROW, _LEFT = 420, 26, 130


def write_html(file: Path, figures: list[Figure]) -> None:
    """Medians as bars, ranges as whiskers."""
    charts = "".join(_chart(name, list(group)) for name, group in groupby(figures, lambda one: one.question))
    environment = html.escape(", ".join(f"{name} {value}" for name, value in get_environment().items()))
    file.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Benchmarks</title><style>{_STYLE}</style>'
        f"<h1>Benchmarks</h1><p><small>{environment}</small></p>{charts}</html>\n"
    )


def _chart(question: str, figures: list[Figure]) -> str:
    shown = [figure for figure in figures if figure.runs]
    top = max((max(figure.runs) for figure in shown), default=1.0) or 1.0
    bars = "".join(_bar(row, figure, _WIDTH / top) for row, figure in enumerate(shown))
    skipped = "".join(
        f"<p><small>{html.escape(figure.subject)}: {html.escape(figure.note)}</small></p>"
        for figure in figures
        if not figure.runs
    )
    line = figures[0].line
    title = f"{html.escape(question)} <small>{figures[0].unit}, {figures[0].is_better_when} is better; "
    title += f"{line.latency_seconds * 1000:.0f} ms, {line.bytes_per_second / 1e6:.0f} MB/s (0: none)</small>"
    height = _ROW * len(shown) + 4
    return f'<h2>{title}</h2><svg width="720" height="{height}" role="img">{bars}</svg>{skipped}'


def _bar(row: int, figure: Figure, scale: float) -> str:
    middle, y = figure.median or 0.0, row * _ROW
    low, high = (_LEFT + scale * value for value in (min(figure.runs), max(figure.runs)))
    kind = ' class="ours"' if figure.subject == "ours" else ""
    return (
        f'<text x="0" y="{y + 17}">{html.escape(figure.subject)}</text>'
        f'<rect{kind} x="{_LEFT}" y="{y + 4}" width="{scale * middle:.1f}" height="18"/>'
        f'<line class="r" x1="{low:.1f}" x2="{high:.1f}" y1="{y + 13}" y2="{y + 13}"/>'
        f'<text x="{_LEFT + _WIDTH + 12}" y="{y + 17}">{middle:.1f}</text>'
    )
