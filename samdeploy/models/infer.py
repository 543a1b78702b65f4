"""Architecture from the keys and shapes of a state dict.

What shapes tell: widths, depths, window sizes, which blocks are global, heads (through the
relative-position tables), the image size of a ViT. What they cannot tell, and what is assumed
until a configuration says otherwise: the decoder's number of heads (8), its attention
down-sampling when that is ambiguous, layer-norm epsilons, and the image size of a TinyViT or a
RepViT (1024).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from itertools import count
from typing import Any

from torch import Tensor

from samdeploy.errors import CheckpointError
from samdeploy.models.config import (
    EncoderConfig,
    MaskDecoderConfig,
    PromptEncoderConfig,
    RepVitConfig,
    SamConfig,
    TinyVitConfig,
    TransformerConfig,
    VitConfig,
    merge,
)
from samdeploy.models.limits import check_config

StateDict = Mapping[str, Tensor]


def infer_config(state: StateDict, overrides: Mapping[str, Any] | None = None) -> SamConfig:
    """The architecture of ``state``; ``overrides`` is a nested mapping as in ``config.json``.

    Raises:
        CheckpointError: a tensor that the inference needs is missing or has an impossible shape, or
            the numbers are of no model that can be built.
    """
    config = merge(told_by_shapes(state, overrides or {}), overrides or {})
    check_config(config, len(state))
    return config


def told_by_shapes(state: StateDict, overrides: Mapping[str, Any]) -> SamConfig:
    """What the tensors tell; ``overrides`` has to give what they do not, and is not merged yet."""
    if "image_encoder.pos_embed" in state:
        encoder: EncoderConfig = _vit(state, overrides)
    elif "image_encoder.patch_embed.seq.0.c.weight" in state:
        encoder = _tiny_vit(state)
    elif "image_encoder.features.0.0.c.weight" in state:
        encoder = _repvit(state)
    else:
        raise CheckpointError(
            "the state dict has neither 'image_encoder.pos_embed' (SAM ViT) nor "
            "'image_encoder.patch_embed.seq.0.c.weight' (MobileSAM) nor "
            "'image_encoder.features.0.0.c.weight' (RepViT-SAM); expected the weights of a "
            "Segment Anything model."
        )
    return SamConfig(encoder, prompt_encoder_config(state), mask_decoder_config(state))


def stored_image_size(state: StateDict) -> int | None:
    """Image size that the tables of a ViT are made for; ``None`` where no shape tells it."""
    if "image_encoder.pos_embed" not in state:
        return None
    patch = shape_of(state, "image_encoder.patch_embed.proj.weight", 4)[2]
    return shape_of(state, "image_encoder.pos_embed", 4)[1] * patch


def shape_of(state: StateDict, key: str, rank: int) -> tuple[int, ...]:
    if key not in state:
        raise CheckpointError(f"the state dict has no '{key}'; expected a whole SAM checkpoint.")
    shape = tuple(state[key].shape)
    if len(shape) != rank:
        raise CheckpointError(f"'{key}' has shape {list(shape)}; expected {rank} dimensions.")
    return shape


def module_count(state: StateDict, prefix: str) -> int:
    """How many modules a list has. A number that follows on none is not counted; whoever compares
    the keys finds it left over."""
    pattern = re.compile(re.escape(prefix) + r"\.([0-9]{1,6})\.")
    found = {int(m[1]) for key in state if (m := pattern.match(key))}
    return next(index for index in count() if index not in found)


def _vit(state: StateDict, overrides: Mapping[str, Any]) -> VitConfig:
    root = "image_encoder"
    _, grid, _, dim = shape_of(state, f"{root}.pos_embed", 4)
    patch = shape_of(state, f"{root}.patch_embed.proj.weight", 4)[2]
    depth = module_count(state, f"{root}.blocks")
    out_chans = shape_of(state, f"{root}.neck.0.weight", 4)[0]
    hidden = shape_of(state, f"{root}.blocks.0.mlp.lin1.weight", 2)[0]
    config = VitConfig(
        img_size=grid * patch,
        patch_size=patch,
        embed_dim=dim,
        depth=depth,
        mlp_ratio=hidden / dim,
        out_chans=out_chans,
        qkv_bias=f"{root}.blocks.0.attn.qkv.bias" in state,
        use_rel_pos=f"{root}.blocks.0.attn.rel_pos_h" in state,
    )
    if not config.use_rel_pos:
        _require(overrides, "image_encoder", ("num_heads", "window_size", "global_attn_indexes"))
        return config
    tables = [shape_of(state, f"{root}.blocks.{i}.attn.rel_pos_h", 2) for i in range(depth)]
    sizes = [(rows + 1) // 2 for rows, _ in tables]
    windows = [size for size in sizes if size != grid]
    values = {
        "num_heads": dim // tables[0][1],
        "window_size": windows[0] if windows else grid,
        "global_attn_indexes": tuple(i for i, size in enumerate(sizes) if size == grid),
    }
    return VitConfig(**{**_as_dict(config), **values})


def _tiny_vit(state: StateDict) -> TinyVitConfig:
    root = "image_encoder"
    stages = module_count(state, f"{root}.layers")
    stem = shape_of(state, f"{root}.patch_embed.seq.2.c.weight", 4)[0]
    expanded = shape_of(state, f"{root}.layers.0.blocks.0.conv1.c.weight", 4)[0]
    dims, depths, heads, windows = (
        [stem],
        [module_count(state, f"{root}.layers.0.blocks")],
        [1],
        [1],
    )
    for stage in range(1, stages):
        block = f"{root}.layers.{stage}.blocks.0"
        biases = shape_of(state, f"{block}.attn.attention_biases", 2)
        dims.append(shape_of(state, f"{block}.attn.norm.weight", 1)[0])
        depths.append(module_count(state, f"{root}.layers.{stage}.blocks"))
        heads.append(biases[0])
        windows.append(math.isqrt(biases[1]))
    # The first stage is convolutional; the published constructor still names heads and a window.
    published = TinyVitConfig()
    heads[0], windows[0] = published.num_heads[0], published.window_sizes[0]
    block = f"{root}.layers.1.blocks.0"
    head = f"{root}.head.weight"
    return TinyVitConfig(
        embed_dims=tuple(dims),
        depths=tuple(depths),
        num_heads=tuple(heads),
        window_sizes=tuple(windows),
        mlp_ratio=shape_of(state, f"{block}.mlp.fc1.weight", 2)[0] / dims[1],
        mbconv_expand_ratio=expanded / stem,
        local_conv_size=shape_of(state, f"{block}.local_conv.c.weight", 4)[2],
        out_chans=shape_of(state, f"{root}.neck.0.weight", 4)[0],
        num_classes=shape_of(state, head, 2)[0] if head in state else 0,
        norm_head=f"{root}.norm_head.weight" in state,
    )


def _repvit(state: StateDict) -> RepVitConfig:
    root = "image_encoder.features"
    dims = [shape_of(state, f"{root}.0.2.c.weight", 4)[0]]
    blocks = [0]
    for index in range(1, module_count(state, root)):
        step = f"{root}.{index}.token_mixer.2.c.weight"
        if step in state:  # to the next stage
            dims.append(shape_of(state, step, 4)[0])
            blocks.append(0)
        else:
            blocks[-1] += 1
    # The last block of a stage that another follows is in every model beside its depth.
    depths = [count - 1 for count in blocks[:-1]] + blocks[-1:]
    return RepVitConfig(
        embed_dims=tuple(dims),
        depths=tuple(depths),
        norm_of_sum=f"{root}.1.token_mixer.0.bn.weight" in state,
        out_chans=shape_of(state, "image_encoder.neck.0.weight", 4)[0],
    )


def prompt_encoder_config(state: StateDict, root: str = "prompt_encoder") -> PromptEncoderConfig:
    return PromptEncoderConfig(shape_of(state, f"{root}.mask_downscaling.3.weight", 4)[0])


def mask_decoder_config(
    state: StateDict, root: str = "mask_decoder", hidden: str = "mlp.lin1"
) -> MaskDecoderConfig:
    """Architecture of the decoder under ``root``; ``hidden`` is the first layer of an MLP."""
    layer = f"{root}.transformer.layers.0"
    dim, inner = reversed(shape_of(state, f"{layer}.cross_attn_token_to_image.q_proj.weight", 2))
    return MaskDecoderConfig(
        num_multimask_outputs=shape_of(state, f"{root}.mask_tokens.weight", 2)[0] - 1,
        iou_head_depth=module_count(state, f"{root}.iou_prediction_head.layers"),
        iou_head_hidden_dim=shape_of(state, f"{root}.iou_prediction_head.layers.0.weight", 2)[0],
        transformer=TransformerConfig(
            depth=module_count(state, f"{root}.transformer.layers"),
            mlp_dim=shape_of(state, f"{layer}.{hidden}.weight", 2)[0],
            attention_downsample_rate=dim // inner,
        ),
    )


def _require(overrides: Mapping[str, Any], section: str, names: tuple[str, ...]) -> None:
    given = overrides.get(section, {})
    missing = [name for name in names if name not in given]
    if missing:
        raise CheckpointError(
            f"the shapes of this checkpoint do not tell {', '.join(missing)}; pass them with "
            f"config={{'{section}': {{...}}}}."
        )


def _as_dict(config: VitConfig) -> dict[str, Any]:
    return dict(vars(config))
