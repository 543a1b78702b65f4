"""Architecture of SAM 2 or EdgeTAM from the published names and the shapes of a state dict.

What shapes tell: widths, depths, the tables of positions, the decoder. What they cannot tell:
heads, windows and global blocks of SAM 2's trunk, which are known for the published sizes and have
to be given for others; and what is assumed until a configuration says otherwise: the decoder's
number of heads (8), layer-norm epsilons, and the image size (1024).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from samdeploy.errors import CheckpointError
from samdeploy.models.config import RepVitTrunkConfig, section_of, updated
from samdeploy.models.infer import (
    StateDict,
    mask_decoder_config,
    module_count,
    prompt_encoder_config,
    shape_of,
)
from samdeploy.models.limits import check_conditions, check_numbers, repvit_conditions
from samdeploy.models.sam2.config import (
    PUBLISHED,
    HieraConfig,
    ImageEncoderConfig,
    NeckConfig,
    Sam2Config,
    TrunkConfig,
)
from samdeploy.models.sam2.names import NEW_IN_2_1, image_keys

_TRUNK = "image_encoder.trunk"
_REPVIT = f"{_TRUNK}.body"
#: What has to be given for a trunk that is not a published one.
_UNTOLD = ("num_heads", "window_spec", "global_att_blocks")


def infer_sam2_config(state: StateDict, overrides: Mapping[str, Any] | None = None) -> Sam2Config:
    """The architecture of ``state``; ``overrides`` is a nested mapping as
    :meth:`~samdeploy.models.sam2.config.Sam2Config.to_mapping` makes it.

    Raises:
        CheckpointError: a tensor that the inference needs is missing or has an impossible shape, or
            the numbers are of no model that can be built.
    """
    overrides = overrides or {}
    encoder = section_of(overrides, "image_encoder")
    if f"{_REPVIT}.stem.conv2.c.weight" in state:
        trunk: TrunkConfig = _repvit(state)
    else:
        trunk = _hiera(state, section_of(encoder, "trunk", "['image_encoder']"))
    width = shape_of(state, "image_encoder.neck.convs.0.conv.weight", 4)[0]
    config = Sam2Config(
        version=_version(state) if isinstance(trunk, HieraConfig) else 2.1,
        image_encoder=ImageEncoderConfig(trunk, NeckConfig(width)),
        prompt_encoder=prompt_encoder_config(state, "sam_prompt_encoder"),
        mask_decoder=mask_decoder_config(state, "sam_mask_decoder", "mlp.layers.0"),
    )
    config = updated(config, overrides)
    check_numbers(config)
    check_conditions(_conditions(config, len(state)))
    return config


def _version(state: StateDict) -> float:
    """2.0 where the part for video is there and lacks what came later."""
    has_video = len(image_keys(state)) < len(state)
    return 2.0 if has_video and NEW_IN_2_1 not in state else 2.1


def _repvit(state: StateDict) -> RepVitTrunkConfig:
    stages = [f"{_REPVIT}.stages_{stage}.blocks" for stage in range(4)]
    mixers = [f"{stage}.0.channel_mixer.conv1.c.weight" for stage in stages]
    return RepVitTrunkConfig(
        embed_dims=tuple(shape_of(state, mixer, 4)[1] for mixer in mixers),
        depths=tuple(module_count(state, stage) for stage in stages),
        norm_of_sum=f"{stages[0]}.0.token_mixer.bn.weight" in state,
    )


def _hiera(state: StateDict, given: Mapping[str, Any]) -> HieraConfig:
    _, width, rows, columns = shape_of(state, f"{_TRUNK}.pos_embed", 4)
    depth = module_count(state, f"{_TRUNK}.blocks")
    starts = [i for i in range(depth) if f"{_TRUNK}.blocks.{i}.proj.weight" in state]
    bounds = [0, *starts, depth]
    told = HieraConfig(
        embed_dim=width,
        stages=tuple(end - start for start, end in pairwise(bounds)),
        window_pos_embed_bkg_spatial_size=(rows, columns),
        mlp_ratio=shape_of(state, f"{_TRUNK}.blocks.0.mlp.layers.0.weight", 2)[0] / width,
    )
    for published in PUBLISHED.values():
        trunk = published.image_encoder.trunk
        if not isinstance(trunk, HieraConfig):
            continue
        untold = {name: getattr(trunk, name) for name in _UNTOLD}
        if replace(told, **untold) == trunk:
            return trunk
    missing = [name for name in _UNTOLD if name not in given]
    if missing:
        raise CheckpointError(
            f"the shapes of this checkpoint, a trunk of width {width} with {list(told.stages)} "
            f"blocks, do not tell {', '.join(missing)}; pass them with "
            "config={'image_encoder': {'trunk': {...}}}."
        )
    return told


def _conditions(config: Sam2Config, tensors: int) -> Iterator[tuple[bool, str]]:
    """Conditions, and what is said where one does not hold."""
    trunk, decoder, size = config.image_encoder.trunk, config.mask_decoder, config.image_size
    transformer, dim = decoder.transformer, config.channels
    parts = (
        *(trunk.stages if isinstance(trunk, HieraConfig) else trunk.depths),
        transformer.depth,
        decoder.iou_head_depth,
        decoder.num_multimask_outputs,
    )
    yield sum(parts) <= tensors, f"{sum(parts)} blocks and {tensors} tensors"
    stages = len(config.image_encoder.widths)
    yield stages == 4, f"{stages} stages in the trunk and not 4"
    yield size % 32 == 0, f"an image size of {size}, no multiple of 32"
    if isinstance(trunk, HieraConfig):
        yield from _hiera_conditions(trunk, size)
    else:
        yield from repvit_conditions(trunk, 4)
    yield dim % 8 == 0, f"d_model {dim}, no multiple of 8"
    channels = config.prompt_encoder.mask_in_chans
    yield channels % 4 == 0, f"mask_in_chans {channels}, no multiple of 4"
    shares = transformer.num_heads * transformer.attention_downsample_rate
    yield dim % shares == 0, f"a decoder of width {dim} whose heads divide it by {shares}"
    yield config.version in (2.0, 2.1), f"version {config.version:g} and not 2.0 or 2.1"


def _hiera_conditions(trunk: HieraConfig, size: int) -> Iterator[tuple[bool, str]]:
    yield len(trunk.window_spec) == 4, f"{len(trunk.window_spec)} windows for 4 stages"
    tables = len(trunk.window_pos_embed_bkg_spatial_size)
    yield tables == 2, f"a table of positions with {tables} sides and not 2"
    first, heads = trunk.window_spec[0], trunk.num_heads
    yield trunk.embed_dim % heads == 0, f"{heads} heads in a width of {trunk.embed_dim}"
    outside = [index for index in trunk.global_att_blocks if index >= sum(trunk.stages)]
    yield not outside, f"a global block {outside[:1]} of {sum(trunk.stages)} blocks"
    yield size // 4 % first == 0, f"a first window of {first} tokens in a grid of {size // 4}"
    for plan in trunk.plans(size):
        if plan.pools:
            even = plan.window > 0 and plan.window % 2 == 0
            yield even, f"a block that pools in windows of {plan.window} tokens, no even number"
