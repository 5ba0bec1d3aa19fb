"""Charts as inline SVG.

The difficulty: the page must be whole without a network, a script or a font of its own, so charts are drawn here,
to scale, with a title on each mark that the browser shows under the pointer, and colours that the page's style gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

#: Units of the drawing, which the page scales to its column.
WIDTH = 720
ROW, THICK = 26, 16
LABEL, VALUE = 250, 110
COLUMNS_HEIGHT = 150

#: Longest label; the whole one is in the mark's title.
_LABEL_LETTERS = 38

#: Name, fraction of the whole, and the value in words.
Mark = tuple[str, float, str]


def bars(marks: Sequence[Mark]) -> str:
    """A horizontal bar for each mark; the scale is from 0 to 1."""
    space = WIDTH - LABEL - VALUE
    parts = []
    for number, (name, fraction, value) in enumerate(marks):
        top = number * ROW
        middle = top + ROW / 2 + 4
        drawn = min(1.0, max(0.0, fraction)) * space
        parts.append(
            f"<g><title>{escape(name)}: {escape(value)}</title>"
            f'<text x="{LABEL - 8}" y="{middle:g}" class="end">{escape(_shortened(name))}</text>'
            f'<rect x="{LABEL}" y="{top + 5}" width="{space}" height="{THICK}" class="track"/>'
            f'<rect x="{LABEL}" y="{top + 5}" width="{max(drawn, 1 if fraction > 0 else 0):.1f}" height="{THICK}" '
            f'class="{"over" if fraction > 1 else "mark"}"/>'
            f'<text x="{WIDTH - VALUE + 8}" y="{middle:g}">{escape(value)}</text></g>'
        )
    return _svg(ROW * len(marks), parts)


def stack(marks: Sequence[Mark]) -> str:
    """One bar cut into parts that are one whole together, and what each colour stands for."""
    parts, left = [], 0.0
    for number, (name, fraction, value) in enumerate(marks):
        size = fraction * WIDTH
        words = f"{escape(name)}: {escape(value)}"
        place = WIDTH / len(marks) * number
        parts.append(
            f"<g><title>{words}</title>"
            f'<rect x="{left:.1f}" y="4" width="{size:.1f}" height="28" class="part{number}"/>'
            f'<rect x="{place:.1f}" y="44" width="12" height="12" class="part{number}"/>'
            f'<text x="{place + 18:.1f}" y="54">{words}</text></g>'
        )
        left += size
    return _svg(64, parts)


def columns(marks: Sequence[Mark]) -> str:
    """A column for each mark, the highest as high as the chart."""
    highest = max((fraction for _, fraction, _ in marks), default=0) or 1
    step = WIDTH / max(1, len(marks))
    parts = []
    for number, (name, fraction, value) in enumerate(marks):
        height = fraction / highest * (COLUMNS_HEIGHT - 20)
        middle = (number + 0.5) * step
        parts.append(
            f"<g><title>{escape(name)}: {escape(value)}</title>"
            f'<rect x="{middle - step * 0.35:.1f}" y="{COLUMNS_HEIGHT - height:.1f}" width="{step * 0.7:.1f}" '
            f'height="{max(height, 1):.1f}" class="mark"/>'
            f'<text x="{middle:.1f}" y="{COLUMNS_HEIGHT - height - 5:.1f}" class="middle">{escape(value)}</text>'
            f'<text x="{middle:.1f}" y="{COLUMNS_HEIGHT + 18}" class="middle">{escape(name)}</text></g>'
        )
    return _svg(COLUMNS_HEIGHT + 24, parts)


def _shortened(name: str) -> str:
    """The end of a long name says more than its beginning."""
    return name if len(name) <= _LABEL_LETTERS else f"…{name[-_LABEL_LETTERS + 1 :]}"


def _svg(height: float, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img">{"".join(parts)}</svg>'
