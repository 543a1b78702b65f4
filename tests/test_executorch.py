"""ExecuTorch, where its extra is installed: lowering takes minutes."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from samdeploy import SAM
from samdeploy.bundle import Bundle
from samdeploy.errors import BundleError, ExportError, InputError, RuntimeUnavailableError
from samdeploy.exporting.pipeline import export
from samdeploy.exporting.verify_sam import verify_sessions
from samdeploy.graphs import ALL_ROLES, DECODER, ENCODER, MASK_HEAD, SCORER
from samdeploy.models import GraphModule
from samdeploy.runtimes.torch import TorchSession
from samdeploy.scenes import Scene
from samdeploy.session import Graph, RuntimeOptions, Session, TensorSpec
from samdeploy.testing import ExporterContract, RuntimeContract
from samdeploy.testing.small_model import feeds_of, small_graphs

exporter = pytest.importorskip("samdeploy.exporters.executorch")
runtime = pytest.importorskip("samdeploy.runtimes.executorch")

pytestmark = [
    pytest.mark.exporting,
    pytest.mark.slow,
    pytest.mark.overnight,
    pytest.mark.timeout(0),
    pytest.mark.filterwarnings("ignore"),  # torch and ExecuTorch announce much of each other
]


def opened(path: Path, role: str, device: str = "cpu", **options: Any) -> Session:
    session: Session = runtime.ExecuTorchRuntime().open(
        path, role, device=device, options=RuntimeOptions(**options)
    )
    return session


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Graph]]:
    folder = tmp_path_factory.mktemp("programs")
    options = exporter.ExecuTorchOptions(max_prompts=6, max_points=8)
    write = exporter.ExecuTorchExporter().export
    return folder, {role: write(graph, folder, options) for role, graph in small_graphs().items()}


@pytest.fixture(scope="module")
def programs(written: tuple[Path, dict[str, Graph]]) -> dict[str, Path]:
    folder, graphs = written
    return {role: folder / graph.files[0] for role, graph in graphs.items()}


@pytest.fixture(scope="module")
def small(
    written: tuple[Path, dict[str, Graph]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The encoder by what was asked for."""
    graph, write = small_graphs()[ENCODER], exporter.ExecuTorchExporter().export
    folders = {"fp32": written[0]}
    kept = ("sam.image_encoder.blocks.0",)
    asked: dict[str, dict[str, Any]] = {
        "fp16": {"half": True},
        "int8": {"int8": True},
        "int8, fp16": {"int8": True, "half": True},
        "int8 but for a block": {"int8": True, "float_layers": kept},
    }
    for name, options in asked.items():
        folders[name] = tmp_path_factory.mktemp("stored")
        write(graph, folders[name], exporter.ExecuTorchOptions(**options))
    return {name: folder / f"{ENCODER}.pte" for name, folder in folders.items()}


def test_weights_in_fewer_bits(small: dict[str, Path]) -> None:
    feeds = feeds_of(ENCODER, 1, 2)
    [expected] = opened(small["fp32"], ENCODER).run(feeds).values()
    errors, sizes = {}, {name: path.stat().st_size for name, path in small.items()}
    for name, path in small.items():
        [found] = opened(path, ENCODER).run(feeds).values()
        errors[name] = float(np.abs(found - expected).max() / np.abs(expected).max())
    assert 1e-5 < errors["fp16"] < 1e-3
    assert 1e-3 < errors["int8"] < 1e-2
    assert 1e-3 < errors["int8, fp16"] < 1e-2
    assert 0 < errors["int8 but for a block"] < errors["int8"]
    assert sizes["fp16"] < 0.65 * sizes["fp32"]
    assert sizes["int8, fp16"] < sizes["fp16"]
    assert sizes["int8"] < sizes["int8 but for a block"] < sizes["fp32"]


def test_8_bits_need_linear_layers(tmp_path: Path) -> None:
    class Convolution(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.conv(image)
            return answer

    inputs = (TensorSpec("image", (1, 3, 8, 8)),)
    outputs = (TensorSpec("image_embeddings", (1, 4, 6, 6)),)
    graph = GraphModule(ENCODER, Convolution().eval(), inputs, outputs)
    with pytest.raises(ExportError, match="has no linear layers to store in 8 bits"):
        exporter.ExecuTorchExporter().export(graph, tmp_path, exporter.ExecuTorchOptions(int8=True))


class TestExporter(ExporterContract):
    format = "executorch"
    options: ClassVar[dict[str, Any]] = {"max_prompts": 3, "max_points": 4}


class TestRuntime(RuntimeContract):
    runtime = "executorch"

    @classmethod
    def find_graphs(cls, fixture: Callable[[str], Any]) -> dict[str, Path]:
        graphs: dict[str, Path] = fixture("programs")
        assert set(graphs) == set(ALL_ROLES)
        return graphs


def test_a_flipped_weight_fails_the_verification(programs: dict[str, Path], tmp_path: Path) -> None:
    weights = dict(small_graphs()[DECODER].module.named_parameters())
    weight = weights["sam.mask_decoder.output_upscaling.3.bias"].detach().numpy()
    content = bytearray(programs[DECODER].read_bytes())
    place = content.find(weight.astype("<f4").tobytes())
    assert place > 0
    content[place + 3] ^= 0x40  # the highest bit of the exponent
    broken = tmp_path / "decoder.pte"
    broken.write_bytes(content)
    reference = {role: TorchSession(small_graphs()[role], "cpu") for role in (ENCODER, DECODER)}
    for path, passes in ((programs[DECODER], True), (broken, False)):
        candidate = {**reference, DECODER: opened(path, DECODER)}
        assert verify_sessions(reference, candidate, images=1).passed is passes


def test_xnnpack_computes_nearly_all(written: tuple[Path, dict[str, Graph]]) -> None:
    for role, graph in written[1].items():
        for counts in graph.options["delegated"].values():
            left = {name: count for name, count in counts.items() if name != "parts"}
            # Labels of points are compared with numbers.
            assert counts["parts"] <= {DECODER: 2, SCORER: 4}.get(role, 1), role
            assert not left or role in (DECODER, SCORER), left


def test_refusals(programs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match="device 'vulkan' is not one of runtime"):
        opened(programs[DECODER], DECODER, "vulkan")
    with pytest.raises(InputError, match="streams=2; runtime 'executorch' has no use for it"):
        opened(programs[DECODER], DECODER, streams=2)
    broken = tmp_path / "decoder.pte"
    broken.write_bytes(b"no program")
    with pytest.raises(BundleError, match=r"ExecuTorch cannot open '.*decoder\.pte'"):
        opened(broken, DECODER)


def test_a_process_has_one_pool_of_threads(programs: dict[str, Path]) -> None:
    gc.collect()  # sessions of other tests
    feeds = feeds_of(MASK_HEAD, 1, 4)
    first = opened(programs[MASK_HEAD], MASK_HEAD, threads=2)
    with pytest.raises(InputError, match=r"threads=1; .* a model that is open has 2 in it"):
        opened(programs[MASK_HEAD], MASK_HEAD, threads=1)
    second = opened(programs[MASK_HEAD], MASK_HEAD)
    expected = first.run(feeds)["low_res_masks"]
    first.close()
    second.close()
    alone = opened(programs[MASK_HEAD], MASK_HEAD, threads=1)
    np.testing.assert_allclose(alone.run(feeds)["low_res_masks"], expected, atol=1e-5)


def test_the_shipped_model_in_fewer_bits(tmp_path: Path) -> None:
    bundle = export("sam_tiny.pt", "executorch", output=tmp_path / "tiny", half=True, int8=True)
    manifest = Bundle.open(bundle).manifest
    assert manifest.precision == "int8"
    assert manifest.verification.passed
    assert not manifest.options["float_layers"]  # at the first attempt


def test_the_shipped_model(tiny_bundle: Path, scene: Scene, tmp_path: Path) -> None:
    bundle = export("sam_tiny.pt", "executorch", output=tmp_path / "tiny")
    manifest = Bundle.open(bundle).manifest
    assert (manifest.format, manifest.runtime, manifest.precision) == (
        "executorch", "executorch", "fp32",
    )  # fmt: skip
    assert manifest.verification.passed
    with SAM(bundle) as found, SAM(tiny_bundle) as expected:
        for points in ([[120, 90]], [[[20, 30], [60, 70]], [[200, 100], [10, 10]]]):
            some, others = (sam.predict(scene.image, points=points) for sam in (found, expected))
            assert (some.data != others.data).sum() <= 20
        assert len(found.generate(scene.image)) == len(expected.generate(scene.image))
