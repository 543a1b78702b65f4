"""A checkpoint of any family as what exporters write and the torch runtime runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from samdeploy.golden import Golden
from samdeploy.preprocess import SAM_STEPS, Preprocess
from samdeploy.session import Array, TensorSpec


@dataclass(frozen=True)
class GraphModule:
    """One graph: ``module`` takes ``inputs`` in order and returns ``outputs``. ``numbers(prompts,
    points)`` is what their dynamic dimensions are; ``preprocess`` makes the image that an encoder
    takes, where the family has one."""

    role: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    numbers: Callable[[int, int], dict[str, int]] = lambda prompts, points: {}
    preprocess: Preprocess = SAM_STEPS

    @property
    def image_size(self) -> int:
        """Side ``S`` of the image that an encoder takes."""
        return int(self.inputs[0].shape[-1])

    def fixed(self, name: str, prompts: int, points: int) -> GraphModule:
        """The same graph, called ``name``, for so many prompts of so many tokens alone: its every
        dimension is a number."""
        sides = self.numbers(prompts, points)
        inputs, outputs = (
            tuple(
                replace(spec, shape=tuple(sides.get(str(side), side) for side in spec.shape))
                for spec in specs
            )
            for specs in (self.inputs, self.outputs)
        )
        return replace(self, role=name, inputs=inputs, outputs=outputs)

    def example(self, prompts: int = 2, points: int = 3) -> tuple[Tensor, ...]:
        """Inputs of zeros to trace with."""
        sides = self.numbers(prompts, points)
        return tuple(
            torch.zeros([sides[side] if isinstance(side, str) else side for side in spec.shape])
            for spec in self.inputs
        )

    @torch.inference_mode()
    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Named arrays in, named arrays out, on the CPU; ``feeds`` may hold more than it takes."""
        results = self.module(*(torch.from_numpy(feeds[spec.name]) for spec in self.inputs))
        results = (results,) if isinstance(results, Tensor) else results
        return {spec.name: value.numpy() for spec, value in zip(self.outputs, results, strict=True)}


@dataclass(frozen=True)
class ModelFacts:
    """The part of a :class:`~samdeploy.bundle.Manifest` that depends on the model alone.

    ``metadata`` are further texts for the artifacts, ``licence`` is empty where the checkpoint
    does not tell it, ``tools`` are distributions that took part in reading it. ``golden`` is what
    an export adds.
    """

    family: str
    architecture: str
    image_size: int
    embedding_channels: int
    config: dict[str, Any]
    whole_image: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    licence: str = ""
    tools: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    golden: Golden | None = None


@dataclass(frozen=True)
class LoadedModel:
    """A checkpoint as the loader of its family gives it.

    Attributes:
        graphs: by role, in evaluation mode.
        layers: module paths of the encoder's layers that ``float_layers`` may name.
        sensitivity: ``sensitivity(images, *, activations)``, see
            :func:`samdeploy.models.sensitivity.sensitivity`; ``None`` where nobody can tell.
    """

    facts: ModelFacts
    graphs: Mapping[str, GraphModule]
    layers: tuple[str, ...] = ()
    sensitivity: Callable[..., Mapping[str, float]] | None = None
