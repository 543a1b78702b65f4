"""What XNNPACK does not compute, in operators that it does: a graph that alternates between it and
ExecuTorch's own operators is slow, and takes long to lower.

Sums over an axis become products with ones, layer norms and averages too; a maximum over an axis is
halved step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import prod
from typing import Any

import torch
from torch import Tensor


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """As it is written in the books: torch's own has a guard for rows without a key."""
    if dropout_p or is_causal or enable_gqa:
        raise NotImplementedError("attention that is causal, drops out or groups queries")
    scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-1, -2)
    weights: Tensor = (scores if attn_mask is None else scores + attn_mask).softmax(-1)
    return weights @ v


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """A product of batches. Torch would spread both to one size, also where they have it."""
    if b.ndim == 2:
        return _shaped(
            torch.bmm(_shaped(a, 1, -1, a.shape[-1]), b.unsqueeze(0)), *a.shape[:-1], b.shape[-1]
        )
    if a.ndim == 4 and b.ndim == 3:  # all of the first axis share the second factor
        B, s, m, d = a.shape
        rows = torch.bmm(a.transpose(0, 1).reshape(s, B * m, d), b)
        return rows.reshape(s, B, m, -1).transpose(0, 1)
    batch: torch.Size = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])  # type: ignore[no-untyped-call]
    product = torch.bmm(_batched(a, batch), _batched(b, batch))
    return _shaped(product, *batch, *product.shape[1:])


def _batched(x: Tensor, batch: torch.Size) -> Tensor:
    if x.shape[:-2] != batch:
        x = x.expand(*batch, *x.shape[-2:])
    return _shaped(x, prod(batch), *x.shape[-2:])


def _shaped(x: Tensor, *shape: int) -> Tensor:
    # A reshape to the same shape would be a copy.
    return x if [*x.shape] == [*shape] else x.reshape(shape)


def layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor, bias: Tensor, eps: float = 1e-5, *_: Any
) -> Tensor:
    centred = x - mean(x, [-1], keepdim=True)
    divisor = torch.rsqrt(mean(centred * centred, [-1], keepdim=True) + eps)
    return centred * divisor * weight + bias


def mean(x: Tensor, dims: Sequence[int], keepdim: bool = False, **_: Any) -> Tensor:
    return total(x, dims, keepdim, share=1 / prod(x.shape[dim] for dim in dims))


def total(
    x: Tensor, dims: Sequence[int], keepdim: bool = False, share: float = 1, **_: Any
) -> Tensor:
    """The sum over some axes, times ``share``."""
    for dim in sorted((dim % x.ndim for dim in dims), reverse=True):
        shape = [1 if axis == dim else side for axis, side in enumerate(x.shape)]
        rows = _shaped(x, prod(shape[:dim]), x.shape[dim], prod(shape[dim:]))
        x = _shaped(_sum(rows, share), *shape)
        share = 1
    return x if keepdim else x.reshape(_without(x.shape, dims))


def _sum(rows: Tensor, share: float) -> Tensor:
    """Of ``[B, n, m]`` over the second axis."""
    B, n, m = rows.shape
    if m == 1:
        return torch.nn.functional.linear(_shaped(rows, B, n), _full((1, n), share, rows))
    return torch.bmm(_full((B, 1, n), share, rows), rows)


def _full(shape: Sequence[int], value: float, like: Tensor) -> Tensor:
    # Not new_full, which would not be a constant, as it takes a tensor.
    return torch.full(shape, value, dtype=like.dtype)


def _without(shape: Sequence[int], dims: Sequence[int]) -> list[int]:
    gone = {dim % len(shape) for dim in dims}
    return [side for axis, side in enumerate(shape) if axis not in gone]


def most(x: Tensor, dims: Sequence[int] = (), keepdim: bool = False) -> Tensor:
    """The maximum over axes, of halves that may overlap."""
    dims = dims or range(x.ndim)
    for dim in dims:
        while (length := x.shape[dim]) > 1:
            half = -(-length // 2)
            x = torch.maximum(x.narrow(dim, 0, half), x.narrow(dim, length - half, half))
    return x if keepdim else x.reshape(_without(x.shape, dims))


def select(x: Tensor, dim: int, index: int) -> Tensor:
    """One of an axis, as a part of it that has the length 1."""
    return x.narrow(dim, index % x.shape[dim], 1).reshape(_without(x.shape, [dim]))


def unbind(x: Tensor, dim: int = 0) -> list[Tensor]:
    return [select(x, dim, index) for index in range(x.shape[dim])]


def split(x: Tensor, sizes: int | Sequence[int], dim: int = 0) -> list[Tensor]:
    """Parts of these sizes, or all of one size but for the last."""
    length = x.shape[dim]
    if isinstance(sizes, int):
        sizes = [min(sizes, length - start) for start in range(0, length, sizes)]
    ends = accumulate(sizes)
    return [x.narrow(dim, end - size, size) for size, end in zip(sizes, ends, strict=True)]


def unsqueeze(x: Tensor, dim: int) -> Tensor:
    shape = [*x.shape]
    shape.insert(dim % (x.ndim + 1), 1)
    return x.reshape(shape)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    return torch.cat([unsqueeze(each, dim) for each in tensors], dim)


_aten = torch.ops.aten
XNNPACK_OPERATORS: Mapping[Any, Callable[..., Any]] = {
    _aten.scaled_dot_product_attention.default: attention,
    _aten.matmul.default: matmul,
    _aten.layer_norm.default: layer_norm,
    _aten.mean.dim: mean,
    _aten.sum.dim_IntList: total,
    _aten.amax.default: most,
    _aten.select.int: select,
    _aten.unbind.int: unbind,
    _aten.split.Tensor: split,
    _aten.split_with_sizes.default: split,
    _aten.unsqueeze.default: unsqueeze,
    _aten.stack.default: stack,
}
