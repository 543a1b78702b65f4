"""Class names from text and from YAML."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from samdeploy import InputError
from samdeploy.annotation.classes import as_names, read_names


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("# mine\npath: ../x\ntrain: images\nnc: 2\nnames:\n  0: cat\n  1: dog\n", ["cat", "dog"]),
        ("names: [cat, 'dog: big', \"größer\"]\n", ["cat", "dog: big", "größer"]),
        ("names:\n- cat\n- no\n- 1.50\n", ["cat", "no", "1.50"]),  # text, as it is written
        ("names: {1: dog, 0: cat}\nnc: 2\n", ["cat", "dog"]),
    ],
)
def test_yaml(tmp_path: Path, content: str, names: list[str]) -> None:
    path = tmp_path / "data.yaml"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_text(content, encoding=encoding)
        assert read_names(path) == dict(enumerate(names))


@pytest.mark.parametrize(
    "content",
    ["", "- cat\n", "names:\n", "names: cat\n", "names: [cat, cat]\n", "names: [[cat]\n",
     "names: {cat: 0}\n", "names: {-1: cat}\n", "names: {99999999: cat}\n", "names: ['']\n",
     "[" * 2_000, "names: !!python/object/apply:os.getcwd []\n"],
)  # fmt: skip
def test_yaml_that_does_not_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "data.yml").write_text(content)
    with pytest.raises(InputError, match=r"data\.yml"):
        read_names(tmp_path / "data.yml")


def test_a_byte_order_mark_is_no_letter(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(codecs.BOM_UTF8 + b"cat\r\ndog\r\n")
    assert read_names(tmp_path / "names.txt") == {0: "cat", 1: "dog"}


def test_lists_and_mappings() -> None:
    assert as_names(["cat", "dog"], "x") == as_names({"0": "cat", 1: "dog"}, "x")
    assert as_names((), "x") == {}
    for value in (None, "cat", 3, {"cat": 1}, {0: ""}, {-1: "cat"}):
        with pytest.raises(InputError, match="x gives"):
            as_names(value, "x")
