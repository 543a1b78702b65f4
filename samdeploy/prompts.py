"""Prompts in image pixels to the inputs of the decoder graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samdeploy.constants import (
    LABEL_ABSENT,
    LABEL_BACKGROUND,
    LABEL_BOX_BOTTOM_RIGHT,
    LABEL_BOX_TOP_LEFT,
    LABEL_FOREGROUND,
    LABEL_PADDING,
)
from samdeploy.errors import InputError
from samdeploy.geometry import Transform, mask_to_logits
from samdeploy.text import shown

#: Detectors round, and let boxes end this many pixels beyond the image; what is beyond is cut off.
_BOX_SLACK = 1.0

#: Points, labels and boxes as users write them: nested lists, possibly ragged, or arrays.
Nested: TypeAlias = ArrayLike | Sequence[Any]


@dataclass(frozen=True)
class Prompt:
    """A request for one mask; any combination of the fields, at least one.

    Attributes:
        points: ``[x, y]`` or ``[P, 2]`` in image pixels.
        labels: 1 (foreground) or 0 (background) per point; all foreground when left out.
        box: x1 y1 x2 y2 in image pixels.
        mask: bool or integer ``[H, W]`` at image size, or floating-point low-res logits
            ``[S/4, S/4]`` (such as a previous answer's ``low_res_logits``).
    """

    points: Nested | None = None
    labels: Nested | None = None
    box: Nested | None = None
    mask: ArrayLike | None = None


@dataclass(frozen=True)
class DecoderPrompts:
    """Decoder feeds of ``B`` prompts, filled up to ``P`` tokens with the absent label.

    ``point_coords`` ``[B, P, 2]`` in input pixels, ``point_labels`` ``[B, P]``, ``mask_input``
    ``[B, 1, S/4, S/4]`` and ``has_mask_input`` ``[B]``, all float32.
    """

    point_coords: NDArray[np.float32]
    point_labels: NDArray[np.float32]
    mask_input: NDArray[np.float32]
    has_mask_input: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.point_coords)

    def __getitem__(self, index: slice | NDArray[np.intp]) -> DecoderPrompts:
        return DecoderPrompts(
            self.point_coords[index],
            self.point_labels[index],
            self.mask_input[index],
            self.has_mask_input[index],
        )

    def feeds(self) -> dict[str, NDArray[np.float32]]:
        return dict(vars(self))


def collect_prompts(
    points: Nested | None = None,
    labels: Nested | None = None,
    bboxes: Nested | None = None,
    masks: ArrayLike | None = None,
) -> list[Prompt]:
    """The prompts that Ultralytics-style arguments mean.

    * ``points``: ``[x, y]`` (one prompt), ``[N, 2]`` (``N`` prompts of one point each), or a
      sequence of ``[P, 2]`` (one prompt of ``P`` points each; lengths may differ).
    * ``labels``: the same nesting without the last axis; all foreground when left out. ``[N, 2]``
      points with labels ``[[...]]`` nested as one list of ``N`` are one prompt of ``N`` points.
    * ``bboxes``: ``[4]`` or ``[N, 4]``; ``masks``: one mask or ``[N, ...]``, see :class:`Prompt`.

    Several kinds given together are paired by position, so they must be equally many. None of
    each, such as the ``[0, 4]`` boxes of a detector that found nothing, are no prompts. Tensors of
    any library and on any device are taken like arrays.

    Raises:
        InputError: nothing given, or counts that do not match.
    """
    points, labels, bboxes, masks = (_on_host(each) for each in (points, labels, bboxes, masks))
    if points is None and labels is not None:
        raise InputError(f"labels={shown(labels)} came without points; give one label each.")
    columns: dict[str, list[Any]] = {}
    if points is not None:
        groups = _point_groups(points, labels)
        columns["points"] = list(groups)
        columns["labels"] = _label_groups(labels, groups)
    if bboxes is not None:
        columns["box"] = list(_rows(bboxes, 4, "bboxes", least=0))
    if masks is not None:
        columns["mask"] = _mask_list(masks)
    counts = {name: len(values) for name, values in columns.items() if name != "labels"}
    if not counts:
        raise InputError("no prompt given; pass points, bboxes or masks.")
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{count} x {name}" for name, count in counts.items())
        raise InputError(
            f"prompts of different counts ({found}) cannot be paired; give equally many, or a list "
            "of Prompt objects."
        )
    names = list(columns)
    return [
        Prompt(**dict(zip(names, row, strict=True))) for row in zip(*columns.values(), strict=True)
    ]


def check_prompts(prompts: Sequence[Prompt], transform: Transform, low_res_side: int) -> None:
    """Raise what :func:`encode_prompts` would, at no cost: before an image is encoded."""
    for prompt in prompts:
        _tokens(prompt, transform)
        if prompt.mask is not None:
            _check_mask(prompt.mask, transform, low_res_side)


def encode_prompts(
    prompts: Sequence[Prompt],
    transform: Transform,
    low_res_side: int,
    always_padded: bool = False,
) -> DecoderPrompts:
    """Decoder feeds of ``prompts``: one batch, whatever their kinds and lengths.

    A prompt's tokens are its points, then its box corners; SAM adds its padding token to points
    that come without a box. SAM 2 (``always_padded``) takes the box first, and adds the padding
    token to either. Shorter prompts are filled up with absent tokens, which the graph
    masks out of every attention, so an answer does not depend on the batch it is in.

    Raises:
        InputError: a coordinate is not a number or outside the image, a label is not 0 or 1, a box
            has no area, or a mask has the wrong shape.
    """
    if not prompts:
        raise InputError("no prompt given; pass points, bboxes or masks.")
    tokens = [_tokens(prompt, transform, always_padded) for prompt in prompts]
    width = max(1, *(len(labels) for _, labels in tokens))
    coords = np.zeros((len(prompts), width, 2), np.float32)
    labels = np.full((len(prompts), width), LABEL_ABSENT, np.float32)
    mask_input = np.zeros((len(prompts), 1, low_res_side, low_res_side), np.float32)
    has_mask = np.zeros(len(prompts), np.float32)
    for i, (prompt, (xy, kinds)) in enumerate(zip(prompts, tokens, strict=True)):
        coords[i, : len(kinds)] = xy
        labels[i, : len(kinds)] = kinds
        if prompt.mask is not None:
            mask_input[i, 0] = _mask_logits(prompt.mask, transform, low_res_side)
            has_mask[i] = 1
    return DecoderPrompts(coords, labels, mask_input, has_mask)


def box_and_points(
    prompt: Prompt, size: tuple[int, int]
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64], NDArray[np.bool_]]:
    """Box ``[4]`` or ``None``, points ``[P, 2]`` and which of them are foreground ``[P]``, checked
    like those of :func:`encode_prompts` against an image of ``size`` (height, width).

    Raises:
        InputError: neither is given, or one is not usable.
    """
    if prompt.points is None and prompt.box is None:
        raise InputError("a Prompt without points and box; give it one of them.")
    box, points, labels = None, np.zeros((0, 2)), []
    if prompt.points is not None:
        points = _rows(prompt.points, 2, "points")
        _check_inside(points, size, "point")
        labels = _labels(prompt.labels, len(points))
    if prompt.box is not None:
        box = _check_box(_one_box(prompt.box), size).reshape(4)
    return box, points, np.array(labels, np.int64) == LABEL_FOREGROUND


def _tokens(
    prompt: Prompt, transform: Transform, always_padded: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if prompt.points is None and prompt.labels is not None:
        raise InputError(f"labels={shown(prompt.labels)} came without points; give one label each.")
    groups: list[tuple[NDArray[np.float64], list[int]]] = []
    if prompt.points is not None:
        points = _rows(prompt.points, 2, "points")
        _check_inside(points, transform.original_size, "point")
        groups.append((transform.points_to_input(points), _labels(prompt.labels, len(points))))
    if prompt.box is not None:
        corners = _check_box(_one_box(prompt.box), transform.original_size)
        box = transform.points_to_input(corners), [LABEL_BOX_TOP_LEFT, LABEL_BOX_BOTTOM_RIGHT]
        groups.insert(0 if always_padded else len(groups), box)
    if groups and (always_padded or prompt.box is None):
        groups.append((np.zeros((1, 2)), [LABEL_PADDING]))
    elif not groups and prompt.mask is None:
        raise InputError("an empty Prompt; give it points, a box or a mask.")
    coords = np.concatenate([np.zeros((0, 2)), *(xy for xy, _ in groups)])
    return coords, np.array([label for _, kinds in groups for label in kinds], np.float64)


def _on_host(values: Any) -> Any:
    """Tensors, also inside lists, as what NumPy can read: detached from a graph, off a device."""
    if isinstance(values, (list, tuple)):
        return [_on_host(each) for each in values]
    if hasattr(values, "detach"):  # torch's; its other libraries' arrays turn into NumPy's as is
        values = values.detach().cpu()
        half = values.is_floating_point() and values.element_size() == 2
        return values.float() if half else values  # NumPy has no bfloat16
    return values


def _numbers(values: Any, what: str) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(_on_host(values), np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{what}={shown(values)}; expected numbers in equally long rows."
        ) from error
    if not np.isfinite(numbers).all():
        raise InputError(f"{what}={shown(values)} has a value that is not finite; expected pixels.")
    return numbers


def _rows(values: Any, width: int, what: str, least: int = 1) -> NDArray[np.float64]:
    """``[width]`` or ``[N, width]`` -> ``[N, width]``, ``N`` at least ``least``; no values at all
    are no rows."""
    numbers = _numbers(values, what)
    if not least and numbers.shape == (0,):
        numbers = numbers.reshape(0, width)
    if numbers.ndim == 1 and numbers.size == width:
        numbers = numbers[None]
    if numbers.ndim != 2 or numbers.shape[1] != width or len(numbers) < least:
        layout = "[x, y]" if width == 2 else "[x1, y1, x2, y2]"
        raise InputError(f"{what}={shown(values)}; expected {layout} or a list of such.")
    return numbers


def _point_groups(points: Any, labels: Any) -> list[NDArray[np.float64]]:
    """Points of each prompt, ``[P, 2]`` each."""
    if _depth(points) > 2:
        return [_rows(group, 2, "points") for group in points]
    rows = _rows(points, 2, "points", least=0)
    one_prompt = len(rows) > 0 and _depth(labels) == 2 and len(labels) == 1
    return [rows] if one_prompt else list(rows[:, None])


def _label_groups(labels: Any, groups: list[NDArray[np.float64]]) -> list[Any]:
    if labels is None:
        return [None] * len(groups)
    if _depth(labels) == 0 or (_depth(labels) == 1 and len(groups) == 1):
        labels = [labels]  # one prompt: its labels may be flat
    if len(labels) != len(groups):
        raise InputError(
            f"{len(labels)} labels for {len(groups)} prompts; give one label per point: a prompt "
            "of several points is written points=[[[x, y], [x, y]]] labels=[[1, 0]]."
        )
    return list(labels)


def _labels(labels: Any, count: int) -> list[int]:
    if labels is None:
        return [LABEL_FOREGROUND] * count
    values = _numbers(labels, "labels").reshape(-1)
    if len(values) != count:
        raise InputError(f"{len(values)} labels for {count} points; give one label per point.")
    if not np.isin(values, (LABEL_BACKGROUND, LABEL_FOREGROUND)).all():
        raise InputError(f"labels={shown(labels)}; expected 1 (foreground) or 0 (background).")
    return [int(value) for value in values]


def _depth(values: Any) -> int:
    """Number of axes; of the first element's, where rows differ in length."""
    if hasattr(values, "ndim"):
        return int(values.ndim)
    if isinstance(values, (list, tuple)):
        return 1 + (_depth(values[0]) if values else 0)
    return 0


def _check_inside(points: NDArray[np.float64], size: tuple[int, int], what: str) -> None:
    height, width = size
    outside = ((points < 0) | (points > (width, height))).any(axis=1)
    if outside.any():
        x, y = points[outside][0]
        raise InputError(
            f"{what} ({x:.12g}, {y:.12g}) is outside the image; expected 0 <= x <= {width} and "
            f"0 <= y <= {height} in pixels."
        )


def _one_box(box: Any) -> NDArray[np.float64]:
    boxes = _rows(box, 4, "box")
    if len(boxes) != 1:
        raise InputError(f"a Prompt takes one box, got {len(boxes)}; make one Prompt per box.")
    return boxes.reshape(4)


def _check_box(box: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """Corners ``[2, 2]`` of a box, moved into an image of ``size`` if they are close to it."""
    corners = box.reshape(2, 2)
    inside = corners.clip(0, size[::-1])
    if (corners[0] < corners[1]).all() and np.abs(corners - inside).max() > _BOX_SLACK:
        _check_inside(corners, size, "box corner")
    if not (inside[0] < inside[1]).all():
        written = ", ".join(f"{value:.12g}" for value in box)
        raise InputError(f"box [{written}] has no area in the image; expected x1 < x2 and y1 < y2.")
    return inside


def _mask_list(masks: Any) -> list[Any]:
    """One mask or several -> a list of masks."""
    if isinstance(masks, (list, tuple)) and all(_depth(mask) > 1 for mask in masks):
        return [_mask(mask) for mask in masks]
    array = _as_array(masks)
    if array.ndim == 2:
        array = array[None]
    if array.ndim < 3:
        raise InputError(
            f"masks have shape {list(array.shape)}; expected [height, width] or [N, height, width]."
        )
    return [_mask(mask) for mask in array]


def _mask(mask: Any) -> NDArray[Any]:
    """One mask ``[height, width]``; leading axes of length 1 are dropped."""
    array = _as_array(mask)
    while array.ndim > 2 and len(array) == 1:
        array = array[0]
    if array.ndim != 2 or not array.size:
        raise InputError(f"a mask has shape {list(array.shape)}; expected [height, width].")
    return array


def _as_array(mask: Any) -> NDArray[Any]:
    try:
        array = np.asarray(_on_host(mask))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"masks={shown(mask)}; expected rows of equal length.") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"a mask of {array.dtype}; expected bool, integer or float values.")
    return array


def _check_mask(mask: Any, transform: Transform, side: int) -> NDArray[Any]:
    """A mask ``[height, width]`` of integers at image size, or of float32 at ``side``."""
    array = _mask(mask)
    if array.dtype.kind == "f":
        if array.shape != (side, side):
            raise InputError(
                f"a floating-point mask has shape {list(array.shape)}; expected low-res logits "
                f"[{side}, {side}], or a bool mask at image size."
            )
        return _numbers(array, "masks").astype(np.float32)
    if array.shape != transform.original_size:
        raise InputError(
            f"a mask has shape {list(array.shape)}; expected the image's "
            f"{list(transform.original_size)}."
        )
    return array


def _mask_logits(mask: Any, transform: Transform, side: int) -> NDArray[np.float32]:
    array = _check_mask(mask, transform, side)
    if array.dtype.kind == "f":
        return array
    return mask_to_logits(array.astype(bool), transform, side)
