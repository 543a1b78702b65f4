"""Graphs of fixed shapes: what accelerators ask for, and that they answer like free ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from samdeploy import SAM
from samdeploy.bundle import Bundle
from samdeploy.errors import ExportError, InputError
from samdeploy.exporters.onnx import OnnxOptions
from samdeploy.exporters.passes.fixed_program import fixed_program
from samdeploy.exporters.passes.onnx_largest import inferred_values
from samdeploy.exporters.passes.onnx_narrow import MOST_OPERANDS
from samdeploy.exporters.passes.onnx_rank import check_rank
from samdeploy.fixed_shapes import FixedShapes, variants
from samdeploy.graphs import ALL_ROLES, DECODER, ENCODER, SCORER
from samdeploy.scenes import Scene
from samdeploy.session import Array, TensorSpec
from samdeploy.testing.small_model import small_graphs
from tests.conftest import ExportOnce


class Wide(nn.Module):
    """A constant that is computed, and joins of more than accelerators allow."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(4.0))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        positions = (self.weight.sin() + torch.arange(4)).reshape(1, 4)
        parts = [x * n + positions for n in range(11)]
        return torch.stack(parts, dim=1), torch.cat([*parts, x], dim=-1)


def test_a_program_is_narrow_and_its_constants_are_computed() -> None:
    example = (torch.rand(2, 4),)
    program = fixed_program(Wide().eval(), example)
    called = [node for node in program.graph.nodes if node.op == "call_function"]
    assert max(len(node.all_input_nodes) for node in called) <= MOST_OPERANDS
    assert not [
        node for node in called if "sin" in str(node.target) or "arange" in str(node.target)
    ]
    x = torch.rand(2, 4)
    for found, expected in zip(program(x), Wide()(x), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_which_files_there_are() -> None:
    inputs = {role: graph.inputs for role, graph in small_graphs().items()}
    assert variants(ENCODER, inputs[ENCODER], 64, 16) == {"encoder": (1, 16)}
    batch = {"decoder": (1, 16), "decoder_batch": (64, 16)}
    assert variants(DECODER, inputs[DECODER], 64, 16) == batch
    one = {"scorer": (1, 16), "scorer_click": (1, 2)}
    assert variants(SCORER, inputs[SCORER], 64, 16) == {**one, "scorer_batch": (64, 2)}
    assert variants(SCORER, inputs[SCORER], 1, 16) == one
    assert variants(SCORER, inputs[SCORER], 1, 2) == {"scorer": (1, 2)}


class Recorder:
    """A scorer of fixed shapes that notes in ``calls`` that it was run."""

    provider = "none"

    def __init__(self, calls: list[tuple[int, int]], prompts: int, points: int) -> None:
        shapes = {"point_coords": (prompts, points, 2), "point_labels": (prompts, points)}
        self.inputs = tuple(TensorSpec(name, shape) for name, shape in shapes.items())
        self.outputs = (TensorSpec("iou_predictions", (prompts, 4)),)
        self._called = (prompts, points)
        self._calls = calls

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self._calls.append(self._called)
        return {"iou_predictions": np.zeros((self._called[0], 4), np.float32)}

    def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize(
    ("prompts", "points", "expected"),
    [
        (1, 2, [(1, 2)]),
        (1, 3, [(1, 16)]),
        (3, 2, [(1, 2)] * 3),
        (4, 2, [(4, 2)]),  # in one call what would be as much in four
        (8, 1, [(4, 2)] * 2),
        (2, 5, [(1, 16)] * 2),
    ],
)
def test_which_file_computes_least(
    prompts: int, points: int, expected: list[tuple[int, int]]
) -> None:
    calls: list[tuple[int, int]] = []
    scorer = FixedShapes([Recorder(calls, *shape) for shape in ((1, 16), (1, 2), (4, 2))])
    coords = np.zeros((prompts, points, 2), np.float32)
    answer = scorer.run({"point_coords": coords, "point_labels": coords[..., 0]})
    assert calls == expected
    assert answer["iou_predictions"].shape == (prompts, 4)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"profile": "tpu"}, "profile=tpu; expected npu"),
        ({"max_points": 4}, "max_points=4; it is for profile=npu"),
        ({"profile": "npu", "max_prompts": 9999}, "max_prompts=9999"),
        ({"profile": "npu", "layout": "osam"}, "profile=npu layout=osam; leave one of them out"),
        ({"profile": "npu", "simplify": False}, "profile=npu simplify=False; leave one"),
    ],
)
def test_options_that_make_no_sense(given: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        OnnxOptions(**given)


def test_a_rank_above_four_is_refused() -> None:
    shapes = {"x": [1, 2, 3, 4, 5], "y": [1, 2, 3, 4, 5]}
    x, y = (onnx.helper.make_tensor_value_info(n, 1, shape) for n, shape in shapes.items())
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    with pytest.raises(ExportError, match=r"tensor 'y' of the scorer graph .*4 dimensions"):
        check_rank(onnx.helper.make_model(graph), SCORER)


@pytest.fixture(scope="module")
def fixed_bundle(export_once: ExportOnce, small_checkpoint: Path, small_config: Path) -> Path:
    return export_once(
        "small_onnx_npu", small_checkpoint, config=small_config,
        profile="npu", max_prompts=4, max_points=5,
    )  # fmt: skip


@pytest.mark.exporting
@pytest.mark.slow
class TestOnnx:
    def test_every_shape_is_a_number(self, fixed_bundle: Path) -> None:
        graphs = Bundle.open(fixed_bundle).manifest.graphs
        assert [graph.role for graph in graphs] == list(ALL_ROLES)
        assert graphs[3].options["prompts_and_points"] == {
            "scorer": [1, 5], "scorer_click": [1, 2], "scorer_batch": [4, 2],
        }  # fmt: skip
        for path in fixed_bundle.glob("*.onnx"):
            values = list(inferred_values(onnx.load(path), {}))
            sides = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in values]
            assert all(len(each) <= 4 and all(each) for each in sides)

    @pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
    def test_it_answers_like_free_shapes(
        self, fixed_bundle: Path, small_bundle: Path, scene: Scene, runtime: str
    ) -> None:
        points = np.random.default_rng(5).uniform(0, 180, (7, 3, 2)).tolist()
        with SAM(fixed_bundle, runtime=runtime) as fixed, SAM(small_bundle) as free:
            found = fixed.predict(scene.image, points=points)  # four of seven, then three
            expected = free.predict(scene.image, points=points)
            np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
            assert np.count_nonzero(found.data != expected.data) <= 20
            whole = [
                sam.generate(scene.image, points_stride=4, conf_thres=0.0) for sam in (fixed, free)
            ]
            assert len(whole[0]) == len(whole[1])
            with pytest.raises(InputError, match="export it again with max_points=7"):
                fixed.predict(scene.image, points=[[[9, 9]] * 6])
