"""Pieces of the graphs that tools expect around ours, as lines of ONNX text.

See :mod:`samdeploy.exporters.passes.onnx_inline`. Every piece names the tensors that it takes and
makes; what it needs between them begins with its own name.
"""

from __future__ import annotations

from collections.abc import Iterable

from samdeploy.constants import PIXEL_MEAN, PIXEL_STD


def _channels(values: Iterable[float]) -> str:
    return (
        f"Constant <value = float[1,3,1,1] {{{','.join(f'{value:.9g}' for value in values)}}}> ()"
    )


def unnormalised(source: str, target: str) -> str:
    """Normalised ``source`` ``[1, 3, S, S]`` to pixels in 0-255: our encoder normalises itself."""
    return f"""
    {target}_std = {_channels(PIXEL_STD)}
    {target}_mean = {_channels(PIXEL_MEAN)}
    {target}_scaled = Mul ({source}, {target}_std)
    {target} = Add ({target}_scaled, {target}_mean)"""


def reversed_channels(source: str, target: str) -> str:
    """BGR ``[1, 3, S, S]`` to RGB."""
    return f"""
    {target}_order = Constant <value_ints = [2, 1, 0]> ()
    {target} = Gather <axis = 1> ({source}, {target}_order)"""


def padded(source: str, target: str, side: int) -> str:
    """Pixels ``[h, w, 3]`` in 0-255 to ``[1, 3, side, side]``, with the pixel mean, which becomes
    zeros, on the right and at the bottom."""
    return f"""
    {target}_mean = {_channels(PIXEL_MEAN)}
    {target}_side = Constant <value_ints = [{side}, {side}]> ()
    {target}_none = Constant <value_ints = [0, 0, 0, 0, 0, 0]> ()
    {target}_first = Constant <value_ints = [0]> ()
    {target}_planes = Transpose <perm = [2, 0, 1]> ({source})
    {target}_one = Unsqueeze ({target}_planes, {target}_first)
    {target}_centred = Sub ({target}_one, {target}_mean)
    {target}_size = Shape <start = 0, end = 2> ({source})
    {target}_missing = Sub ({target}_side, {target}_size)
    {target}_pads = Concat <axis = 0> ({target}_none, {target}_missing)
    {target}_square = Pad ({target}_centred, {target}_pads)
    {target} = Add ({target}_square, {target}_mean)"""


def valid_size(side: int) -> str:
    """``orig_im_size`` (height, width) to ``valid``: how much of the input an image of that size
    takes, int64, halves rounded up."""
    return f"""
    valid_side = Constant <value_float = {side}.0> ()
    valid_half = Constant <value_float = 0.5> ()
    valid_given = Cast <to = 1> (orig_im_size)
    valid_longest = ReduceMax (valid_given)
    valid_scale = Div (valid_side, valid_longest)
    valid_scaled = Mul (valid_given, valid_scale)
    valid_raised = Add (valid_scaled, valid_half)
    valid_floor = Floor (valid_raised)
    valid = Cast <to = 7> (valid_floor)"""


def mean_outside(source: str, target: str, side: int) -> str:
    """The pixel mean in the place of what is beyond ``valid`` in ``source`` ``[1, 3, S, S]``."""
    steps = ",".join(str(step) for step in range(side))
    return f"""
    {target}_mean = {_channels(PIXEL_MEAN)}
    {target}_y = Constant <value = int64[1,1,{side},1] {{{steps}}}> ()
    {target}_x = Constant <value = int64[1,1,1,{side}] {{{steps}}}> ()
    {target}_parts = Constant <value_ints = [1, 1]> ()
    {target}_height, {target}_width = Split <axis = 0> (valid, {target}_parts)
    {target}_above = Less ({target}_y, {target}_height)
    {target}_left = Less ({target}_x, {target}_width)
    {target}_inside = And ({target}_above, {target}_left)
    {target} = Where ({target}_inside, {source}, {target}_mean)"""


def one_mask_for_all(low: int) -> str:
    """``mask_input`` and ``has_mask_input``, one for all prompts or one each, to ``mask`` and
    ``has_mask`` of every prompt. Some tools say that there is none with a -1."""
    return f"""
    mask_rest = Constant <value_ints = [1, {low}, {low}]> ()
    mask_prompts = Shape <start = 0, end = 1> (point_labels)
    mask_shape = Concat <axis = 0> (mask_prompts, mask_rest)
    mask = Expand (mask_input, mask_shape)
    mask_given = Relu (has_mask_input)
    has_mask = Expand (mask_given, mask_prompts)"""


def no_masks(low: int) -> str:
    """``mask`` and ``has_mask`` for tools that prompt with none, one for each of ``labels``."""
    return f"""
    mask_rest = Constant <value_ints = [1, {low}, {low}]> ()
    has_mask_shape = Shape <start = 0, end = 1> (labels)
    mask_shape = Concat <axis = 0> (has_mask_shape, mask_rest)
    mask = ConstantOfShape <value = float[1] {{0.0}}> (mask_shape)
    has_mask = ConstantOfShape <value = float[1] {{0.0}}> (has_mask_shape)"""


def chosen(outputs: int = 4) -> str:
    """``four_masks`` and ``four_ious`` to ``low_res_masks`` and ``iou_predictions`` of one mask a
    prompt, as SAM's own ONNX export chooses it: the single-mask output where a prompt has three
    tokens or more, else the best of the candidates for ambiguous prompts."""
    weights = ",".join(["1000.0", *["0.0"] * (outputs - 1)])
    return f"""
    chosen_weights = Constant <value = float[{outputs}] {{{weights}}}> ()
    chosen_middle = Constant <value_float = 2.5> ()
    chosen_last = Constant <value_ints = [2]> ()
    chosen_tokens = Shape <start = 1, end = 2> (point_labels)
    chosen_count = Cast <to = 1> (chosen_tokens)
    chosen_over = Sub (chosen_count, chosen_middle)
    chosen_bonus = Mul (chosen_over, chosen_weights)
    chosen_score = Add (four_ious, chosen_bonus)
    chosen_best = ArgMax <axis = 1> (chosen_score)
    chosen_index = Unsqueeze (chosen_best, chosen_last)
    low_res_masks = GatherND <batch_dims = 1> (four_masks, chosen_index)
    iou_predictions = GatherND <batch_dims = 1> (four_ious, chosen_index)"""


def candidates(masks: str, ious: str) -> str:
    """``four_masks`` and ``four_ious`` to the three for ambiguous prompts, called so."""
    return f"""
    three_from = Constant <value_ints = [1]> ()
    three_to = Constant <value_ints = [4]> ()
    three_axis = Constant <value_ints = [1]> ()
    {masks} = Slice (four_masks, three_from, three_to, three_axis)
    {ious} = Slice (four_ious, three_from, three_to, three_axis)"""


def full_size(side: int) -> str:
    """``low_res_masks`` to ``masks`` of ``orig_im_size``: to the input, cut to its ``valid`` part,
    to the image."""
    return f"""
    full_side = Constant <value_ints = [{side}, {side}]> ()
    full_origin = Constant <value_ints = [0, 0]> ()
    full_axes = Constant <value_ints = [2, 3]> ()
    full_count = Shape <start = 0, end = 2> (low_res_masks)
    full_shape = Concat <axis = 0> (full_count, full_side)
    full_frame = Resize <mode = "linear"> (low_res_masks, , , full_shape)
    full_valid = Slice (full_frame, full_origin, valid, full_axes)
    full_given = Cast <to = 7> (orig_im_size)
    full_size = Concat <axis = 0> (full_count, full_given)
    masks = Resize <mode = "linear"> (full_valid, , , full_size)"""


def full_size_at_once() -> str:
    """``low_res_masks`` to ``masks`` of ``orig_im_size``, as SAM 2 does it."""
    return """
    full_count = Shape <start = 0, end = 2> (low_res_masks)
    full_given = Cast <to = 7> (orig_im_size)
    full_size = Concat <axis = 0> (full_count, full_given)
    masks = Resize <mode = "linear"> (low_res_masks, , , full_size)"""


def padding_token(labels: str = "point_labels", kind: str = "") -> str:
    """``point_coords`` and ``labels`` to ``coords`` and ``labels`` with the padding token behind,
    for tools that do not send it. ``kind`` ``[prompts, 1]`` are its labels, by default -1."""
    usual = "Constant <value = float[1] {-1.0}> ()"
    return f"""
    padding_label = {f"Identity ({kind})" if kind else usual}
    padding_zero = Constant <value = float[1] {{0.0}}> ()
    padding_one = Constant <value_ints = [1]> ()
    padding_two = Constant <value_ints = [1, 2]> ()
    padding_prompts = Shape <start = 0, end = 1> ({labels})
    padding_column = Concat <axis = 0> (padding_prompts, padding_one)
    padding_corner = Concat <axis = 0> (padding_prompts, padding_two)
    padding_kind = Expand (padding_label, padding_column)
    padding_coords = Expand (padding_zero, padding_corner)
    labels = Concat <axis = 1> ({labels}, padding_kind)
    coords = Concat <axis = 1> (point_coords, padding_coords)"""


def padding_unless_boxed() -> str:
    """The label of the padding token by ``point_labels``: -2, which is none, of prompts with the
    corners of a box."""
    return """
    unless_corner = Constant <value_float = 2.0> ()
    unless_none = Constant <value_float = -2.0> ()
    unless_usual = Constant <value_float = -1.0> ()
    unless_axis = Constant <value_ints = [1]> ()
    unless_are = GreaterOrEqual (point_labels, unless_corner)
    unless_ones = Cast <to = 1> (unless_are)
    unless_count = ReduceSum (unless_ones, unless_axis)
    unless_boxed = Cast <to = 9> (unless_count)
    unless = Where (unless_boxed, unless_none, unless_usual)"""
