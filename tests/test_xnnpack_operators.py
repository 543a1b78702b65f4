"""What XNNPACK lacks, written in what it has: the same answers as torch's own operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from samdeploy.exporters.passes.fixed_program import fixed_program
from samdeploy.exporters.passes.xnnpack_operators import XNNPACK_OPERATORS
from samdeploy.graphs import MASK_HEAD
from samdeploy.testing.small_model import small_graphs

aten = torch.ops.aten


def x(*shape: int) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (aten.scaled_dot_product_attention.default, (x(2, 3, 5, 4), x(2, 3, 7, 4), x(2, 3, 7, 4))),
        (
            aten.scaled_dot_product_attention.default,
            (x(1, 2, 5, 4), x(1, 2, 5, 4), x(1, 2, 5, 4), x(1, 1, 1, 5)),
        ),
        (aten.matmul.default, (x(2, 3, 5, 4), x(4, 6))),
        (aten.matmul.default, (x(5, 4), x(4, 6))),
        (aten.matmul.default, (x(2, 3, 5, 4), x(2, 3, 4, 6))),
        (aten.matmul.default, (x(2, 3, 5, 4), x(3, 4, 6))),
        (aten.matmul.default, (x(3, 5, 4), x(2, 3, 4, 6))),
        (aten.layer_norm.default, (x(2, 3, 8), [8], x(8), x(8), 1e-6)),
        (aten.mean.dim, (x(2, 3, 8), [-1], True)),
        (aten.mean.dim, (x(2, 3, 4, 5), [2, 3], True)),
        (aten.sum.dim_IntList, (x(2, 3, 8), [1], True)),
        (aten.sum.dim_IntList, (x(2, 3, 8), [0])),
        (aten.sum.dim_IntList, (x(2, 3, 8), [0, -1])),
        (aten.amax.default, (x(2, 7, 4), [1], True)),
        (aten.amax.default, (x(2, 7, 4), [-1, 0])),
        (aten.amax.default, (x(2, 7, 4),)),
        (aten.select.int, (x(2, 7, 4), 1, -2)),
        (aten.unsqueeze.default, (x(2, 7), -1)),
        (aten.unsqueeze.default, (x(2, 7), 0)),
        (aten.stack.default, ([x(2, 7), x(2, 7)], -1)),
        (aten.unbind.int, (x(3, 2), 0)),
        (aten.split.Tensor, (x(2, 7), 3, -1)),
        (aten.split_with_sizes.default, (x(2, 7), [3, 1, 3], -1)),
    ],
    ids=lambda value: value.__name__ if hasattr(value, "__name__") else "",
)
def test_an_operator(operator: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.testing.assert_close(XNNPACK_OPERATORS[operator](*arguments), operator(*arguments))


def test_attention_of_another_scale() -> None:
    operator, arguments = aten.scaled_dot_product_attention.default, (x(2, 5, 4),) * 3
    found = XNNPACK_OPERATORS[operator](*arguments, scale=0.1)
    torch.testing.assert_close(found, operator(*arguments, scale=0.1))


def test_attention_that_is_not_written_is_refused() -> None:
    attention = XNNPACK_OPERATORS[aten.scaled_dot_product_attention.default]
    with pytest.raises(NotImplementedError, match="causal"):
        attention(x(2, 5, 4), x(2, 5, 4), x(2, 5, 4), is_causal=True)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch warns of itself
@pytest.mark.exporting
def test_a_graph() -> None:
    graph = small_graphs()[MASK_HEAD]
    example = graph.example(2, 3)
    program = fixed_program(graph.module, example, XNNPACK_OPERATORS)
    left = {node.target for node in program.graph.nodes}
    assert not left & {*XNNPACK_OPERATORS, aten.alias.default}
    assert aten.bmm.default in left
    torch.testing.assert_close(program(*example), graph.module(*example), atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.exporting
def test_what_is_folded_leaves_no_buffer() -> None:
    class Spread(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("rows", x(3, 3), persistent=False)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image + self.rows @ self.rows

    program = fixed_program(Spread().eval(), (x(3, 3),))
    assert [name for name, _ in program.named_buffers()] == ["folded_matmul"]
    exported = torch.export.export(program, (x(3, 3),))
    assert set(exported.constants) <= {spec.target for spec in exported.graph_signature.input_specs}
