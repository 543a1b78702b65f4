"""Image tokens as prompts change them, without making them: what layer norms and attentions of the
restructured decoder do to ``scale * base + weights^T values``.

Why that form is enough, and what ``base`` is: :mod:`samdeploy.models.restructured`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from samdeploy.models.mask_decoder import Attention


class Changed(NamedTuple):
    """Image tokens as prompts have changed them, short of the bias of their layer norm:
    ``scale * base + weights^T values`` with ``scale`` ``[B, 1, N]``, ``weights`` ``[B, R, N]`` and
    ``values`` ``[B, R, C]``."""

    scale: Tensor
    weights: Tensor
    values: Tensor


def first_norm(
    norm: nn.LayerNorm, weights: Tensor, values: Tensor, products: Tensor, square: Tensor
) -> Changed:
    """The layer norm of ``base + weights^T values``.

    ``square`` ``[N]`` is the mean square of the centred base, ``products`` ``[B, R, N]`` twice its
    mean product with each value.
    """
    values = centred(values)
    own = _summed(weights, _products(values, values) @ weights + products)
    divisor = torch.rsqrt(square + own + norm.eps)
    return Changed(divisor, weights * divisor, values * norm.weight)


def second_norm(
    norm: nn.LayerNorm,
    once: Changed,
    weights: Tensor,
    values: Tensor,
    added: Tensor,
    products: tuple[Tensor, Tensor],
    norms: Tensor,
) -> Changed:
    """The layer norm of ``once + weights^T values + added``; ``added`` ``[C]`` is one more value,
    with weight one everywhere.

    ``products`` are twice the mean products of the centred base with the values of ``once`` and
    with ``values``; ``norms[1]`` is its mean square and ``norms[2]`` what it has with ``added``.
    """
    earlier, values = centred(once.values), centred(values)
    added = centred(added.expand(values.shape[0], 1, -1))
    every = torch.cat([once.weights, weights, torch.ones_like(once.scale)], dim=1)
    # The mean square of what is added to the base, with every pair of values taken once.
    pairs = _products(values, torch.cat([2 * earlier, values, 2 * added], dim=1)) @ every
    own = _summed(weights, pairs) + _products(added, added)
    first = _products(earlier, earlier) @ once.weights + _products(2 * earlier, added)
    own = own + _summed(once.weights, first)
    shared = _summed(once.weights, products[0]) + _summed(weights, products[1]) + norms[2]
    square = norms[1] * once.scale.square() + shared * once.scale + own
    divisor = torch.rsqrt(square + norm.eps)
    all_values = torch.cat([earlier, values, added], dim=1)
    return Changed(once.scale * divisor, every * divisor, all_values * norm.weight)


def attention_to(
    image: Changed,
    attention: Attention,
    queries: Tensor,
    keys: Tensor,
    place_keys: Tensor,
    values: Tensor,
    norm_bias: Tensor,
) -> Tensor:
    """Attention of ``queries`` ``[B, T, C]`` to the changed image."""
    heads, width, count = attention.num_heads, attention.head_dim, queries.shape[1]
    asked = scaled_heads(attention.q_proj, queries, attention)
    scores = scores_with(image, asked, attention, attention.k_proj, keys, place_keys)
    weights = scores.softmax(-1)
    scaled = weights * image.scale
    shared = scaled.reshape(-1, heads, count, scaled.shape[-1]) @ values  # [B, h, T, d]
    mixed = (weights @ image.weights.transpose(1, 2)) @ image.values  # [B, h T, C]
    mixed = mixed.reshape(-1, heads, count, mixed.shape[-1])
    context = shared + mixed @ per_head(attention.v_proj, attention).transpose(1, 2)
    joined = context.transpose(1, 2).reshape(-1, count, heads * width)
    out: Tensor = attention.out_proj(joined + attention.v_proj(norm_bias.reshape(1, -1)))
    return out


def scores_with(
    image: Changed,
    vectors: Tensor,
    attention: Attention,
    linear: nn.Linear,
    keys: Tensor,
    place_keys: Tensor,
) -> Tensor:
    """``[B, h T, N]``: ``vectors`` ``[B, h, T, d]`` times ``linear`` of the changed image; ``keys``
    and ``place_keys`` are what all prompts share of that."""
    folded = (vectors @ per_head(linear, attention)).flatten(1, 2)  # [B, h T, C]
    own = (folded @ image.values.transpose(1, 2)) @ image.weights
    return times_keys(vectors, keys) * image.scale + own + times_keys(vectors, place_keys)


def spread_values(attention: Attention, v: Tensor) -> Tensor:
    """The vector that a token of value ``v`` ``[B, h, T, d]`` adds to an image token that attends
    to it alone, by one head, without the bias: ``[B, h T, C]``."""
    weight = attention.out_proj.weight.reshape(-1, attention.num_heads, attention.head_dim)
    return (v @ weight.permute(1, 2, 0)).flatten(1, 2)


def split_heads(x: Tensor, attention: Attention) -> Tensor:
    """``[B, n, h d]`` -> ``[B, h, n, d]``."""
    return x.reshape(-1, x.shape[1], attention.num_heads, attention.head_dim).transpose(1, 2)


def scaled_heads(linear: nn.Linear, tokens: Tensor, attention: Attention) -> Tensor:
    """Projected tokens ``[B, h, T, d]``, divided as attention scores are."""
    return split_heads(linear(tokens) * attention.head_dim**-0.5, attention)


def times_keys(vectors: Tensor, keys: Tensor) -> Tensor:
    """``[B, h, T, d]`` and ``[h, d, N]`` -> ``[B, h T, N]``."""
    return (vectors @ keys).flatten(1, 2)


def per_head(linear: nn.Linear, attention: Attention) -> Tensor:
    """The weight ``[h d, C]`` of a projection into heads as ``[h, d, C]``."""
    return linear.weight.reshape(attention.num_heads, attention.head_dim, -1)


def _products(values: Tensor, others: Tensor) -> Tensor:
    """``[B, R, C]`` and ``[B, Q, C]`` -> ``[B, R, Q]``: mean products over the channels."""
    return values @ (others * (1 / others.shape[-1])).transpose(1, 2)


def _summed(weights: Tensor, factors: Tensor) -> Tensor:
    """``[B, R, N]`` twice -> ``[B, 1, N]``.

    The sum is a product with ones: over an axis that is not the last, ONNX Runtime's own takes
    several times as long.
    """
    ones = torch.ones(1, 1, weights.shape[1], dtype=weights.dtype, device=weights.device)
    return ones @ (weights * factors)


def centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)
