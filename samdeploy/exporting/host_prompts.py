"""Graphs that take prompts as tokens, and the weights that make these, as a part of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samdeploy.errors import InputError
from samdeploy.graphs import PROMPTS_FILE
from samdeploy.host_prompts import PromptEncoding, hosted

if TYPE_CHECKING:
    from samdeploy.models.loaded import GraphModule
    from samdeploy.models.prompt_encoder import PromptEncoder


def take_tokens(
    graphs: Mapping[str, GraphModule], folder: Path, source: object
) -> dict[str, GraphModule]:
    """The graphs of a model, by role, with tokens in the place of points. They share the modules
    of ``graphs``, which are of no use afterwards. The weights go into ``folder``.

    Raises:
        InputError: the model has no prompt encoder like SAM's.
    """
    from samdeploy.models.prompt_encoder import PromptEncoder  # here: it needs torch

    encoders = {
        module
        for graph in graphs.values()
        for module in graph.module.modules()
        if isinstance(module, PromptEncoder)
    }
    if len(encoders) != 1:
        raise InputError(
            f"host_prompts=True; it is for models with a prompt encoder like SAM's, and '{source}' "
            "has none: leave it out."
        )
    (encoder,) = encoders
    encoding = encoding_of(encoder)
    encoding.write(folder / PROMPTS_FILE)
    encoder.on_host = True
    return {
        role: replace(graph, inputs=hosted(graph.inputs, encoding.channels))
        for role, graph in graphs.items()
    }


def encoding_of(encoder: PromptEncoder) -> PromptEncoding:
    """Its part for points and box corners."""
    tokens = (encoder.not_a_point_embed, *encoder.point_embeddings)
    embeddings = [each.get_parameter("weight").detach().float().numpy() for each in tokens]
    frequencies = encoder.pe_layer.positional_encoding_gaussian_matrix.float().numpy()
    return PromptEncoding(frequencies, np.concatenate(embeddings), encoder.image_size)
