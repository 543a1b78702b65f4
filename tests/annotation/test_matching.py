"""Boxes find their images where a file system that does not tell cases apart would."""

from __future__ import annotations

from pathlib import Path

import pytest

from samdeploy import InputError
from samdeploy.annotation.matching import describe, match

WHAT = ("label", "labels")


def images(*names: str) -> list[Path]:
    return [Path("set") / name for name in names]


@pytest.mark.parametrize(
    ("image", "given"),
    [
        ("a.png", "a.png"),
        ("b.png", "B.png"),
        ("D.PNG", "d.png"),
        ("a.png", "x/y/a.png"),
        ("a.png", "C:\\data\\imgs\\a.png"),
        ("straße.png", "STRASSE.png"),
        ("caf\u00e9.png", "cafe\u0301.png"),  # as Linux and macOS write it
        ("a.png", "a.jpg"),
    ],
)
def test_the_same_file(image: str, given: str) -> None:
    found = match(images(image), [given], "boxes", stems=False)
    assert (found.of, found.alone, found.unused) == ({image: given}, [], [])
    assert (found.renamed == [image]) == (given == "a.jpg")


def test_the_closest_name_counts() -> None:
    found = match(images("a.png"), ["a.jpg", "A.png", "a.png"], "boxes", stems=False)
    assert found.of == {"a.png": "a.png"}
    assert found.unused == ["a.jpg", "A.png"]


def test_folders_tell_equal_names_apart() -> None:
    given = ["train/a.png", "val/a.png", "test/a.png"]
    for folder in ("train", "VAL"):
        found = match([Path("/data") / folder / "a.png"], given, "boxes", stems=False)
        assert found.of == {"a.png": f"{folder.lower()}/a.png"}
    with pytest.raises(InputError, match=r"has 'train/a\.png' and 'val/a\.png', and either"):
        match([Path("/data/other/a.png")], given, "boxes", stems=False)


def test_two_labels_of_one_image_are_named() -> None:
    with pytest.raises(InputError, match=r"has 'B\.txt' and 'B\.TXT', and either may be of 'b"):
        match(images("bb.png", "b.png"), ["bb.txt", "B.txt", "B.TXT"], "boxes=x", stems=True)
    assert match(images("b.png"), ["B.txt", "b.txt"], "boxes=x", stems=True).of["b.png"] == "b.txt"


def test_what_stays_is_counted_and_named() -> None:
    all_four = images("a.png", "b.png", "c.png", "d.png")
    found = match(all_four, ["a.txt", "b.txt", "q.txt"], "boxes=x", stems=True)
    assert describe(found, 4, "boxes=x", WHAT, 0.5) == [
        "boxes=x says nothing about 2 of 4 images ('c.png' and 'd.png'): taken for images without "
        "objects.",
        "boxes=x has 1 label that no image is called like ('q.txt').",
    ]
    with pytest.raises(
        InputError, match=r"2 of 4 images .* while 1 label \('q\.txt'\) match.*0\.4"
    ):
        describe(found, 4, "boxes=x", WHAT, 0.4)


def test_all_images_of_larger_labels_are_fine() -> None:
    found = match(images("a.png"), [f"{letter}.txt" for letter in "abcde"], "boxes=x", stems=True)
    (said,) = describe(found, 1, "boxes=x", WHAT, 0.0)
    assert said == (
        "boxes=x has 4 labels that no image is called like ('b.txt' and 'c.txt', among others)."
    )
