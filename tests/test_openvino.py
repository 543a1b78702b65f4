"""OpenVINO bundles beyond the runtime contract."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray

from samdeploy import SAM
from samdeploy.bundle import Bundle
from samdeploy.errors import InputError
from samdeploy.exporting.pipeline import export
from samdeploy.exporting.verify import verify_bundle
from samdeploy.graphs import ALL_ROLES, ENCODER
from samdeploy.precision import arithmetic_name, element_type
from samdeploy.prompts import Prompt
from samdeploy.runtimes.openvino import OpenVinoRuntime, OpenVinoSession, check_honoured
from samdeploy.session import Array, RuntimeOptions
from tests.rounding import bf16, bf16_openvino

pytestmark = pytest.mark.exporting


def test_manifest(small_openvino_bundle: Path) -> None:
    manifest = Bundle.open(small_openvino_bundle).manifest
    assert (manifest.format, manifest.runtime, manifest.precision) == (
        "openvino", "openvino", "fp32",
    )  # fmt: skip
    files = [[record.path for record in graph.files] for graph in manifest.graphs]
    assert files == [[f"{role}.xml", f"{role}.bin"] for role in ALL_ROLES]
    assert manifest.verification.passed
    assert manifest.verification.provider == "OpenVINO CPU fp32"
    assert manifest.verification.logits_max_error < 1e-4


def test_the_saved_graph_describes_itself(small_openvino_bundle: Path) -> None:
    model = ov.Core().read_model(small_openvino_bundle / "decoder.xml")
    assert model.get_rt_info(["samdeploy", "role"]).astype(str) == "decoder"
    assert [port.any_name for port in model.outputs] == ["low_res_masks", "iou_predictions"]


@pytest.mark.overnight
@pytest.mark.slow
def test_half_weights(
    small_checkpoint: Path, small_config: Path, small_openvino_bundle: Path, tmp_path: Path
) -> None:
    half = export(
        small_checkpoint, "openvino", config=small_config, output=tmp_path / "half", half=True
    )
    manifest = Bundle.open(half).manifest
    assert manifest.precision == "fp16"
    assert manifest.verification.passed
    assert manifest.verification.mask_iou_mean >= 0.995

    def weights(folder: Path) -> int:
        return sum(path.stat().st_size for path in folder.glob("*.bin"))

    assert weights(half) <= 0.52 * weights(small_openvino_bundle)


def test_same_answers_as_onnx_runtime(
    small_openvino_bundle: Path, small_bundle: Path, photo: NDArray[np.uint8]
) -> None:
    options = RuntimeOptions(threads=1, precision="fp32")
    with SAM(small_openvino_bundle, options=options) as here, SAM(small_bundle, threads=1) as there:
        prompt = {"points": [[60, 60], [120, 90]], "multimask": True}
        found = here.predict(photo, channel_order="rgb", **prompt)
        expected = there.predict(photo, channel_order="rgb", **prompt)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    assert np.count_nonzero(found.data != expected.data) <= 6


def test_every_processor_computes_in_what_was_verified(small_openvino_bundle: Path) -> None:
    with SAM(small_openvino_bundle) as sam:
        assert set(sam.info()["providers"].values()) == {"OpenVINO CPU fp32"}


def test_a_processor_with_bf16_computes_in_it_when_asked(
    small_openvino_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bf16_openvino(monkeypatch)
    assert "bf16" in OpenVinoRuntime.availability().lower("cpu")
    graph = small_openvino_bundle / "encoder.xml"
    image = np.full((1, 3, 256, 256), 100.3, np.float32)
    found = {}
    for precision in (None, "fp32", "bf16"):
        options = RuntimeOptions(precision=precision, threads=1)
        session = OpenVinoRuntime().open(graph, ENCODER, device="cpu", options=options)
        assert session.provider == f"OpenVINO CPU {precision or 'fp32'}"
        found[precision] = session.run({"image": image})["image_embeddings"]
    np.testing.assert_array_equal(found[None], found["fp32"])
    np.testing.assert_array_equal(found["bf16"], bf16(found["bf16"]))
    assert np.abs(found["bf16"] - found["fp32"]).max() > 0
    with pytest.raises(InputError, match="precision=fp16; device 'cpu' uses fp32 instead"):
        options = RuntimeOptions(precision="fp16")
        OpenVinoRuntime().open(graph, ENCODER, device="cpu", options=options)


def test_its_converter_reports_nothing_to_its_maker() -> None:
    telemetry = importlib.import_module("openvino.tools.ovc.telemetry_utils")
    assert telemetry.tm.__name__ == "openvino.tools.ovc.telemetry_stub"


@pytest.mark.slow
def test_verify_again(small_openvino_bundle: Path, small_checkpoint: Path) -> None:
    assert verify_bundle(small_openvino_bundle, small_checkpoint).passed


@pytest.mark.slow
def test_verify_an_onnx_bundle(tiny_bundle: Path) -> None:
    # One of its outputs has a second name there, which OpenVINO gives first.
    record = verify_bundle(tiny_bundle, "sam_tiny.pt", runtime="openvino")
    assert record.passed
    assert record.provider == "OpenVINO CPU fp32"


@pytest.mark.slow
@pytest.mark.overnight
@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_hints_and_streams_do_not_change_the_answer(
    small_openvino_bundle: Path, photo: NDArray[np.uint8], hint: str
) -> None:
    plain = RuntimeOptions(precision="fp32")
    tuned = RuntimeOptions(precision="fp32", performance_hint=hint, streams=1, threads=1)
    with (
        SAM(small_openvino_bundle, options=plain) as one,
        SAM(small_openvino_bundle, options=tuned) as other,
    ):
        found, expected = (sam.predict(photo, points=[60, 60]) for sam in (other, one))
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


@pytest.mark.slow
@pytest.mark.overnight
def test_streams_work_side_by_side(
    small_openvino_bundle: Path, photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, most = 0, 0
    plain_run = OpenVinoSession.run

    def run(self: OpenVinoSession, feeds: Any) -> Any:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        try:
            time.sleep(0.01)
            return plain_run(self, feeds)
        finally:
            busy -= 1

    monkeypatch.setattr(OpenVinoSession, "run", run)
    settings = {"points_stride": 8, "points_batch_size": 8, "conf_thres": 0.0,
                "stability_score_thresh": 0.0}  # fmt: skip
    found = []
    for streams in (1, 2):
        options = RuntimeOptions(precision="fp32", streams=streams, threads=2)
        with SAM(small_openvino_bundle, options=options) as sam:
            found.append(sam.generate(photo, **settings))
        assert most == streams
    one, two = found
    assert len(one) > 3
    np.testing.assert_array_equal(one.prompt_index, two.prompt_index)
    np.testing.assert_allclose(one.scores, two.scores, atol=1e-5)


@pytest.mark.parametrize("wanted", ["fp32", "bf16", "fp16"])
def test_an_arithmetic_that_the_device_lacks_is_refused(
    small_openvino_bundle: Path, wanted: str
) -> None:
    # Which one that is depends on the processor; OpenVINO itself says.
    hint = {"INFERENCE_PRECISION_HINT": element_type(wanted)}
    compiled = ov.Core().compile_model(small_openvino_bundle / "prepare.xml", "CPU", hint)
    used = arithmetic_name(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
    options = RuntimeOptions(precision=wanted)
    if used == wanted:
        with SAM(small_openvino_bundle, options=options) as sam:
            providers = sam.info(verbose=False)["providers"]
        assert set(providers.values()) == {f"OpenVINO CPU {wanted}"}
    else:
        with pytest.raises(InputError, match=f"precision={wanted}; device 'cpu' uses {used} inst"):
            SAM(small_openvino_bundle, options=options)


class Compiled:
    """A model compiled for a device that computes in ``used``, whatever it was asked for."""

    def __init__(self, used: str, streams: int = 1) -> None:
        self._properties = {
            "INFERENCE_PRECISION_HINT": getattr(ov.Type, element_type(used)),
            "NUM_STREAMS": streams,
        }

    def get_property(self, name: str) -> Any:
        return self._properties[name]


@pytest.mark.parametrize("used", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("wanted", ["fp32", "bf16", "fp16"])
def test_every_device_is_asked_what_it_uses(wanted: str, used: str) -> None:
    compiled, options = Compiled(used), RuntimeOptions(precision=wanted)
    if used == wanted:
        check_honoured(compiled, options, "npu")
    else:
        with pytest.raises(InputError, match=f"precision={wanted}; device 'npu' uses {used} inst"):
            check_honoured(compiled, options, "npu")
    check_honoured(compiled, RuntimeOptions(), "npu")


def test_streams_that_the_device_lacks_are_refused(small_openvino_bundle: Path) -> None:
    with pytest.raises(InputError, match="streams=4; device 'npu' uses 2 instead"):
        check_honoured(Compiled("fp32", streams=2), RuntimeOptions(streams=4), "npu")
    with pytest.raises(InputError, match=r"streams=200; device 'cpu' uses \d+ instead"):
        SAM(small_openvino_bundle, options=RuntimeOptions(streams=200))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"precision": "f8"}, "precision=f8; expected one of fp32, tf32, bf16, bf16-encoder, fp16"),
        ({"performance_hint": "fast"}, "performance_hint=fast; expected one of latency"),
        ({"streams": 0}, "streams=0; expected a whole number from 1 to 256"),
        ({"memory_arena": False}, "memory_arena=False; runtime 'openvino' has no use for it"),
    ],
)
def test_unknown_options(
    small_openvino_bundle: Path, options: dict[str, object], match: str
) -> None:
    with pytest.raises(InputError, match=match):
        SAM(small_openvino_bundle, options=RuntimeOptions(**options))  # type: ignore[arg-type]


def test_what_an_image_took_is_given_back_before_its_prompts(
    small_openvino_bundle: Path, photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    released: list[ov.CompiledModel] = []
    release = ov.CompiledModel.release_memory

    def counted(compiled: ov.CompiledModel) -> None:
        released.append(compiled)
        release(compiled)

    monkeypatch.setattr(ov.CompiledModel, "release_memory", counted)
    with SAM(small_openvino_bundle) as sam:
        for images in (1, 2):
            embedding = sam.encode(photo)
            first, second = (sam.predict(embedding, points=[60, 60]) for _ in range(2))
            np.testing.assert_array_equal(first.data, second.data)
            # The encoder and what prepares for many prompts, and neither for a click.
            assert len(released) == 2 * images


def test_few_shapes_of_prompts_reach_openvino(
    small_openvino_bundle: Path, photo: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps several MB for every new one."""
    seen: set[tuple[int, ...]] = set()
    run = OpenVinoSession.run

    def watched(session: OpenVinoSession, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if "point_labels" in feeds:
            seen.add(feeds["point_labels"].shape)
        return run(session, feeds)

    monkeypatch.setattr(OpenVinoSession, "run", watched)
    with SAM(small_openvino_bundle, threads=1) as sam:
        embedding = sam.encode(photo)
        for count, points in ((1, 1), (3, 2), (3, 5), (5, 6), (7, 4)):
            prompts = [Prompt(points=[[60 + i, 60] for i in range(points)])] * count
            assert len(sam.predict(embedding, prompts=prompts)) == count
    assert seen == {(1, 2), (2, 4), (1, 4), (2, 8), (1, 8), (4, 8)}
