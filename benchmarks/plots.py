"""Charts as SVG text: a few lines here instead of a plotting library to install."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from samdeploy.benchmarks.records import Statistics

_LABEL, _BAR, _ROW, _VALUE = 210, 430, 26, 130


def scatter_chart(title: str, points: Sequence[tuple[str, float, float]]) -> str:
    """Labelled points ``(label, x, y)``, x from 0, y from the least that occurs to the largest."""
    width, height, margin = _LABEL + _BAR + _VALUE, 360, 60
    across = max((x for _, x, _ in points), default=0) or 1
    low = min((y for _, _, y in points), default=0)
    high = max((y for _, _, y in points), default=1)
    span = (high - low) or 1
    parts = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{escape(title)}">',
        f'<text x="0" y="16" class="title">{escape(title)}</text>',
        f'<path d="M{margin} 30V{height - 30}H{width - 10}" fill="none"/>',
        f'<text x="0" y="44">{high:.4f}</text><text x="0" y="{height - 40}">{low:.4f}</text>',
        f'<text x="{margin}" y="{height - 8}">0</text>',
        f'<text x="{width - 80}" y="{height - 8}">{across:.4g}</text>',
    ]
    for label, x, y in points:
        right = margin + (width - margin - _VALUE) * x / across
        down = 40 + (height - 90) * (high - y) / span
        parts += [
            f'<rect x="{right - 3:.1f}" y="{down - 3:.1f}" width="6" height="6"/>',
            f'<text x="{right + 8:.1f}" y="{down + 4:.1f}">{escape(label)}</text>',
        ]
    return "\n".join([*parts, "</svg>"])


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
