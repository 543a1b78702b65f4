"""The names of weights in published checkpoints of SAM 2 and EdgeTAM, and those of the modules
here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from samdeploy.models.config import RepVitTrunkConfig
from samdeploy.models.sam2.config import TrunkConfig

#: At the top of a state dict: what only video needs. Nothing else is passed over.
VIDEO = frozenset({
    "memory_attention", "memory_encoder", "mask_downsample", "maskmem_tpos_enc", "no_mem_pos_enc",
    "no_obj_ptr", "no_obj_embed_spatial", "obj_ptr_proj", "obj_ptr_tpos_proj", "spatial_perceiver",
})  # fmt: skip

#: One of them that came with version 2.1.
NEW_IN_2_1 = "no_obj_embed_spatial"

#: A part of a published name, and what it is called here.
_PARTS = (
    ("sam_prompt_encoder.", "prompt_encoder."),
    ("sam_mask_decoder.", "mask_decoder."),
    (".mlp.layers.0.", ".mlp.lin1."),
    (".mlp.layers.1.", ".mlp.lin2."),
)


_TRUNK = "image_encoder.trunk."
#: The path of a convolution, or what stands for one, in a block of a RepViT.
_PATH = re.compile(r"features\.\d+\.(?:\d+|token_mixer\.\d+|channel_mixer\.m\.\d+)(?=\.)")


def image_keys(keys: Iterable[str]) -> list[str]:
    """Those of ``keys`` that are not of the video part."""
    return [key for key in keys if key.partition(".")[0] not in VIDEO]


def published_name(name: str, trunk: TrunkConfig) -> str:
    """The name in published checkpoints of a parameter of
    :class:`~samdeploy.models.sam2.sam2.Sam2`."""
    for published, ours in _PARTS:
        if ours.startswith("."):
            name = name.replace(ours, published)
        elif name.startswith(ours):
            name = published + name.removeprefix(ours)
    if isinstance(trunk, RepVitTrunkConfig) and name.startswith(_TRUNK):
        paths = _repvit_paths(trunk)
        path = _PATH.sub(lambda match: paths[match[0]], name.removeprefix(_TRUNK))
        return f"{_TRUNK}body.{path}"
    return name


@lru_cache
def _repvit_paths(trunk: RepVitTrunkConfig) -> dict[str, str]:
    """Paths in :class:`samdeploy.models.repvit.Trunk`, which counts blocks from the image on, to
    those in EdgeTAM, which counts them by stage."""
    paths = {"features.0.0": "stem.conv1", "features.0.2": "stem.conv2"}
    index = 1
    for stage, depth in enumerate(trunk.depths):
        root = f"stages_{stage}"
        if stage:
            step = f"{root}.downsample"
            paths |= _block_paths(index, f"{step}.pre_block")
            paths |= {
                f"features.{index + 1}.token_mixer.0": f"{step}.spatial_downsample",
                f"features.{index + 1}.token_mixer.2": f"{step}.channel_downsample",
                f"features.{index + 1}.channel_mixer.m.0": f"{step}.ffn.conv1",
                f"features.{index + 1}.channel_mixer.m.2": f"{step}.ffn.conv2",
            }
            index += 2
        for block in range(depth):
            paths |= _block_paths(index + block, f"{root}.blocks.{block}")
        index += depth
    return paths


def _block_paths(index: int, published: str) -> dict[str, str]:
    return {
        f"features.{index}.token_mixer.0": f"{published}.token_mixer",
        f"features.{index}.token_mixer.1": f"{published}.se",
        f"features.{index}.channel_mixer.m.0": f"{published}.channel_mixer.conv1",
        f"features.{index}.channel_mixer.m.2": f"{published}.channel_mixer.conv2",
    }
