"""The names in state dicts as they are found to those of the published checkpoints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from samdeploy.errors import CheckpointError

#: Names that a state dict of SAM has once. What stands in front of them is the path of the model
#: inside another one.
_ANCHORS = (
    "mask_decoder.iou_token.weight",
    "image_encoder.pos_embed",
    "image_encoder.patch_embed.seq.0.c.weight",
    "image_encoder.features.0.0.c.weight",
    "vision_encoder.pos_embed",
    "sam_mask_decoder.iou_token.weight",
    "image_encoder.trunk.pos_embed",
)

#: Parts of names that torch's wrappers put in, in front or in the middle: data-parallel and
#: averaged models, torch.compile, FSDP, checkpointing.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}

#: How many updates an averaged model has seen, beside its weights.
_COUNT = "n_averaged"

#: How deep in a training state weights may lie.
_DEPTH = 3

#: Of Hugging Face's ``SamModel`` to the published names, in this order.
_HUGGING_FACE = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^shared_image_embedding\.", "prompt_encoder.shared_embedding."),
        (r"\.shared_embedding\.positional_embedding$",
         ".pe_layer.positional_encoding_gaussian_matrix"),
        (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
        (r"^vision_encoder\.", "image_encoder."),
        (r"\.patch_embed\.projection\.", ".patch_embed.proj."),
        (r"\.neck\.conv1\.", ".neck.0."),
        (r"\.neck\.layer_norm1\.", ".neck.1."),
        (r"\.neck\.conv2\.", ".neck.2."),
        (r"\.neck\.layer_norm2\.", ".neck.3."),
        (r"\.mask_embed\.conv1\.", ".mask_downscaling.0."),
        (r"\.mask_embed\.layer_norm1\.", ".mask_downscaling.1."),
        (r"\.mask_embed\.conv2\.", ".mask_downscaling.3."),
        (r"\.mask_embed\.layer_norm2\.", ".mask_downscaling.4."),
        (r"\.mask_embed\.conv3\.", ".mask_downscaling.6."),
        (r"\.point_embed\.", ".point_embeddings."),
        (r"\.upscale_conv1\.", ".output_upscaling.0."),
        (r"\.upscale_layer_norm\.", ".output_upscaling.1."),
        (r"\.upscale_conv2\.", ".output_upscaling.3."),
        (r"\.layer_norm_final_attn\.", ".norm_final_attn."),
        (r"\.layer_norm(\d)\.", r".norm\1."),
    )
)  # fmt: skip
#: The first, the middle and the last layer of a head have names of their own there.
_HEAD = re.compile(
    r"^(mask_decoder\.(?:iou_prediction_head|output_hypernetworks_mlps\.\d+))"
    r"\.(?:(proj_in)|(proj_out)|layers\.(\d{1,6}))\."
)


def find_state(content: Any, source: str) -> dict[str, Tensor]:
    """The one state dict of a SAM in what was saved, by the published names.

    Raises:
        CheckpointError: there is none or there are several, or one holds other things than tensors.
    """
    found = list(_candidates(content))
    if not found:
        begins = f" that begins with {_first(content)}" if isinstance(content, Mapping) else ""
        raise CheckpointError(
            f"'{source}' holds a {type(content).__name__}{begins}; expected the state dict of a "
            "Segment Anything model, with 'image_encoder.pos_embed' (SAM), "
            "'image_encoder.patch_embed.seq.0.c.weight' (MobileSAM), "
            "'image_encoder.features.0.0.c.weight' (RepViT-SAM), "
            "'image_encoder.trunk.pos_embed' (SAM 2) or 'vision_encoder.pos_embed' (Hugging Face)."
        )
    if len(found) > 1:
        places = ", ".join(f"'{name}{prefix}'" for name, prefix, _ in found[:4])
        raise CheckpointError(
            f"'{source}' holds the weights of {len(found)} models (at {places}); save the one that "
            "is meant alone."
        )
    [(_, prefix, stored)] = found
    state: dict[str, Tensor] = {}
    for key, value in stored.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            name = f"'{key}': " if isinstance(key, str) else ""
            raise CheckpointError(
                f"'{source}' holds {name}{type(value).__name__}; expected a state dict "
                "(names to tensors only)."
            )
        if key != _COUNT:
            _add(state, _unwrapped(key).removeprefix(prefix), value, source)
    return published_names(state, source)


def published_names(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """Hugging Face's names to the published ones; others stay as they are."""
    if not any(key.startswith("vision_encoder.") for key in state):
        return dict(state)
    names = published_of(state)
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        _add(renamed, names[key], value, source)
    return renamed


def published_of(keys: Iterable[str]) -> dict[str, str]:
    """The published name of each of Hugging Face's. Two of them are the same table, and have the
    same published name."""
    keys = list(keys)
    inner = {(match[1], match[4]) for key in keys if (match := _HEAD.match(key)) and match[4]}
    names = {}
    for key in keys:
        name = key
        for pattern, replacement in _HUGGING_FACE:
            name = pattern.sub(replacement, name)
        if match := _HEAD.match(name):
            last = 1 + sum(head == match[1] for head, _ in inner)
            index = 0 if match[2] else last if match[3] else int(match[4]) + 1
            name = f"{match[1]}.layers.{index}.{name[match.end() :]}"
        names[key] = name
    return names


def _candidates(
    content: Any, name: str = "", depth: int = _DEPTH, seen: set[int] | None = None
) -> Iterator[tuple[str, str, Mapping[Any, Any]]]:
    """Name, prefix and mapping of every state dict of a SAM."""
    seen = set() if seen is None else seen
    if not isinstance(content, Mapping) or id(content) in seen:
        return
    seen.add(id(content))
    prefixes = sorted(
        {
            unwrapped.removesuffix(anchor)
            for key in content
            if isinstance(key, str)
            for unwrapped in [_unwrapped(key)]
            for anchor in _ANCHORS
            if f".{unwrapped}".endswith(f".{anchor}")
        }
    )
    yield from ((name, prefix, content) for prefix in prefixes)
    if not prefixes and depth:
        for key, value in content.items():
            if isinstance(key, str):
                yield from _candidates(value, f"{name}{key}.", depth - 1, seen)


def _unwrapped(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


def _add(state: dict[str, Tensor], name: str, value: Tensor, source: str) -> None:
    if name in state and not torch.equal(state[name], value):
        raise CheckpointError(
            f"'{source}' holds '{name}' twice with different values; save the state dict of one "
            "model."
        )
    state[name] = value


def _first(content: Mapping[Any, Any]) -> str:
    key = next(iter(content), None)
    return f"'{key[:60]}'" if isinstance(key, str) else f"a key of type {type(key).__name__}"
