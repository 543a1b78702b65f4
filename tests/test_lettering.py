"""Words of any script on pictures."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from samdeploy import Masks
from samdeploy.masks import lettering
from samdeploy.masks.rle import Rle


@pytest.fixture
def forget() -> Iterator[None]:
    """What fonts there are, before and after a test."""
    known = (lettering.drawable, lettering._find_font, lettering._letters, lettering._fonts)
    for function in known:
        function.cache_clear()
    yield
    for function in known:
        function.cache_clear()


@pytest.fixture
def no_fonts(forget: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lettering, "font_folders", list)


def drawn(word: str) -> np.ndarray:
    picture = np.zeros((40, 200, 3), np.uint8)
    lettering.write(picture, word, (5, 30), 0.6, (255, 255, 255), 1)
    return picture


def masks(name: str) -> Masks:
    mask = np.zeros((60, 200), bool)
    mask[10:50, 10:190] = True
    image = np.zeros((60, 200, 3), np.uint8)
    return Masks.from_rles(
        [Rle.encode(mask)], (60, 200), [0.9], classes=[7], names={7: name}, image=image
    )


@pytest.mark.parametrize("word", ["猫", "кошка", "größer"])
def test_no_font_has_the_letters(
    no_fonts: None, caplog: pytest.LogCaptureFixture, word: str
) -> None:
    """The number of the class is drawn, and a notice says so."""
    with caplog.at_level(logging.WARNING, "samdeploy"):
        assert lettering.drawable(word, "class7") == "class7"
    assert f"{word!r} cannot be drawn here: no font in the usual folders" in caplog.text
    np.testing.assert_array_equal(masks(word).plot(), masks("7").plot())


def test_ascii_needs_no_font(no_fonts: None, caplog: pytest.LogCaptureFixture) -> None:
    assert lettering.drawable("a cat?", "class7") == "a cat?"
    assert drawn("a cat?").any()
    assert not caplog.text


def test_a_font_of_this_machine(forget: None) -> None:
    """Its letters are drawn where the word is said to be."""
    word = next((w for w in ("猫", "кошка", "größer") if lettering._find_font(w)), None)
    if word is None:
        pytest.skip("no font here has any of the letters")
    picture, width = drawn(word), lettering.measure(word, 0.6, 1)[0]
    columns = np.flatnonzero(picture.any(axis=(0, 2)))
    assert 5 <= columns[0] <= columns[-1] <= 6 + width
    assert (picture != drawn("?" * len(word))).any()
    assert (masks(word).plot() != masks("7").plot()).any()


def test_a_file_that_is_no_font(
    no_fonts: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Sans.ttf").write_bytes(b"no font")
    monkeypatch.setattr(lettering, "font_folders", lambda: [tmp_path])
    assert lettering.drawable("кошка", "class7") == "class7"
