"""LiteRT: stored graphs on the runtime, our side of the converter, and what is refused.

Converting takes minutes and gigabytes: `tests/test_litert_export.py` does it overnight.
`golden/litert` holds what that wrote of :func:`samdeploy.testing.small_model.small_graphs`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")

from ai_edge_litert import schema_py_generated as schema

from samdeploy.bundle import Bundle
from samdeploy.errors import BundleError, ExportError, InputError, RuntimeUnavailableError
from samdeploy.exporters.litert import Converter, LiteRtExporter, LiteRtOptions
from samdeploy.exporters.passes.onnx_narrow import MOST_OPERANDS
from samdeploy.exporters.passes.onnx_rank import MOST_RANK
from samdeploy.exporting import pipeline
from samdeploy.exporting.calibration import COUNT
from samdeploy.exporting.options import chosen_options
from samdeploy.exporting.verify_sam import verify_sessions
from samdeploy.graphs import ALL_ROLES, DECODER, ENCODER, MASK_HEAD
from samdeploy.registry import load_exporter, load_runtime
from samdeploy.runtimes import litert
from samdeploy.runtimes.torch import TorchSession
from samdeploy.schemes import gate
from samdeploy.session import RuntimeOptions, Session
from samdeploy.testing import RuntimeContract
from samdeploy.testing.small_model import answers, feeds_of, small_graphs

pytestmark = pytest.mark.exporting

GOLDEN = Path(__file__).parent / "golden" / "litert"


def opened(path: Path, role: str, device: str = "cpu", **options: Any) -> Session:
    return load_runtime("tflite")().open(
        path, role, device=device, options=RuntimeOptions(**options)
    )


class TestLiteRt(RuntimeContract):
    runtime = "litert"

    @classmethod
    def find_graphs(cls, fixture: Callable[[str], Any]) -> dict[str, Path]:
        return {role: GOLDEN / f"{role}.tflite" for role in ALL_ROLES}


@pytest.mark.parametrize("count", [(1, 4), (7, 2)], ids=["one", "divided"])
@pytest.mark.parametrize("role", ALL_ROLES)
def test_it_answers_like_torch(role: str, count: tuple[int, int]) -> None:
    graph, feeds = small_graphs()[role], feeds_of(role, *count)
    found = opened(GOLDEN / f"{role}.tflite", role).run(feeds)
    for name, expected in answers(graph, feeds).items():
        if found[name].shape == expected.shape:  # more values where tokens are filled up
            assert np.abs(found[name] - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.tflite")), ids=lambda path: path.stem)
def test_files_are_what_accelerators_take(path: Path) -> None:
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    for graph in model.subgraphs:
        shaped = [tensor for tensor in graph.tensors if tensor.shape is not None]
        assert max(len(tensor.shape) for tensor in shaped) <= MOST_RANK
        assert all(
            tensor.shapeSignature is None or -1 not in tensor.shapeSignature for tensor in shaped
        )
        widths = [max(len(each.inputs), len(each.outputs)) for each in graph.operators]
        assert max(widths) <= MOST_OPERANDS
        codes = {model.operatorCodes[each.opcodeIndex].builtinCode for each in graph.operators}
        assert schema.BuiltinOperator.BROADCAST_TO not in codes  # GPUs know none


def floats_inside(path: Path) -> int:
    """How many tensors are float that neither come in nor go out."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    return sum(
        tensor.type == schema.TensorType.FLOAT32
        for graph in model.subgraphs
        for index, tensor in enumerate(graph.tensors)
        if index not in (*graph.inputs, *graph.outputs)
    )


def test_an_encoder_of_integers() -> None:
    path = GOLDEN / "integers" / "encoder.tflite"
    assert floats_inside(path) == 0 < floats_inside(GOLDEN / "encoder.tflite")
    reference = {role: TorchSession(small_graphs()[role], "cpu") for role in (ENCODER, DECODER)}
    candidate = {**reference, ENCODER: opened(path, ENCODER)}
    found = verify_sessions(reference, candidate, images=1)
    assert found.embedding_cosine >= gate("int8")[1]  # masks of random weights mean little
    assert found.not_finite == 0


def test_calls_take_turns() -> None:
    session = opened(GOLDEN / "encoder.tflite", ENCODER, threads=1)
    images = [feeds_of(ENCODER, 1, 1)["image"] * n for n in (0.2, 0.4, 0.6, 0.8)]
    expected = [session.run({"image": image})["image_embeddings"] for image in images]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda image: session.run({"image": image}), images * 3))
    for answer, wanted in zip(found, expected * 3, strict=True):
        np.testing.assert_array_equal(answer["image_embeddings"], wanted)


def flipped(path: Path, target: Path) -> Path:
    """A copy in which the highest bit of the exponent of one weight is turned."""
    content = bytearray(path.read_bytes())
    model = schema.ModelT.InitFromPackedBuf(bytes(content), 0)
    weights = max((bytes(b.data) for b in model.buffers if b.data is not None), key=len)
    assert weights in content
    content[content.index(weights) + len(weights) // 8 * 4 + 3] ^= 0x40
    target.write_bytes(content)
    return target


def test_a_flipped_weight_fails_the_verification(tmp_path: Path) -> None:
    reference = {role: TorchSession(small_graphs()[role], "cpu") for role in (ENCODER, DECODER)}
    whole = GOLDEN / "encoder.tflite"
    for path, passes in ((whole, True), (flipped(whole, tmp_path / "encoder.tflite"), False)):
        candidate = {**reference, ENCODER: opened(path, ENCODER)}
        assert verify_sessions(reference, candidate, images=1).passed is passes


def test_devices_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(litert, "CDLL", missing)
    state = litert.LiteRtRuntime.availability()
    if sys.platform == "linux":
        assert state.devices == ("cpu",)
        assert state.absent()["gpu"].reason == "there is no Vulkan library"
        with pytest.raises(
            RuntimeUnavailableError, match=r"'gpu' .* \(there is no Vulkan library\)"
        ):
            opened(GOLDEN / "encoder.tflite", ENCODER, "gpu")
    with pytest.raises(RuntimeUnavailableError, match="device 'nnapi' is not one of LiteRT here"):
        opened(GOLDEN / "encoder.tflite", ENCODER, "nnapi")


def test_a_gpu_that_cannot_run_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("ERROR: [x.h:1]\n Some ops are not accelerated.")

    monkeypatch.setattr(litert, "CDLL", lambda name: None)
    monkeypatch.setattr(litert.CompiledModel, "from_file", fails)
    with pytest.raises(RuntimeUnavailableError, match=r"not accelerated\.\); pass device=cpu"):
        opened(GOLDEN / "encoder.tflite", ENCODER, "gpu")
    with pytest.raises(InputError, match="precision=bf16; LiteRT's gpu computes in fp32 or fp16"):
        opened(GOLDEN / "encoder.tflite", ENCODER, "gpu", precision="bf16")


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    broken = tmp_path / "encoder.tflite"
    broken.write_bytes(b"not a model")
    with pytest.raises(BundleError, match=r"LiteRT cannot open '.*encoder\.tflite'"):
        opened(broken, ENCODER)
    with pytest.raises(InputError, match="streams=2; runtime 'litert' has no use for it"):
        opened(GOLDEN / "encoder.tflite", ENCODER, streams=2)


def export(folder: Path, role: str = MASK_HEAD, **options: Any) -> Mapping[str, Any]:
    exporter = LiteRtExporter()
    chosen = LiteRtOptions(max_prompts=1, max_points=4, **options)
    return exporter.export(small_graphs()[role], folder, chosen).options


def converter(folder: Path, code: str) -> str:
    """A program in the place of the converter's Python."""
    script = folder / "python"
    script.write_text(f"#!{sys.executable}\n{code}")
    script.chmod(0o755)
    return str(script)


def test_the_converter_is_asked_file_by_file(tmp_path: Path) -> None:
    python = converter(
        tmp_path,
        "import json, shutil, sys\n"
        "for line in sys.stdin:\n"
        "    order = json.loads(line)\n"
        "    assert order['inputs'][0] == 'image_features' and order['weights'] == 'fp16', order\n"
        f"    shutil.copy('{GOLDEN}/mask_head.tflite', order['tflite'])\n"
        "    print(json.dumps({'tools': {'litert-torch': '9.9'}}), flush=True)\n",
    )
    folder = tmp_path / "bundle"
    folder.mkdir()
    told = export(folder, converter=python, half=True)
    assert told["tools"] == {"litert-torch": "9.9"}
    shapes = {"mask_head": [1, 4], "mask_head_click": [1, 2]}
    assert told["prompts_and_points"] == shapes
    assert {path.stem for path in folder.iterdir()} == shapes.keys()
    feeds = feeds_of(MASK_HEAD, 1, 4)
    found = opened(folder / "mask_head.tflite", MASK_HEAD).run(feeds)["low_res_masks"]
    np.testing.assert_allclose(
        found, answers(small_graphs()[MASK_HEAD], feeds)["low_res_masks"], atol=1e-5
    )


@pytest.mark.parametrize(
    ("role", "options", "weights", "images"),
    [
        (ENCODER, {}, "int8", 0),
        (ENCODER, {"integers": True}, "integers", COUNT),
        (ENCODER, {"weights_only": True}, "int8_weights", 0),
        (MASK_HEAD, {"integers": True}, "fp32", 0),
        (MASK_HEAD, {"half": True}, "fp16", 0),
    ],
)
def test_what_is_made_of_int8(
    tmp_path: Path, role: str, options: dict[str, bool], weights: str, images: int
) -> None:
    python = converter(
        tmp_path,
        "import json, numpy, sys\n"
        "for line in sys.stdin:\n"
        "    order = json.loads(line)\n"
        "    seen = {numpy.load(each).shape for each in order['images']}\n"
        "    told = [order['weights'], len(order['images']), *map(list, seen)]\n"
        "    print(json.dumps({'tools': {'told': told}}), flush=True)\n",
    )
    told = export(tmp_path, role, converter=python, int8=True, **options)["tools"]["told"]
    assert told == [weights, images, *[[1, 3, 64, 64]] * (images > 0)]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"integers": True}, "integers=True; it is for int8=True without weights_only"),
        ({"integers": True, "int8": True, "weights_only": True}, "integers=True; it is for int8"),
        ({"data": f"{GOLDEN.parent}/*/*.png", "int8": True}, "data= is for integers=True"),
    ],
)
def test_integers_are_int8_with_images(options: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        LiteRtOptions(**options)


@pytest.mark.parametrize("integers", [False, True])
def test_only_what_calibrates_says_so(
    tmp_path: Path, small_checkpoint: Path, small_config: Path, integers: bool
) -> None:
    python = converter(
        tmp_path,
        "import json, pathlib, sys\n"
        "for line in sys.stdin:\n"
        "    pathlib.Path(json.loads(line)['tflite']).touch()\n"
        "    print(json.dumps({'tools': {}}), flush=True)\n",
    )
    said: list[str] = []
    folder = pipeline.export(
        small_checkpoint, "litert", output=tmp_path / "bundle", config=small_config, verify="off",
        progress=said.append, max_prompts=1, converter=python, int8=True, integers=integers,
    )  # fmt: skip
    assert any("calibrating" in line for line in said) is integers
    assert Bundle.open(folder).manifest.precision == ("integers" if integers else "int8")


@pytest.mark.parametrize(
    ("code", "match"),
    [
        ("raise ModuleNotFoundError('litert_torch')", r"mask_head\.tflite \(.*litert_torch"),
        ("import sys; sys.exit(3)", r"it ended with code 3"),
        (
            'input(); print(\'{"error": "Lowering\\\\nfailed"}\', flush=True)',
            r"\(Lowering failed\)",
        ),
    ],
    ids=["not installed", "ended", "failed"],
)
def test_a_converter_that_fails(tmp_path: Path, code: str, match: str) -> None:
    process = Converter(converter(tmp_path, code))
    with pytest.raises(ExportError, match=match):
        process.convert(tflite="mask_head.tflite")


def test_without_a_converter_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"converter=nowhere/python; .*pip install litert-torch"):
        LiteRtOptions(converter="nowhere/python")
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "samdeploy.exporters.litert.find_spec",
        lambda name: None if name == "litert_torch" else found(name),
    )
    with pytest.raises(RuntimeUnavailableError, match=r"pass converter=litert-env/bin/python"):
        export(tmp_path)
    with pytest.raises(InputError, match="bf16=True; format=litert has no use for it"):
        chosen_options(load_exporter("tflite"), {"bf16": True})
