"""Limits of a configuration, whoever wrote it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any

from samdeploy.errors import CheckpointError
from samdeploy.models.config import RepVitTrunkConfig, SamConfig, TinyVitConfig, VitConfig
from samdeploy.session import MOST_IMGSZ
from samdeploy.text import shown

#: No published model comes near; beyond, no machine could build what is claimed.
_MOST = {
    "img_size": MOST_IMGSZ, "image_size": MOST_IMGSZ, "window_size": 1024, "window_sizes": 64,
    "window_spec": 1024, "window_pos_embed_bkg_spatial_size": 1024,
}  # fmt: skip
_MOST_OTHERS = 1 << 16
_MAY_BE_ZERO = {"num_classes", "global_attn_indexes", "global_att_blocks"}

# At the top of a configuration: the sections, one width by another name, and facts that are the
# same for every SAM.
_TOP = {
    "image_encoder", "tiny_vit", "repvit", "prompt_encoder", "mask_decoder", "neck_out_channels",
    "pixel_mean", "pixel_std", "mask_threshold", "image_format", "notes", "preprocess",
}  # fmt: skip


def check_names(mapping: Mapping[str, Any]) -> None:
    """Check the names in a caller's configuration: none is passed over.

    Raises:
        CheckpointError: an entry that nothing reads.
    """
    for name in mapping:
        if name not in _TOP:
            raise CheckpointError(
                f"config has an entry {shown(name)}; expected one of {', '.join(sorted(_TOP))}."
            )


def check_config(config: SamConfig, tensors: int) -> None:
    """Whether a state dict of so many ``tensors`` can be that of such a model.

    Raises:
        CheckpointError: a number is out of range or does not divide another, or there are more
            blocks than tensors.
    """
    check_numbers(config)
    check_conditions(_conditions(config, tensors))


def check_numbers(config: Any) -> None:
    """Check the numbers of a configuration and its sections.

    Raises:
        CheckpointError: one is out of range.
    """
    for name, value in vars(config).items():
        if is_dataclass(value):
            check_numbers(value)
            continue
        for number in value if isinstance(value, tuple) else (value,):
            _check_number(name, number)


def check_conditions(conditions: Iterable[tuple[bool, str]]) -> None:
    """Whether all hold; the second of each says what is the matter where it does not.

    Raises:
        CheckpointError: one does not.
    """
    for holds, says in conditions:
        if not holds:
            raise CheckpointError(
                f"an architecture with {says}; expected one that can be built: check the "
                "checkpoint, or the config that was passed."
            )


def _check_number(name: str, number: Any) -> None:
    most = _MOST.get(name, _MOST_OTHERS)
    least = 0 if name in _MAY_BE_ZERO or isinstance(number, bool) else 1
    good = 0 < number <= most if isinstance(number, float) else least <= number <= most
    if not good or not math.isfinite(number):
        raise CheckpointError(
            f"config: '{name}' is {number:g}; expected {least} to {most}, check the checkpoint or "
            "the config that was passed."
        )


def repvit_conditions(config: RepVitTrunkConfig, least: int) -> Iterator[tuple[bool, str]]:
    """Conditions for a RepViT of ``least`` stages, and what is said where one does not hold."""
    dims, depths = config.embed_dims, config.depths
    same = len(dims) == len(depths)
    says = f"{len(dims)} widths and {len(depths)} depths, or fewer than {least} stages"
    yield same and len(dims) >= least, says
    yield dims[0] % 2 == 0, f"an odd width of {dims[0]}"


def _conditions(config: SamConfig, tensors: int) -> Iterator[tuple[bool, str]]:
    """Conditions, and what is said where one does not hold."""
    encoder, decoder = config.image_encoder, config.mask_decoder
    transformer, dim = decoder.transformer, config.image_encoder.out_chans
    depths = (encoder.depth,) if isinstance(encoder, VitConfig) else encoder.depths
    parts = (*depths, transformer.depth, decoder.iou_head_depth, decoder.num_multimask_outputs)
    yield sum(parts) <= tensors, f"{sum(parts)} blocks and {tensors} tensors"
    pairs: list[tuple[int, int]] = []
    if isinstance(encoder, VitConfig):
        pairs = [(encoder.embed_dim, encoder.num_heads)]
        yield encoder.patch_size == 16, f"a patch_size of {encoder.patch_size} and not 16"
        outside = [index for index in encoder.global_attn_indexes if index >= encoder.depth]
        yield not outside, f"a global block {outside[:1]} of {encoder.depth} blocks"
    elif isinstance(encoder, TinyVitConfig):
        pairs = list(zip(encoder.embed_dims, encoder.num_heads, strict=False))
        lists = (encoder.embed_dims, encoder.num_heads, encoder.depths, encoder.window_sizes)
        same = len({len(each) for each in lists}) == 1
        yield same and len(pairs) >= 3, "lists of different lengths, or fewer than 3 stages"
    else:
        yield from repvit_conditions(encoder, 3)
    for width, heads in pairs:
        yield width % heads == 0, f"{heads} heads in a width of {width}"
    yield config.image_size % 16 == 0, f"an image size of {config.image_size}, no multiple of 16"
    yield dim % 8 == 0, f"out_chans {dim}, no multiple of 8"
    channels = config.prompt_encoder.mask_in_chans
    yield channels % 4 == 0, f"mask_in_chans {channels}, no multiple of 4"
    shares = transformer.num_heads * transformer.attention_downsample_rate
    yield dim % shares == 0, f"a decoder of width {dim} whose heads divide it by {shares}"
