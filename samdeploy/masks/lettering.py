"""Words on pictures.

OpenCV's own font has ASCII alone. Other words are drawn with the first font of this machine that
has all their letters; where there is none, :func:`drawable` gives what is drawn instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from samdeploy.notices import notice

Colour = tuple[int, int, int]

#: Pixels of a line at OpenCV's scale 1.
_HEIGHT = 30
_SUFFIXES = frozenset({".otf", ".ttc", ".ttf"})
#: Of no use for words, so that every font shows it as a letter that it lacks.
_ABSENT = "\uffff"


@lru_cache(maxsize=1024)
def drawable(word: str, instead: str) -> str:
    """``word`` if it can be drawn here, else ``instead``, with a notice the first time."""
    if word.isascii() or _find_font(word) is not None:
        return word
    notice(
        "%r cannot be drawn here: no font in %s has its letters; pictures show %r instead.",
        word,
        ", ".join(map(str, font_folders())) or "the usual folders",
        instead,
    )
    return instead


def measure(word: str, scale: float, line: int) -> tuple[int, int, int]:
    """Width and height of a word in pixels, and what of it is below the line."""
    font = _font(word, scale)
    if font is None:
        (width, height), below = cv2.getTextSize(word, cv2.FONT_HERSHEY_SIMPLEX, scale, line)
        return width, height, below
    left, top, right, bottom = font.getbbox(word, anchor="ls")
    return round(right - left), round(-top), max(0, round(bottom))


def write(
    picture: NDArray[np.uint8],
    word: str,
    at: tuple[int, int],
    scale: float,
    paint: Colour,
    line: int,
    edge: Colour | None = None,
) -> None:
    """Draw a word into ``picture`` (RGB uint8 ``[H, W, 3]``).

    Args:
        at: (x, y) of the left end of the line that letters stand on.
        scale: size, in OpenCV's; ``line`` is its thickness of strokes.
        edge: colour of an outline.
    """
    font = _font(word, scale)
    if font is None:
        inks = [(paint, line)] if edge is None else [(edge, line + 2), (paint, line)]
        for ink, thickness in inks:
            cv2.putText(
                picture, word, at, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, thickness, cv2.LINE_AA
            )
        return
    canvas = Image.fromarray(picture)
    ImageDraw.Draw(canvas).text(
        at, word, paint, font, anchor="ls", stroke_width=int(edge is not None), stroke_fill=edge
    )
    picture[:] = np.asarray(canvas)


def font_folders() -> list[Path]:
    """Where this system keeps fonts."""
    home = Path.home()
    if sys.platform == "win32":
        places = [
            Path(os.environ.get("WINDIR", r"C:\Windows"), "Fonts"),
            Path(os.environ.get("LOCALAPPDATA", home), "Microsoft", "Windows", "Fonts"),
        ]
    elif sys.platform == "darwin":
        places = [
            Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library" / "Fonts"
        ]  # fmt: skip
    else:
        places = [
            Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".fonts",
            home / ".local" / "share" / "fonts",
        ]  # fmt: skip
    return [place for place in places if place.is_dir()]


def _font(word: str, scale: float) -> ImageFont.FreeTypeFont | None:
    path = None if word.isascii() else _find_font(word)
    return None if path is None else _open(path, max(8, round(_HEIGHT * scale)))


@lru_cache(maxsize=1024)
def _find_font(word: str) -> str | None:
    letters = {letter for letter in word if not letter.isspace()}
    return next((path for path in _fonts() if letters <= _letters(path, frozenset(letters))), None)


@lru_cache(maxsize=4096)
def _letters(path: str, wanted: frozenset[str]) -> frozenset[str]:
    """Those of the ``wanted`` letters that a font has."""
    font = _open(path, 16)
    if font is None:
        return frozenset()
    absent = _shape(font, _ABSENT)
    return frozenset(letter for letter in wanted if _shape(font, letter) != absent)


def _shape(font: ImageFont.FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


@lru_cache(maxsize=64)
def _open(path: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(path, size)
    except (OSError, ImportError, ValueError):  # damaged, or Pillow without FreeType
        return None


@lru_cache(maxsize=1)
def _fonts() -> tuple[str, ...]:
    """Every font file, upright ones without serifs first."""
    return tuple(str(path) for path in sorted(_files(), key=_plainness))


def _files() -> Iterator[Path]:
    for folder in font_folders():
        for place, _, names in os.walk(folder):
            yield from (Path(place, n) for n in names if Path(n).suffix.lower() in _SUFFIXES)


def _plainness(path: Path) -> tuple[bool, bool, str]:
    name = path.stem.lower()
    marked = any(word in name for word in ("bold", "italic", "oblique", "light", "thin"))
    return "sans" not in name, marked, name
