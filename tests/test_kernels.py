"""samdeploy's own kernels beside the graphs whose place they take, and what they refuse."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from samdeploy import SAM
from samdeploy.bundle import Bundle, FileRecord, file_record, read_manifest, write_manifest
from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError, VerificationError
from samdeploy.exporting.kernels import write_kernels
from samdeploy.exporting.pipeline import export
from samdeploy.exporting.verify import verify_bundle
from samdeploy.graphs import ALL_ROLES, KERNELS_FILE, MASK_HEAD, PREPARE, SCORER
from samdeploy.models import GraphModule
from samdeploy.models.families import load_model
from samdeploy.opening import open_model
from samdeploy.precision import KERNELS
from samdeploy.registry import RUNTIMES, availability, load_runtime
from samdeploy.runtimes.native_library import instructions
from samdeploy.scenes import generate_scene
from samdeploy.session import Array, RuntimeOptions, Session
from tests.conftest import ExportOnce
from tests.hq_models import config_of, write_checkpoint

pytestmark = pytest.mark.exporting

#: Of float32 against float64, relative to the largest value.
CLOSE = 2e-5


def close(found: Array, expected: Array) -> bool:
    return bool(np.abs(found - expected).max() <= CLOSE * np.abs(expected).max())


@pytest.fixture(scope="session")
def kernel_bundle(export_once: ExportOnce) -> Path:
    """The shipped model in ONNX, with kernels. Copy it before changing anything."""
    return export_once("sam_tiny_kernels", "sam_tiny.pt", kernels=True)


@pytest.fixture
def bundle(kernel_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kernel_bundle, tmp_path / "bundle"))


def test_they_were_built_and_know_this_processor() -> None:
    state = availability(RUNTIMES, "native")
    assert state.usable, state.reason
    assert state.version == instructions()


# ---- The same answers as the graphs


class Case:
    """The split decoder of a model in float64, and its kernels."""

    def __init__(self, checkpoint: Path, folder: Path, **options: Any) -> None:
        loaded = load_model(checkpoint, **options)
        self.graphs, facts = loaded.graphs, loaded.facts
        write_kernels(self.graphs, facts.image_size, folder)
        self.size = facts.image_size
        for role in (PREPARE, SCORER, MASK_HEAD):
            self.graphs[role].module.double()
        generator = torch.Generator().manual_seed(3)
        image = [
            torch.randn(spec.shape, generator=generator, dtype=torch.float64)
            for spec in self.graphs[PREPARE].inputs
        ]
        self.prepared = run(self.graphs[PREPARE], image)
        self.file = folder / KERNELS_FILE

    def kernels(self, role: str, threads: int = 1) -> Session:
        options = RuntimeOptions(threads=threads)
        return load_runtime("native")().open(self.file, role, device="cpu", options=options)


def run(graph: GraphModule, inputs: list[Tensor]) -> dict[str, Tensor]:
    with torch.no_grad():
        answer = graph.module(*inputs)
    answer = (answer,) if isinstance(answer, Tensor) else answer
    return {spec.name: value for spec, value in zip(graph.outputs, answer, strict=True)}


def single(tensors: dict[str, Tensor], role: Session) -> dict[str, Array]:
    names = [spec.name for spec in role.inputs]
    return {name: tensors[name].float().contiguous().numpy() for name in names}


@pytest.fixture(scope="session", params=["sam", "sam in part tiles", "tiny", "sam2"])
def case(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    small_checkpoint: Path,
    small_config: Path,
    sam2_checkpoint: Path,
    sam2_config: dict[str, Any],
) -> Case:
    folder = tmp_path_factory.mktemp("kernels")
    if request.param == "tiny":
        return Case(Path("samdeploy/assets/sam_tiny.pt").resolve(), folder)
    if request.param == "sam2":
        return Case(sam2_checkpoint, folder, config=sam2_config)
    # 14 x 14 image tokens are three tiles and a part of one.
    size = 224 if "part" in request.param else None
    return Case(small_checkpoint, folder, config=small_config, imgsz=size)


@pytest.mark.parametrize(("prompts", "points"), [(1, 2), (5, 2), (2, 9)])
def test_kernels_answer_like_the_graphs_in_float64(case: Case, prompts: int, points: int) -> None:
    generator = torch.Generator().manual_seed(prompts)
    coords = torch.rand(prompts, points, 2, generator=generator, dtype=torch.float64) * case.size
    labels = torch.arange(prompts * points).reshape(prompts, points) % 6 - 2.0  # all that there are
    asked = {"point_coords": coords, "point_labels": labels.double()}
    scorer, mask_head = case.kernels(SCORER), case.kernels(MASK_HEAD)
    given = {**case.prepared, **asked}
    expected = run(case.graphs[SCORER], [given[s.name] for s in case.graphs[SCORER].inputs])
    found = scorer.run(single(given, scorer))
    # Values are others, since they leave out one token a head; what they make of the image is not.
    image = "bnr,bnc->brc"
    changed = np.einsum(image, found["mask_weights"], found["mask_values"], dtype=np.float64)
    wanted = torch.einsum(image, expected["mask_weights"], expected["mask_values"]).numpy()
    assert close(changed, wanted)
    for name in set(expected) - {"mask_weights", "mask_values"}:
        assert close(found[name], expected[name].numpy()), name

    rows, columns = case.prepared["image_features"].shape[:2]
    for height, width in ((rows, columns), (rows - 3, columns - 5)):
        whole = {**case.prepared, **expected}
        theirs = {**case.prepared, **{name: torch.from_numpy(a) for name, a in found.items()}}
        for tensors in (whole, theirs):
            for name in case.graphs[MASK_HEAD].inputs:
                key, value = name.name, tensors[name.name]
                if key in ("mask_scale", "mask_weights"):
                    part = value.reshape(prompts, -1, rows, columns)[:, :, :height, :width]
                    tensors[key] = part.reshape(prompts, value.shape[1], -1)
                elif not key.startswith("mask_"):
                    tensors[key] = value[:height, :width]
        masks = run(case.graphs[MASK_HEAD], [whole[s.name] for s in case.graphs[MASK_HEAD].inputs])
        answer = mask_head.run(single(theirs, mask_head))["low_res_masks"]
        assert answer.shape == (prompts, 4, 4 * height, 4 * width)
        assert close(answer, masks["low_res_masks"].numpy())


def test_the_threads_of_a_call_change_no_bit(case: Case) -> None:
    generator = torch.Generator().manual_seed(9)
    asked = {
        "point_coords": torch.rand(7, 2, 2, generator=generator) * case.size,
        "point_labels": torch.tensor([[1.0, -1.0]]).repeat(7, 1),
    }
    feeds = single({**case.prepared, **asked}, case.kernels(SCORER))
    alone, shared = case.kernels(SCORER).run(feeds), case.kernels(SCORER, threads=3).run(feeds)
    for name, values in alone.items():
        np.testing.assert_array_equal(values, shared[name])


@pytest.mark.skipif(instructions() == "avx2", reason="what this processor has is tested above")
def test_kernels_of_narrower_instructions_answer_alike() -> None:
    tests = f"{__file__}::test_kernels_answer_like_the_graphs_in_float64"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", tests],
        env={**os.environ, "SAMDEPLOY_KERNELS": "avx2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 passed" in done.stdout


def test_a_processor_that_they_do_not_know(bundle: Path) -> None:
    code = (
        "import samdeploy; from samdeploy.session import RuntimeOptions;"
        f"sam = samdeploy.SAM({str(bundle)!r});"
        "print(sam.info(verbose=False)['arithmetic']);"
        f"samdeploy.SAM({str(bundle)!r}, options=RuntimeOptions(precision='kernels'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SAMDEPLOY_KERNELS": "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "fp32"
    assert "none of avx512, avx2 and neon; leave precision=kernels out" in done.stderr


# ---- In a bundle


def test_a_bundle_with_kernels_runs_them_and_answers_alike(kernel_bundle: Path) -> None:
    scene = generate_scene(3, (200, 300)).image
    graphs = SAM(kernel_bundle, options=RuntimeOptions(precision="fp32"))
    kernels = SAM(kernel_bundle)
    assert kernels.info(verbose=False)["arithmetic"] == KERNELS
    providers = kernels.info(verbose=False)["providers"]
    assert [role for role in ALL_ROLES if "kernels" in providers[role]] == [SCORER, MASK_HEAD]
    assert read_manifest(kernel_bundle).verifications[KERNELS].passed
    ask: dict[str, Any]
    for ask in ({"points": [150, 90]}, {"bboxes": [40, 40, 160, 150]}, {"points_stride": 12}):
        one, other = graphs(scene, **ask)[0], kernels(scene, **ask)[0]
        assert len(one) == len(other) > 0
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-5)
        assert (one.data != other.data).mean() < 1e-5


def test_any_other_format_of_arithmetic_is_asked_for_by_name(kernel_bundle: Path) -> None:
    opened = open_model(
        kernel_bundle, runtime="openvino", options=RuntimeOptions(precision=KERNELS)
    )
    try:
        assert "OpenVINO" in opened.sessions[PREPARE].provider
        assert "kernels" in opened.sessions[SCORER].provider
    finally:
        opened.close()


def test_one_changed_weight_fails_the_verification(bundle: Path) -> None:
    path = bundle / KERNELS_FILE
    weights = load_file(path)
    changed = weights["mask_decoder.transformer.layers.1.cross_attn_image_to_token.q_proj.weight"]
    changed[3, 5] += 1e4
    rewrite(path, weights)
    record = verify_bundle(bundle, "sam_tiny.pt", precision=KERNELS)
    assert not record.passed
    assert record.arithmetic == KERNELS


def test_an_export_whose_kernels_miss_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from samdeploy.exporting import pipeline

    def broken(*arguments: Any) -> None:
        write_kernels(*arguments)
        path = arguments[-1] / KERNELS_FILE
        weights = load_file(path)
        weights["mask_decoder.output_upscaling.3.bias"] += 100
        rewrite(path, weights)

    monkeypatch.setattr(pipeline, "write_kernels", broken)
    output = tmp_path / "bundle"
    with pytest.raises(VerificationError, match="leave kernels out"):
        export("sam_tiny.pt", kernels=True, output=output)
    assert not output.exists()


def rewrite(path: Path, weights: dict[str, Array], told: dict[str, str] | None = None) -> None:
    """Another file of weights, and if it is of a bundle, in its manifest."""
    save_file(weights, path, {"image_size": "256", "heads": "8"} if told is None else told)
    relist(path)


def relist(path: Path) -> None:
    folder = path.parent
    if (folder / "bundle.json").exists():
        record = file_record(folder, Path(KERNELS_FILE))
        write_manifest(folder, msgspec.structs.replace(read_manifest(folder), kernels=record))


# ---- What they refuse


def test_a_bundle_without_kernels(tiny_bundle: Path) -> None:
    with pytest.raises(InputError, match=r"exported without kernels, .* kernels=True"):
        SAM(tiny_bundle, options=RuntimeOptions(precision=KERNELS))
    assert SAM(tiny_bundle).info(verbose=False)["arithmetic"] == "fp32"


def test_another_device(kernel_bundle: Path) -> None:
    options = RuntimeOptions(precision=KERNELS)
    with pytest.raises(InputError, match=r"device=cuda; .* pass device=cpu"):
        open_model(kernel_bundle, device="cuda", options=options)


def test_positions_of_another_part_of_the_image(case: Case) -> None:
    mask_head = case.kernels(MASK_HEAD)
    rows, columns = case.prepared["image_features"].shape[:2]
    sides = {"prompts": 1, "rows": rows, "columns": columns, "values": 3, "positions": 7}
    feeds = {
        spec.name: np.zeros([sides.get(str(side), side) for side in spec.shape], np.float32)
        for spec in mask_head.inputs
    }
    with pytest.raises(InputError, match=f"of 7 positions; expected {rows * columns}"):
        mask_head.run(feeds)


def test_a_graph_that_they_are_not(kernel_bundle: Path) -> None:
    runtime = load_runtime("native")()
    file, options = kernel_bundle / KERNELS_FILE, RuntimeOptions()
    with pytest.raises(InputError, match=r"no encoder graph; pass precision=kernels"):
        runtime.open(file, "encoder", device="cpu", options=options)
    with pytest.raises(RuntimeUnavailableError, match="device 'cuda'"):
        runtime.open(file, SCORER, device="cuda", options=options)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda w: w.pop("mask_decoder.iou_token.weight"), "no tensor 'mask_decoder.iou_token.wei"),
        (
            lambda w: w.update({"mask_decoder.mask_tokens.weight": np.zeros((4, 64), np.float32)}),
            "64 channels|another shape",
        ),
        (lambda w: w.clear(), "there is no tensor"),
        (
            lambda w: w.update(
                {"prompt_encoder.not_a_point_embed.weight": np.zeros(3, np.float32)}
            ),
            "another shape",
        ),
    ],
)
def test_weights_of_something_else(bundle: Path, change: Any, expected: str) -> None:
    weights = load_file(bundle / KERNELS_FILE)
    change(weights)
    rewrite(bundle / KERNELS_FILE, weights)
    with pytest.raises(BundleError, match=expected):
        SAM(bundle)


@pytest.mark.parametrize(
    "told",
    [{}, {"heads": "8"}, {"image_size": "256", "heads": "0"}, {"image_size": "1e9", "heads": "8"},
     {"image_size": "256", "heads": "7"}, {"image_size": "512", "heads": "8"}],
)  # fmt: skip
def test_a_file_that_tells_another_model(bundle: Path, told: dict[str, str]) -> None:
    rewrite(bundle / KERNELS_FILE, load_file(bundle / KERNELS_FILE), told)
    with pytest.raises(BundleError, match="export"):
        SAM(bundle)


@pytest.mark.parametrize("content", [b"", b"not a file of tensors", b"\xff" * 64])
def test_a_file_of_something_else(bundle: Path, content: bytes) -> None:
    (bundle / KERNELS_FILE).write_bytes(content)
    with pytest.raises(BundleError, match=KERNELS_FILE):
        SAM(bundle)  # the hash is another
    relist(bundle / KERNELS_FILE)
    with pytest.raises(BundleError, match=f"{KERNELS_FILE}' cannot be read"):
        SAM(bundle)


def test_a_file_elsewhere(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    assert manifest.kernels is not None
    moved = FileRecord("../kernels.safetensors", manifest.kernels.bytes, manifest.kernels.sha256)
    write_manifest(bundle, msgspec.structs.replace(manifest, kernels=moved))
    with pytest.raises(BundleError, match=r"has '\.\./kernels.*' where kernels.* is expected"):
        Bundle.open(bundle)


def test_a_file_that_nobody_lists(bundle: Path) -> None:
    write_manifest(bundle, msgspec.structs.replace(read_manifest(bundle), kernels=None))
    for precision in ("fp32", KERNELS):
        with pytest.raises(BundleError, match=f"{KERNELS_FILE} that its bundle.json does not list"):
            SAM(bundle, options=RuntimeOptions(precision=precision))


def test_exports_that_have_no_kernels(tmp_path: Path) -> None:
    hq, config = write_checkpoint("small_light", tmp_path), config_of("small_light")
    with pytest.raises(InputError, match="decoders of SAM and SAM 2"):
        export(hq, kernels=True, config=config, output=tmp_path / "hq")
    hq.unlink()
    with pytest.raises(InputError, match="layout=anylabeling kernels=True"):
        export("sam_tiny.pt", layout="anylabeling", kernels=True, output=tmp_path / "laid")
    with pytest.raises(InputError, match="kernels"):
        export("sam_tiny.pt", "mnn", kernels=True, output=tmp_path / "mnn")
    assert not any(tmp_path.iterdir())
