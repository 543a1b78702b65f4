"""The rewriter of ``key=value`` and the parsing of values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from samdeploy.cli.words import Keys, load_masks, parse_numbers, rewrite
from samdeploy.errors import InputError

COMMANDS = {
    "run": Keys(
        names={"model": "model", "conf": "conf_thres", "conf_thres": "conf_thres", "fast": "fast"},
        flags=frozenset({"fast"}),
        required=("model",),
    )
}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["model=a"], ["--model=a"]),
        (["--model", "a"], ["--model=a"]),
        (["--model=a"], ["--model=a"]),
        (["--model", "a=b.png"], ["--model=a=b.png"]),
        (["model=--x"], ["--model=--x"]),
        (["model=a\nb"], ["--model=a\nb"]),
        (["model=a", "--conf-thres", "-1"], ["--model=a", "--conf_thres=-1"]),
        (["model=a", "conf=0.5"], ["--model=a", "--conf_thres=0.5"]),
        (["model=a", "fast=True"], ["--model=a", "--fast"]),
        (["model=a", "fast=0"], ["--model=a", "--no-fast"]),
        (["--fast", "model=a"], ["--fast", "--model=a"]),
        (["--fast", "no", "model=a"], ["--no-fast", "--model=a"]),
        (["--no-fast", "model=a"], ["--no-fast", "--model=a"]),
        (["model=a", "-h"], ["--help"]),
        (["nonsense", "--help"], None),
    ],
)
def test_rewrite(words: list[str], expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(InputError, match="stands alone"):
            rewrite(["run", *words], COMMANDS)
    else:
        assert rewrite(["run", *words], COMMANDS) == ["run", *expected]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["mode=a"], "did you mean 'model'"),
        (["model=a", "zzz=1"], "expected one of model, conf"),
        (["model=a", "model=b"], "second time"),
        (["model=a", "conf=1", "conf_thres=2"], "second time"),
        (["model=a", "fast=perhaps"], "expected True or False"),
        (["--model"], "no value"),
        (["--model", "--fast"], "no value"),
        (["model="], "no value"),
        (["conf=1"], "needs model="),
        (["model=a", "--no-model"], "unknown key 'no_model'"),
        (["a.png", "model=a"], "'a.png' stands alone; expected key=value, such as model=a.png"),
        (["-x", "model=a"], "stands alone"),
    ],
)
def test_refused(words: list[str], match: str) -> None:
    with pytest.raises(InputError, match=match):
        rewrite(["run", *words], COMMANDS)


@pytest.mark.parametrize("words", [[], ["--help"], ["other", "a=b"]])
def test_what_is_no_command_of_ours_passes(words: list[str]) -> None:
    assert rewrite(words, COMMANDS) == words


numbers = st.one_of(
    st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6, allow_nan=False, allow_infinity=False)
)
nested = st.recursive(numbers, lambda inner: st.lists(inner, min_size=1, max_size=4), max_leaves=12)


@given(nested, st.sampled_from(["", " "]))
def test_numbers_survive(value: Any, space: str) -> None:
    written = json.dumps(value).replace(" ", space)
    assert parse_numbers(written, "points") == value


@given(st.lists(nested, min_size=2, max_size=4))
def test_the_outermost_brackets_may_be_left_out(value: list[Any]) -> None:
    assert parse_numbers(json.dumps(value)[1:-1], "points") == value


def test_special_numbers() -> None:
    assert parse_numbers(None, "points") is None
    assert np.isnan(parse_numbers("[nan,1]", "points")[0])
    assert np.isnan(parse_numbers("NaN", "points"))


@given(st.text(max_size=30))
def test_any_text_is_numbers_or_refused(text: str) -> None:
    try:
        value = parse_numbers(text, "points")
    except InputError as error:
        assert "expected numbers such as" in str(error)
    else:
        np.array(value if isinstance(value, (int, float)) else 0, float)


@pytest.mark.parametrize("text", ["a", "[1,2", "1;2", '["1"]', "{}", "null", "true", "[true]"])
def test_no_numbers(text: str) -> None:
    with pytest.raises(InputError, match=r"bboxes=.*439,437,524,709"):
        parse_numbers(text, "bboxes")


def test_mask_files(tmp_path: Path) -> None:
    values = np.array([[0, 127, 128, 255]], np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(values[:, ::-1]).save(tmp_path / "b.png")
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "c.png")
    one = load_masks(str(tmp_path / "a.png"))
    assert one.tolist() == [[[False, False, True, True]]]
    two = load_masks(f"[{tmp_path / 'a.png'}, {tmp_path / 'b.png'}]")
    assert two[1].tolist() == [[True, True, False, False]]
    assert load_masks(None) is None
    with pytest.raises(InputError, match="different sizes"):
        load_masks(f"[{tmp_path / 'a.png'},{tmp_path / 'c.png'}]")


def test_values_without_end_are_refused_in_a_short_sentence() -> None:
    for text in ("[" * 100_000, "1" * 5000, "[" * 900 + "]" * 900 + "x"):
        with pytest.raises(InputError, match=r"^points=.* \.\.\. .*; expected numbers") as caught:
            parse_numbers(text, "points")
        assert len(str(caught.value)) < 200
