"""Prompts that the host turns into tokens: the same answers, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file, save_file

from samdeploy import SAM
from samdeploy.bundle import Bundle, file_record, read_manifest, write_manifest
from samdeploy.errors import BundleError, InputError
from samdeploy.exporters.onnx import OnnxOptions
from samdeploy.exporting.host_prompts import encoding_of, take_tokens
from samdeploy.exporting.verify import verify_bundle
from samdeploy.families import dynamic, named_shape, per_call, tensor_names
from samdeploy.graphs import DECODER, HOSTED, PROMPTS_FILE, SCORER
from samdeploy.host_prompts import PromptEncoding, as_asked, hosted
from samdeploy.models.config import PromptEncoderConfig
from samdeploy.models.prompt_encoder import PromptEncoder
from samdeploy.scenes import Scene
from samdeploy.session import Array
from samdeploy.testing.small_model import small_graphs
from tests.conftest import ExportOnce
from tests.hq_models import config_of, write_checkpoint

FIXED: dict[str, Any] = {"profile": "npu", "max_prompts": 4, "max_points": 6}


# ---- The arithmetic


def encoder_and_encoding() -> tuple[PromptEncoder, PromptEncoding]:
    torch.manual_seed(5)
    encoder = PromptEncoder(PromptEncoderConfig(mask_in_chans=4), 32, 16, 256)
    for parameter in encoder.parameters():
        parameter.data.normal_()
    return encoder, encoding_of(encoder)


ENCODER, ENCODING = encoder_and_encoding()


@settings(deadline=None)  # torch's first call takes long
@given(
    arrays(np.float32, (3, 4, 2), elements=st.floats(0, 256, width=32)),
    arrays(np.float32, (3, 4), elements=st.sampled_from([-2, -1, 0, 1, 2, 3])),
)
def test_tokens_are_those_of_the_prompt_encoder(coords: Array, labels: Array) -> None:
    found = ENCODING(coords, labels)
    with torch.no_grad():
        expected = ENCODER.tokens(torch.from_numpy(coords), torch.from_numpy(labels))
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs.numpy(), atol=3e-5)
    assert not found[0][labels == -2].any()


def test_weights_are_read_as_they_were_written(tmp_path: Path) -> None:
    ENCODING.write(tmp_path / PROMPTS_FILE)
    found = PromptEncoding.read(tmp_path / PROMPTS_FILE)
    assert found.image_size == 256
    np.testing.assert_array_equal(found.frequencies, ENCODING.frequencies)
    np.testing.assert_array_equal(found.embeddings, ENCODING.embeddings)


def test_inputs_there_and_back() -> None:
    inputs = small_graphs()[DECODER].inputs
    there = hosted(inputs, 32)
    assert [spec.name for spec in there if spec not in inputs] == [*HOSTED.values()]
    assert as_asked(there) == inputs
    for asked, made in HOSTED.items():
        assert dynamic(made) == dynamic(asked) == ("prompts", "points")
        assert per_call(made) == per_call(asked)
        assert len(named_shape(made)) == len(next(s for s in there if s.name == made).shape)
        assert made in tensor_names(SCORER)[0]


# ---- In a bundle


@pytest.fixture(scope="module")
def hosted_bundle(export_once: ExportOnce, small_checkpoint: Path, small_config: Path) -> Path:
    return export_once(
        "small_host_prompts", small_checkpoint, config=small_config, host_prompts=True, **FIXED
    )


@pytest.fixture
def bundle(hosted_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(hosted_bundle, tmp_path / "bundle"))


def answers(bundle: Path, image: Array, runtime: str | None = None) -> list[Array]:
    """Scores and masks of clicks, a box with points, a mask, and of the whole image."""
    points = np.random.default_rng(5).uniform(0, 180, (7, 3, 2)).tolist()
    with SAM(bundle, runtime=runtime) as sam:
        clicks = sam.predict(image, points=points, labels=[[1, 0, 1]] * 7)
        box = sam.predict(image, bboxes=[20, 20, 120, 100], points=[[[60, 60], [70, 30]]])
        again = sam.predict(image, points=[60, 60], masks=clicks.low_res_logits[0])
        whole = sam.generate(image, points_stride=4, conf_thres=0.0)
    return [each for one in (clicks, box, again, whole) for each in (one.scores, one.data)]


def same(found: list[Array], expected: list[Array]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        if ours.dtype == bool:
            assert np.count_nonzero(ours != theirs) <= 20
        else:
            np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.exporting
@pytest.mark.slow
class TestBundle:
    @pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
    def test_it_answers_like_one_that_takes_points(
        self, hosted_bundle: Path, small_bundle: Path, scene: Scene, runtime: str
    ) -> None:
        assert read_manifest(hosted_bundle).verification.passed
        same(answers(hosted_bundle, scene.image, runtime), answers(small_bundle, scene.image))

    def test_core_ml_too(
        self, export_once: ExportOnce, small_checkpoint: Path, small_config: Path,
        small_coreml_bundle: Path, scene: Scene,
    ) -> None:  # fmt: skip
        options: dict[str, Any] = {"config": small_config, "host_prompts": True, "max_prompts": 8}
        made = export_once("small_coreml_host_prompts", small_checkpoint, "coreml", **options)
        with SAM(made, runtime="mil") as sam, SAM(small_coreml_bundle, runtime="mil") as points:
            for ask in ({"points": [60, 60]}, {"bboxes": [20, 20, 120, 100]}):
                one, other = (each(scene.image, **ask)[0] for each in (sam, points))
                np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
                assert np.count_nonzero(one.data != other.data) <= 20

    def test_no_graph_looks_at_a_coordinate_or_a_label(
        self, hosted_bundle: Path, export_once: ExportOnce, small_checkpoint: Path,
        small_config: Path,
    ) -> None:  # fmt: skip
        plain = export_once("small_npu", small_checkpoint, config=small_config, **FIXED)

        def operators(folder: Path) -> set[str]:
            files = [*folder.glob("decoder*.onnx"), *folder.glob("scorer*.onnx")]
            return {node.op_type for path in files for node in onnx.load(path).graph.node}

        left_out = operators(plain) - operators(hosted_bundle)
        assert {"Equal", "GreaterOrEqual"} & left_out
        assert not {"Equal", "Greater", "GreaterOrEqual", "Less", "Sin", "Cos"} & operators(
            hosted_bundle
        )
        graphs = {graph.role: graph for graph in read_manifest(hosted_bundle).graphs}
        inputs = {tensor.name for tensor in graphs[SCORER].inputs}
        assert {*HOSTED.values()} <= inputs
        assert not {*HOSTED} & inputs

    def test_other_families(
        self, export_once: ExportOnce, sam2_checkpoint: Path, sam2_config: dict[str, Any],
        tmp_path_factory: pytest.TempPathFactory, scene: Scene,
    ) -> None:  # fmt: skip
        hq = write_checkpoint("small_vit", tmp_path_factory.mktemp("hq"))
        for name, checkpoint, config in (
            ("sam2", sam2_checkpoint, sam2_config),
            ("hq", hq, config_of("small_vit")),
        ):
            made = export_once(
                f"{name}_host_prompts", checkpoint, config=config, host_prompts=True, **FIXED
            )
            plain = export_once(f"{name}_onnx", checkpoint, "onnx", config=config)
            same(answers(made, scene.image), answers(plain, scene.image))

    def test_with_kernels_too(
        self, export_once: ExportOnce, small_checkpoint: Path, small_config: Path,
        small_bundle: Path, scene: Scene,
    ) -> None:  # fmt: skip
        both = export_once(
            "small_host_prompts_kernels", small_checkpoint, config=small_config, kernels=True,
            host_prompts=True, **FIXED,
        )  # fmt: skip
        with SAM(both) as sam:
            assert sam.info(verbose=False)["arithmetic"] == "kernels"
        same(answers(both, scene.image), answers(small_bundle, scene.image))

    def test_one_changed_weight_fails_the_verification(
        self, bundle: Path, small_checkpoint: Path, small_config: Path
    ) -> None:
        weights = load_file(bundle / PROMPTS_FILE)
        weights["frequencies"][0, 3] += 5
        rewrite(bundle, weights)
        assert not verify_bundle(bundle, small_checkpoint, config=small_config).passed


# ---- What is refused


def test_without_the_profile() -> None:
    with pytest.raises(InputError, match="host_prompts=True; it is for profile=npu"):
        OnnxOptions(host_prompts=True)


def test_a_model_without_a_prompt_encoder(tmp_path: Path) -> None:
    encoder = {"encoder": small_graphs()["mask_head"]}
    with pytest.raises(InputError, match=r"prompt encoder like SAM's, and 'yolo.pt' has none"):
        take_tokens(encoder, tmp_path, "yolo.pt")
    assert not list(tmp_path.iterdir())


def rewrite(folder: Path, weights: dict[str, Array], told: dict[str, str] | None = None) -> None:
    save_file(weights, folder / PROMPTS_FILE, {"image_size": "256"} if told is None else told)
    record = file_record(folder, Path(PROMPTS_FILE))
    write_manifest(folder, msgspec.structs.replace(read_manifest(folder), prompts=record))


def narrower(weights: dict[str, Array]) -> None:
    weights.update(
        frequencies=weights["frequencies"][:, :-1].copy(),
        embeddings=weights["embeddings"][:, :-2].copy(),
    )


def doubles(weights: dict[str, Array]) -> None:
    weights["frequencies"] = weights["frequencies"].astype(np.float64)


@pytest.mark.exporting
@pytest.mark.slow
class TestRefused:
    @pytest.mark.parametrize(
        ("change", "told", "expected"),
        [
            (lambda weights: weights.pop("embeddings"), None, "does not tell .*'embeddings'"),
            (narrower, None, r"makes tokens of 62 channels, 'decoder.*' takes 64"),
            (doubles, None, "in float32"),
            (lambda weights: weights.update(embeddings=np.float32(3)), None, r"embeddings \[\]"),
            (lambda weights: None, {}, "does not tell .*'image_size'"),
            (lambda weights: None, {"image_size": "-4"}, "image_size=-4"),
        ],
    )
    def test_weights_of_something_else(
        self,
        bundle: Path,
        change: Callable[[dict[str, Array]], Any],
        told: dict[str, str] | None,
        expected: str,
    ) -> None:
        weights = load_file(bundle / PROMPTS_FILE)
        change(weights)
        rewrite(bundle, {name: np.asarray(each) for name, each in weights.items()}, told)
        with pytest.raises(BundleError, match=expected):
            SAM(bundle)

    def test_a_file_that_the_manifest_does_not_list(
        self, bundle: Path, small_bundle: Path, tmp_path: Path
    ) -> None:
        other = Path(shutil.copytree(small_bundle, tmp_path / "other"))
        shutil.copy(bundle / PROMPTS_FILE, other)
        with pytest.raises(BundleError, match=f"{PROMPTS_FILE} that its bundle.json does not list"):
            Bundle.open(other)
        (bundle / PROMPTS_FILE).write_bytes(b"{}")
        with pytest.raises(BundleError, match=PROMPTS_FILE):
            Bundle.open(bundle)
        write_manifest(bundle, msgspec.structs.replace(read_manifest(bundle), prompts=None))
        (bundle / PROMPTS_FILE).unlink()
        with pytest.raises(BundleError, match="cannot be read"):
            SAM(bundle)
