"""Draw the log of tools/train_tiny.py: what the model reaches on training pictures, step by step.

    python tools/training_plot.py LOG docs/images/sam_tiny_training.svg

Mean IoU of the best of three masks of a click, of the mask of a box, and of the last mask after
corrective clicks; how far the predicted IoU is off; and the loss, on a scale of its own.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: Name in the log, what it is, and its colour.
CURVES = (
    ("click", "one click, best of three", "#1b6ca8"),
    ("box", "box", "#c2571a"),
    ("last", "after corrective clicks", "#3b7d23"),
    ("miss", "predicted IoU off by", "#777777"),
)
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 760, 360, 48, 28, 36, 200
#: Lines of the log that a point of a curve is the mean of.
SMOOTH = 7


def read(log: str) -> dict[str, NDArray[np.float64]]:
    """Every figure of the log, a value for each line."""
    lines = [dict(re.findall(r"([a-z]+) +([\d.]+)", line)) for line in log.splitlines()]
    lines = [line for line in lines if "step" in line]
    return {name: np.array([float(line[name]) for line in lines]) for name in lines[0]}


def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value as the mean of those around it; fewer at the ends."""
    half = SMOOTH // 2
    parts = (values[max(0, i - half) : i + half + 1] for i in range(len(values)))
    return np.array([part.mean() for part in parts])


def line(steps: NDArray[np.float64], heights: Sequence[float], colour: str, more: str = "") -> str:
    across = LEFT + (WIDTH - LEFT - RIGHT) * steps / steps[-1]
    down = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * np.asarray(heights)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{more}/>'


def draw(log: str) -> str:
    """The plot as SVG."""
    figures = read(log)
    steps = figures["step"]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="16">mean IoU on training pictures, by step</text>',
    ]
    for tenth in range(0, 11, 2):
        y = HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * tenth / 10
        parts += [
            f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>',
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tenth / 10}</text>',
        ]
    for step in (0, steps[-1]):
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / steps[-1]
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{step:.0f}</text>')
    loss = smoothed(figures["loss"])
    drawn = [(smoothed(figures[name]), label, colour, "") for name, label, colour in CURVES]
    scale = f"loss, {loss.max():.1f} at the top"
    drawn.append((loss / loss.max(), scale, "#222222", ' stroke-dasharray="3 3"'))
    for row, (values, label, colour, dashes) in enumerate(drawn):
        y = TOP + 20 + 22 * row
        parts += [
            line(steps, list(values), colour, dashes),
            f'<path d="M{WIDTH - RIGHT + 14} {y}h18" stroke="{colour}" stroke-width="2"{dashes}/>',
            f'<text x="{WIDTH - RIGHT + 38}" y="{y + 4}">{label}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(draw(Path(sys.argv[1]).read_text()))
