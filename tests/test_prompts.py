"""Prompts to decoder feeds: the official token rules, the forms users write, and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samdeploy.errors import InputError
from samdeploy.geometry import Transform
from samdeploy.models.load import load_sam
from samdeploy.models.sam import Sam
from samdeploy.prompts import DecoderPrompts, Prompt, collect_prompts, encode_prompts

FOLDER = Path(__file__).parent / "golden/sam_vit_small"
GOLDEN = json.loads((FOLDER / "prompts.json").read_text())
TRANSFORM = Transform.fit(tuple(GOLDEN["original_size_hw"]), GOLDEN["img_size"])
SIDE = 64
# Labels outside 0 and 1 are no prompt of ours: -1 is added where SAM adds it, boxes have 2 and 3.
CASES = {case["name"]: case for case in GOLDEN["prompts"] if not case["name"].startswith("label_")}


@pytest.fixture(scope="module")
def expected() -> Any:
    return np.load(FOLDER / "outputs.npz")


@pytest.fixture(scope="module")
def sam() -> Sam:
    return load_sam(FOLDER / "weights.safetensors", config=FOLDER / "config.json")


def collect(case: dict[str, Any], expected: Any) -> list[Prompt]:
    points, labels = case["point_coords_original"], case["point_labels"]
    if points is not None and case["api"] == "predict":
        points, labels = [points], [labels]
    masks = expected[f"{case['name']}/mask_input"][0] if case["mask_input"] else None
    return collect_prompts(points, labels, case["boxes_original"], masks)


def decode(sam: Sam, embedding: Any, prompts: DecoderPrompts) -> tuple[np.ndarray, np.ndarray]:
    feeds = {name: torch.from_numpy(value) for name, value in prompts.feeds().items()}
    with torch.no_grad():
        masks, iou = sam.decode(torch.from_numpy(embedding), **feeds)
    return masks.numpy(), iou.numpy()


@pytest.mark.parametrize("name", CASES)
def test_tokens(name: str, expected: Any) -> None:
    case = CASES[name]
    found = encode_prompts(collect(case, expected), TRANSFORM, SIDE)
    count, tokens = case["batch"], case["n_sparse_tokens"]
    assert len(found) == count
    assert all(value.dtype == np.float32 for value in found.feeds().values())

    coords: list[Any] = []
    labels: list[Any] = []
    if case["point_coords_transformed"] is not None:
        points = np.array(case["point_coords_transformed"]).reshape(count, -1, 2)
        coords.append(points)
        labels.append(np.array(case["point_labels"]).reshape(count, -1))
    if case["boxes_transformed"] is not None:
        coords.append(np.array(case["boxes_transformed"]).reshape(count, 2, 2))
        labels.append(np.tile([2, 3], (count, 1)))
    if case["has_padding_point"]:
        coords.append(np.zeros((count, 1, 2)))
        labels.append(np.full((count, 1), -1))
    if tokens:
        assert found.point_coords.shape == (count, tokens, 2)
        np.testing.assert_array_equal(
            found.point_coords, np.concatenate(coords, axis=1).astype(np.float32)
        )
        np.testing.assert_array_equal(found.point_labels, np.concatenate(labels, axis=1))
    else:  # graphs take no empty axis: one token, marked absent
        np.testing.assert_array_equal(found.point_labels, [[-2]])
    assert found.has_mask_input.tolist() == [float(case["mask_input"] is not None)] * count
    if case["mask_input"]:
        np.testing.assert_array_equal(found.mask_input, expected[f"{name}/mask_input"])


@pytest.mark.parametrize("name", CASES)
def test_decoder_answers(name: str, expected: Any, sam: Sam) -> None:
    prompts = encode_prompts(collect(CASES[name], expected), TRANSFORM, SIDE)
    logits, iou = decode(sam, expected["image_embedding"], prompts)
    np.testing.assert_allclose(logits, expected[f"{name}/low_res_logits"], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(iou, expected[f"{name}/iou_predictions"], atol=1e-4)


def test_prompts_of_all_kinds_in_one_batch(expected: Any, sam: Sam) -> None:
    prompts, logits, iou = [], [], []
    for name, case in CASES.items():
        prompts += collect(case, expected)
        logits.append(expected[f"{name}/low_res_logits"])
        iou.append(expected[f"{name}/iou_predictions"])
    batch = encode_prompts(prompts, TRANSFORM, SIDE)
    found_logits, found_iou = decode(sam, expected["image_embedding"], batch)
    np.testing.assert_allclose(found_logits, np.concatenate(logits), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found_iou, np.concatenate(iou), atol=1e-4)


@pytest.mark.parametrize(
    ("points", "labels", "expected_labels"),
    [
        ([10, 20], None, [[1, -1]]),
        ([10, 20], 0, [[0, -1]]),
        ([10, 20], [0], [[0, -1]]),
        ([[10, 20]], [1], [[1, -1]]),
        ([[10, 20]], [[0]], [[0, -1]]),
        ([[10, 20], [30, 40]], None, [[1, -1], [1, -1]]),
        ([[10, 20], [30, 40]], [1, 0], [[1, -1], [0, -1]]),
        ([[10, 20], [30, 40]], [[1], [0]], [[1, -1], [0, -1]]),
        ([[10, 20], [30, 40]], [[1, 0]], [[1, 0, -1]]),
        ([[[10, 20], [30, 40]]], [[1, 0]], [[1, 0, -1]]),
        ([[[10, 20], [30, 40]]], [1, 0], [[1, 0, -1]]),
        ([[[10, 20], [30, 40]]], None, [[1, 1, -1]]),
        ([[[10, 20], [30, 40]], [[5, 6]]], [[1, 0], [1]], [[1, 0, -1], [1, -1, -2]]),
        ([[[10, 20], [30, 40]], [[5, 6]]], None, [[1, 1, -1], [1, -1, -2]]),
    ],
)
def test_forms_of_points(points: Any, labels: Any, expected_labels: list[list[int]]) -> None:
    found = encode_prompts(collect_prompts(points, labels), TRANSFORM, SIDE)
    np.testing.assert_array_equal(found.point_labels, expected_labels)
    groups = points if isinstance(points[0], list) else [points]
    given_xy = np.concatenate([np.reshape(group, (-1, 2)) for group in groups])
    real = found.point_labels >= 0
    np.testing.assert_array_equal(
        found.point_coords[real], TRANSFORM.points_to_input(given_xy).astype(np.float32)
    )


@pytest.mark.parametrize("make", [np.array, torch.tensor, tuple], ids=["numpy", "torch", "tuple"])
def test_containers_of_numbers(make: Any) -> None:
    plain = collect_prompts([[[10, 20], [30, 40]]], [[1, 0]], [[1, 2, 3, 4]])
    other = collect_prompts(make([[[10, 20], [30, 40]]]), make([[1, 0]]), make([[1, 2, 3, 4]]))
    for a, b in zip(
        encode_prompts(plain, TRANSFORM, SIDE).feeds().values(),
        encode_prompts(other, TRANSFORM, SIDE).feeds().values(),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


def test_kinds_are_paired_by_position() -> None:
    mask = np.zeros((2, 180, 240), bool)
    mask[1, 50:100] = True
    prompts = collect_prompts(
        points=[[10, 20], [30, 40]], bboxes=[[0, 0, 50, 50], [20, 20, 90, 80]], masks=mask
    )
    found = encode_prompts(prompts, TRANSFORM, SIDE)
    np.testing.assert_array_equal(found.point_labels, [[1, 2, 3], [1, 2, 3]])
    np.testing.assert_array_equal(found.has_mask_input, [1, 1])
    assert found.mask_input[0].max() == -8
    assert found.mask_input[1].max() == 8


def test_prompts_without_a_mask_say_so() -> None:
    prompts = [Prompt(mask=np.ones((180, 240), bool)), Prompt(box=[1, 2, 3, 4])]
    found = encode_prompts(prompts, TRANSFORM, SIDE)
    np.testing.assert_array_equal(found.has_mask_input, [1, 0])
    np.testing.assert_array_equal(found.point_labels, [[-2, -2], [2, 3]])
    assert (found.mask_input[1] == 0).all()


@pytest.mark.parametrize(
    "masks",
    [
        np.ones((180, 240), bool),
        np.ones((180, 240), np.uint8) * 255,
        np.ones((1, 180, 240), bool),
        np.ones((1, 1, 180, 240), bool),
        [np.ones((180, 240), bool)],
        np.full((64, 64), 8, np.float32),
        np.full((1, 64, 64), 8, np.float64),
        np.full((1, 1, 64, 64), 8, np.float16),
    ],
)
def test_forms_of_masks(masks: Any) -> None:
    found = encode_prompts(collect_prompts(masks=masks), TRANSFORM, SIDE)
    assert found.mask_input.shape == (1, 1, 64, 64)
    assert (found.mask_input[0, 0, :48] == 8).all()  # 180 x 240 fills 48 rows of 64


def test_a_mask_of_one_row() -> None:
    transform = Transform.fit((1, 240), 256)
    found = encode_prompts([Prompt(mask=np.ones((1, 240), bool))], transform, SIDE)
    assert found.mask_input.max() > -8


def test_slices() -> None:
    found = encode_prompts(collect_prompts([[1, 2], [3, 4], [5, 6]]), TRANSFORM, SIDE)
    part = found[1:]
    assert len(part) == 2
    np.testing.assert_array_equal(part.point_coords, found.point_coords[1:])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "no prompt given"),
        ({"labels": [1]}, "without points"),
        ({"points": [[]]}, "expected [x, y]"),
        ({"points": [[[]]]}, "expected [x, y]"),
        ({"points": np.zeros((0, 3))}, "expected [x, y]"),
        ({"points": [10**400, 2]}, "expected numbers"),
        ({"points": [], "labels": [1]}, "1 labels for 0 prompts"),
        ({"points": [], "bboxes": [1, 2, 3, 4]}, "0 x points, 1 x box"),
        ({"points": [1, 2, 3]}, "expected [x, y]"),
        ({"points": [[1, 2], [3]]}, "equally long"),
        ({"points": "here"}, "expected numbers"),
        ({"points": [[1, 2]], "labels": [1, 0]}, "2 labels for 1 points"),
        ({"points": [[1, 2], [3, 4]], "labels": [1]}, "1 labels for 2 prompts"),
        ({"points": [[1, 2], [3, 4]], "labels": 1}, "1 labels for 2 prompts"),
        ({"points": [[[1, 2], [3, 4]]], "labels": [[1]]}, "1 labels for 2 points"),
        ({"points": [[1, 2]], "labels": [2]}, "expected 1 (foreground) or 0"),
        ({"points": [[1, 2]], "labels": [-1]}, "expected 1 (foreground) or 0"),
        ({"points": [[1, 2]], "labels": [0.5]}, "expected 1 (foreground) or 0"),
        ({"points": [[1, 2]], "labels": [float("nan")]}, "not finite"),
        ({"points": [[float("nan"), 2]]}, "not finite"),
        ({"points": [[float("inf"), 2]]}, "not finite"),
        ({"points": [[None, 2]]}, "not finite"),
        ({"points": [[-1, 2]]}, "point (-1, 2) is outside the image"),
        ({"points": [[241, 2]]}, "0 <= x <= 240"),
        ({"points": [[240.00003, 2]]}, "point (240.00003, 2) is outside"),
        ({"points": [[1, 180.5]]}, "0 <= y <= 180"),
        ({"bboxes": [1, 2, 3]}, "expected [x1, y1, x2, y2]"),
        ({"bboxes": np.zeros((0, 5))}, "expected [x1, y1, x2, y2]"),
        ({"bboxes": [10, 10, 241.00003, 20]}, "box corner (241.00003, 20) is outside"),
        ({"bboxes": [-1.01, 10, 50, 20]}, "box corner (-1.01, 10) is outside"),
        ({"bboxes": [240.2, 10, 240.9, 20]}, "[240.2, 10, 240.9, 20] has no area in the image"),
        ({"bboxes": [10, 10, 10, 20]}, "has no area"),
        ({"bboxes": [10, 20, 30, 5]}, "has no area"),
        ({"bboxes": [[1, 2, 3, 4], [10, 10, 250, 20]]}, "box corner (250, 20) is outside"),
        ({"bboxes": [float("nan"), 10, 20, 20]}, "not finite"),
        ({"points": [[1, 2], [3, 4]], "bboxes": [1, 2, 3, 4]}, "2 x points, 1 x box"),
        ({"masks": np.ones((10, 10), bool)}, "expected the image's [180, 240]"),
        ({"masks": np.ones((180, 240), np.float32)}, "expected low-res logits"),
        ({"masks": np.full((64, 64), np.nan, np.float32)}, "not finite"),
        ({"masks": np.ones(5, bool)}, "expected [height, width]"),
        ({"masks": [[1, 0], [1]]}, "equal length"),
        ({"masks": np.array([["a"]])}, "expected bool, integer or float"),
    ],
)
def test_bad_input_is_one_clear_sentence(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        encode_prompts(collect_prompts(**arguments), TRANSFORM, SIDE)
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert len(message) < 300
    assert message.endswith(".")


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (Prompt(), "an empty Prompt"),
        (Prompt(labels=[1]), "without points"),
        (Prompt(labels=[1], box=[1, 2, 3, 4]), "without points"),
        (Prompt(box=[[1, 2, 3, 4], [1, 2, 3, 4]]), "takes one box"),
        (Prompt(points=[[[1, 2]]]), "expected [x, y]"),
        (Prompt(mask=np.ones((2, 180, 240), bool)), "expected [height, width]"),
    ],
)
def test_bad_prompt_objects(prompt: Prompt, says: str) -> None:
    with pytest.raises(InputError, match=says.replace("[", r"\[")):
        encode_prompts([prompt], TRANSFORM, SIDE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64])
@pytest.mark.parametrize("nested", [False, True])
def test_tensors_of_a_network(dtype: torch.dtype, nested: bool) -> None:
    values = torch.tensor([[8, 16, 32, 64], [1, 2, 3, 4]], dtype=dtype)
    if dtype.is_floating_point:
        values.requires_grad_()
    given: Any = list(values) if nested else values
    for name, prompts in (
        ("box", collect_prompts(bboxes=given)),
        ("points", collect_prompts(points=[row[:2] for row in given])),
    ):
        for prompt, row in zip(prompts, values.tolist(), strict=True):
            found = np.asarray(getattr(prompt, name)).reshape(-1)
            assert found.tolist() == row[: len(found)]
    found = encode_prompts([Prompt(box=values[0])], TRANSFORM, SIDE)
    np.testing.assert_array_equal(found.point_labels, [[2, 3]])


def test_masks_of_a_network_keep_their_kind() -> None:
    whole = torch.ones(1, 180, 240)
    for mask in (whole.bool(), whole.to(torch.int16), whole.to(torch.uint8)):
        found = encode_prompts(collect_prompts(masks=mask), TRANSFORM, SIDE)
        assert found.mask_input[0, 0, 0, 0] == 8
    logits = torch.full((1, 64, 64), 3.0, dtype=torch.bfloat16, requires_grad=True)
    found = encode_prompts(collect_prompts(masks=[logits[0]]), TRANSFORM, SIDE)
    assert (found.mask_input == 3).all()


@pytest.mark.parametrize(
    "box", [[-1, -0.4, 240.4, 181], [-0.00003, 0, 240.00003, 180], [0, 0, 240, 180]]
)
def test_boxes_just_beyond_the_image_are_clipped(box: list[float]) -> None:
    whole = encode_prompts([Prompt(box=[0, 0, 240, 180])], TRANSFORM, SIDE)
    found = encode_prompts(collect_prompts(bboxes=box), TRANSFORM, SIDE)
    np.testing.assert_array_equal(found.point_coords, whole.point_coords)


@pytest.mark.parametrize(
    "arguments",
    [
        {"bboxes": []},
        {"bboxes": np.zeros((0, 4), np.float32)},
        {"bboxes": torch.zeros(0, 4)},
        {"points": []},
        {"points": np.zeros((0, 2)), "labels": []},
        {"points": np.zeros((0, 3, 2)), "bboxes": np.zeros((0, 4))},
        {"masks": []},
        {"masks": np.zeros((0, 180, 240), bool)},
    ],
)
def test_none_are_no_prompts(arguments: dict[str, Any]) -> None:
    assert collect_prompts(**arguments) == []


def test_no_prompts_at_all() -> None:
    with pytest.raises(InputError, match="no prompt given"):
        encode_prompts([], TRANSFORM, SIDE)


inside = st.tuples(st.floats(0, 240), st.floats(0, 180))


@given(st.lists(st.lists(st.tuples(inside, st.integers(0, 1)), min_size=1, max_size=5), min_size=1))
def test_a_prompt_does_not_depend_on_its_batch(groups: list[Any]) -> None:
    prompts = [
        Prompt(points=[xy for xy, _ in group], labels=[kind for _, kind in group])
        for group in groups
    ]
    batch = encode_prompts(prompts, TRANSFORM, SIDE)
    for i, prompt in enumerate(prompts):
        alone = encode_prompts([prompt], TRANSFORM, SIDE)
        tokens = alone.point_labels.shape[1]
        np.testing.assert_array_equal(batch.point_coords[i, :tokens], alone.point_coords[0])
        np.testing.assert_array_equal(batch.point_labels[i, :tokens], alone.point_labels[0])
        assert (batch.point_labels[i, tokens:] == -2).all()
