"""Bar charts as SVG text: a few lines here instead of a plotting library to install."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .records import Statistics

_LABEL, _BAR, _ROW, _VALUE = 210, 430, 26, 130


def bar_chart(title: str, bars: Sequence[tuple[str, Statistics]], unit: str, scale: float) -> str:
    """Horizontal bars of medians with a whisker from quartile to quartile.

    Args:
        bars: label and values of each bar.
        unit, scale: values are multiplied by ``scale`` and shown in ``unit``.
    """
    longest = max((value.upper_quartile for _, value in bars), default=0) or 1
    width, height = _LABEL + _BAR + _VALUE, _ROW * (len(bars) + 1) + 8
    parts = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">',
        f'<text x="0" y="16" class="title">{escape(title)}</text>',
    ]
    for row, (label, value) in enumerate(bars, start=1):
        y = row * _ROW
        end, low, high = (
            _BAR * part / longest
            for part in (value.median, value.lower_quartile, value.upper_quartile)
        )
        middle = y + _ROW / 2
        parts += [
            f'<text x="{_LABEL - 8}" y="{middle + 4:.1f}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{_LABEL}" y="{y + 4}" width="{end:.1f}" height="{_ROW - 8}"/>',
            f'<path d="M{_LABEL + low:.1f} {middle:.1f}H{_LABEL + high:.1f}"/>',
            f'<text x="{_LABEL + max(end, high) + 8:.1f}" y="{middle + 4:.1f}">'
            f"{value.median * scale:.3g} {escape(unit)}</text>",
        ]
    return "\n".join([*parts, "</svg>"])
