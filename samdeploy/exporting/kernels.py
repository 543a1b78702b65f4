"""The weights that samdeploy's own kernels read, beside the graphs whose place they take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samdeploy.errors import InputError
from samdeploy.families import Family
from samdeploy.graphs import KERNELS_FILE, SCORER

if TYPE_CHECKING:
    from samdeploy.models.loaded import GraphModule

#: Parts of a model that take part in answering a prompt.
_PARTS = ("mask_decoder.", "prompt_encoder.")


def check_kernels(graphs: Mapping[str, GraphModule], family: Family, source: object) -> None:
    """Raise :class:`InputError` unless the kernels know the decoder of the model."""
    if not family.kernels or SCORER not in graphs:
        raise InputError(
            f"kernels=True; they are for the decoders of SAM and SAM 2, with two layers, and "
            f"'{source}' has another: leave it out."
        )


def write_kernels(graphs: Mapping[str, GraphModule], image_size: int, folder: Path) -> None:
    """Write the decoder's parameters in float32, by their names in a checkpoint."""
    from safetensors.numpy import save_file  # here: nothing else of the hub wants it

    model: Any = graphs[SCORER].module.sam
    tensors = {
        name: value.detach().float().contiguous().numpy()
        for name, value in model.state_dict().items()
        if name.startswith(_PARTS)
    }
    heads = model.config.mask_decoder.transformer.num_heads
    told = {"image_size": str(image_size), "heads": str(heads)}
    save_file(tensors, folder / KERNELS_FILE, told)
