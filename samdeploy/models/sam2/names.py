"""The names of weights in published checkpoints of SAM 2, and those of the modules here."""

from __future__ import annotations

from collections.abc import Iterable

#: At the top of a state dict: what only video needs. Nothing else is passed over.
VIDEO = frozenset({
    "memory_attention", "memory_encoder", "mask_downsample", "maskmem_tpos_enc", "no_mem_pos_enc",
    "no_obj_ptr", "no_obj_embed_spatial", "obj_ptr_proj", "obj_ptr_tpos_proj",
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


def image_keys(keys: Iterable[str]) -> list[str]:
    """Those of ``keys`` that are not of the video part."""
    return [key for key in keys if key.partition(".")[0] not in VIDEO]


def published_name(name: str) -> str:
    """The name in published checkpoints of a parameter of
    :class:`~samdeploy.models.sam2.sam2.Sam2`."""
    for published, ours in _PARTS:
        if ours.startswith("."):
            name = name.replace(ours, published)
        elif name.startswith(ours):
            name = published + name.removeprefix(ours)
    return name
