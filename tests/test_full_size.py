"""The official architectures at their full size, 1024 pixels, in every format.

Weights are a function of key and shape, so that the official implementation's outputs for them
could be stored: what a bundle answers is compared with those, not only with our own torch modules.
"""

from __future__ import annotations

import json
import math
import zlib
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from samdeploy.bundle import Bundle
from samdeploy.contracts import names_of
from samdeploy.cuda_driver import find_gpus
from samdeploy.exporting.pipeline import export
from samdeploy.graphs import ALL_ROLES, SAM_CONTRACT
from samdeploy.prompts import Prompt
from samdeploy.runtimes.tensorrt_sidecar import read_sidecar
from samdeploy.sam import SAM
from samdeploy.session import RuntimeOptions

pytestmark = pytest.mark.full_size


def full_size_state(golden: Path, name: str) -> dict[str, object]:
    """Weights that are a function of key and shape; see golden/full_seeded/recipe.json."""
    listed = json.loads((golden / "checkpoints" / f"{name}.json").read_text())["keys"]
    state = {}
    for key, (shape, _) in listed.items():
        random = np.random.RandomState(zlib.crc32(key.encode()))
        last = key.rsplit(".", 1)[-1]
        if last == "num_batches_tracked":
            state[key] = torch.zeros(shape, dtype=torch.int64)
            continue
        if last == "running_var":
            state[key] = torch.from_numpy(np.float32(0.5 + random.random_sample(shape)))
            continue
        values = random.standard_normal(shape)
        if last in ("running_mean", "bias", "rel_pos_h", "rel_pos_w"):
            values = 0.1 * values
        elif last == "pos_embed":
            values = 0.2 * values
        elif last == "attention_biases":
            values = 0.5 * values
        elif last == "positional_encoding_gaussian_matrix":
            pass
        elif len(shape) == 1:
            values = 1 + 0.1 * values
        elif any(
            part in key
            for part in (
                "point_embed",
                "no_mask_embed",
                "not_a_point_embed",
                "iou_token",
                "mask_tokens",
            )
        ):
            values = 0.5 * values
        elif ".output_upscaling." in key:
            values = values / math.sqrt(shape[0])
        else:
            gain = 1.5 if key.endswith("qkv.weight") else 1.0
            values = values * gain / math.sqrt(math.prod(shape[1:]))
        state[key] = torch.from_numpy(values.astype(np.float32))
    return state


def make_checkpoint(golden: Path, folder: Path, name: str) -> Path:
    checkpoint = folder / f"{name}.pt"
    torch.save(full_size_state(golden, name), checkpoint)
    return checkpoint


@pytest.mark.parametrize(
    ("name", "format", "runtime"),
    [
        # Two processes take two at a time: the long ones are for different processes.
        pytest.param("vit_b", "openvino", "openvino", marks=pytest.mark.overnight),
        pytest.param("vit_t", "onnx", "onnxruntime", marks=pytest.mark.overnight),
        pytest.param("vit_b", "onnx", "onnxruntime", marks=pytest.mark.overnight),
        pytest.param("vit_t", "openvino", "openvino", marks=pytest.mark.overnight),
        pytest.param("vit_t", "coreml", "mil", marks=pytest.mark.overnight),
        pytest.param("vit_t", "mnn", "mnn", marks=pytest.mark.overnight),
    ],
)
def test_the_official_outputs(
    golden: Path, photo: NDArray[np.uint8], tmp_path: Path, name: str, format: str, runtime: str
) -> None:
    """Exported, verified against torch, and the same numbers as the official implementation."""
    folder = export(make_checkpoint(golden, tmp_path, name), format, output=tmp_path / "bundle")
    assert Bundle.open(folder).manifest.verification.passed
    expected = np.load(golden / "full_seeded" / f"{name}.npz")
    options = RuntimeOptions(precision="fp32")
    with SAM(folder, runtime=runtime, device="cpu", options=options) as sam:
        embedding = sam.encode(photo, channel_order="rgb")
        found = {
            "embedding_c16_s2": embedding.image_embeddings[:, ::16, ::2, ::2],
            "embedding_s8": embedding.image_embeddings[:, :, ::8, ::8],
        }
        prompts = {
            "one_point": Prompt(points=[75, 60]),
            "box_neg_point": Prompt(points=[38, 102], labels=[0], box=[5, 70, 70, 132]),
        }
        for prompt_name, prompt in prompts.items():
            single = sam.predict(embedding, prompts=[prompt])
            multi = sam.predict(embedding, prompts=[prompt], multimask=True)
            assert single.low_res_logits is not None
            assert multi.low_res_logits is not None
            logits = np.concatenate([single.low_res_logits, multi.low_res_logits])
            found[f"{prompt_name}/low_res_logits_stride8"] = logits[None, :, ::8, ::8]
            scores = np.concatenate([single.scores, multi.scores])
            found[f"{prompt_name}/iou_predictions"] = scores[None]
    for key, values in found.items():
        assert np.abs(values - expected[key]).max() <= 1e-4 * np.abs(expected[key]).max(), key


@pytest.mark.skipif(bool(find_gpus()[0]), reason="with a GPU the engines are run instead")
@pytest.mark.overnight
@pytest.mark.parametrize("half", [False, True])
def test_mobile_sam_to_tensorrt(golden: Path, tmp_path: Path, half: bool) -> None:
    """Built by TensorRT-RTX and inspected; nothing here can run them."""
    checkpoint = make_checkpoint(golden, tmp_path, "vit_t")
    folder = export(checkpoint, "tensorrt", output=tmp_path / "bundle", half=half)
    manifest = Bundle.open(folder).manifest
    assert (manifest.verification.passed, manifest.verification.mode) == (False, "not run")
    assert [graph.role for graph in manifest.graphs] == list(ALL_ROLES)
    for role in ALL_ROLES:
        engine = folder / f"{role}.engine"
        sidecar, content = read_sidecar(engine), engine.read_bytes()
        assert sidecar.precision == ("fp16" if half else "fp32")
        assert ("float16" in sidecar.layers) == half
        for tensor in chain(*names_of(SAM_CONTRACT.tensors[role])):
            assert tensor.encode() in content
