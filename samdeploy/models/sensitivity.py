"""Which layers of an image encoder suffer most from 8 bits.

In torch and therefore the same for every format: one block after the other is computed with 8-bit
weights (symmetric, per output channel) and 8-bit activations (one range a tensor), and the
embedding compared with that of the float model. Convolutions have 8-bit weights only where
activations stay float, as in every format. The worst blocks are then taken apart layer by
layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from samdeploy.session import Array

#: Blocks that are taken apart.
_WORST_BLOCKS = 3
_BLOCK = re.compile(
    r"image_encoder\.(?:trunk\.)?"
    r"(?:(?:layers\.\d+\.)?blocks\.\d+|layers\.\d+\.\w+|features\.\d+|\w+)"
)
#: Kinds of layers that formats store in 8 bits.
_WITH_WEIGHTS = (nn.Linear, nn.Conv2d)


class EncodingModel(Protocol):
    """A model whose ``encode`` is its image encoder."""

    def encode(self, image: Tensor) -> Tensor | tuple[Tensor, ...]: ...

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]: ...


@torch.inference_mode()
def sensitivity(
    sam: EncodingModel, images: Sequence[Array], *, activations: bool = True
) -> dict[str, float]:
    """Relative error of the embedding, by part of the encoder in 8 bits, the worst first.

    Args:
        images: encoder inputs, float32 ``[1, 3, S, S]``.
        activations: round those of linear layers as well, as formats do that are calibrated.

    Returns:
        Module paths of the layers of the worst blocks and of the other blocks as a whole, with
        ``|| float - int8 || / || float ||`` over all images.
    """
    inputs = [torch.from_numpy(image) for image in images]
    expected = [_embedding(sam, image) for image in inputs]

    def error(layers: Sequence[nn.Module]) -> float:
        with _eight_bits(layers, activations):
            found = [_embedding(sam, image) for image in inputs]
        off = sum(float((a - b).square().sum()) for a, b in zip(expected, found, strict=True))
        return float((off / sum(float(a.square().sum()) for a in expected)) ** 0.5)

    blocks = _blocks(sam, (nn.Linear,) if activations else _WITH_WEIGHTS)
    errors = {name: error(list(layers.values())) for name, layers in blocks.items()}
    for name in sorted(errors, key=errors.__getitem__, reverse=True)[:_WORST_BLOCKS]:
        if len(blocks[name]) > 1:
            del errors[name]
            errors |= {path: error([layer]) for path, layer in blocks[name].items()}
    return dict(sorted(errors.items(), key=lambda item: item[1], reverse=True))


def _embedding(sam: EncodingModel, image: Tensor) -> Tensor:
    """All that the encoder answers, in a row."""
    answer = sam.encode(image)
    tensors = (answer,) if isinstance(answer, Tensor) else answer
    return torch.cat([tensor.flatten() for tensor in tensors])


def encoder_layers(sam: EncodingModel) -> list[str]:
    """Module paths of the layers of SAM's image encoder that 8 bits are for."""
    return [path for layers in _blocks(sam, _WITH_WEIGHTS).values() for path in layers]


def _blocks(
    sam: EncodingModel, kinds: tuple[type[nn.Module], ...]
) -> Mapping[str, dict[str, nn.Module]]:
    """Layers of those kinds, by block."""
    blocks: dict[str, dict[str, nn.Module]] = {}
    for path, module in sam.named_modules():
        found = _BLOCK.match(path)
        if found and isinstance(module, kinds):
            blocks.setdefault(found.group(), {})[path] = module
    return blocks


@contextmanager
def _eight_bits(layers: Sequence[nn.Module], activations: bool) -> Iterator[None]:
    with ExitStack() as stack:
        for layer in layers:
            weight: Any = layer.weight
            stack.callback(weight.data.copy_, weight.data.clone())
            weight.data.copy_(_round_weight(weight.data))
            if activations:
                stack.callback(layer.register_forward_pre_hook(_round_input).remove)
        yield


def _round_weight(weight: Tensor) -> Tensor:
    scale = weight.flatten(1).abs().amax(1).clamp_min(1e-12) / 127
    zero = torch.zeros(len(scale), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -127, 127)


def _round_input(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    x = inputs[0]
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    scale = max(high - low, 1e-12) / 255
    return (torch.fake_quantize_per_tensor_affine(x, scale, round(-low / scale), 0, 255),)
