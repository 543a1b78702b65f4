"""What a model recommends depends on the device that it was opened on."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from samdeploy import opening
from samdeploy.bundle import Bundle
from samdeploy.devices import DEVICES, is_gpu
from samdeploy.whole_image.settings import GPU_BATCH


@pytest.mark.parametrize(
    ("device", "expected"),
    [("cpu", None), ("npu", None), ("cuda", 64), ("cuda:1", 64), ("gpu.0", 64), ("mps", 64)],
)
def test_prompts_of_a_call(small_bundle: Path, device: str, expected: int | None) -> None:
    found = opening._for_device(device, Bundle.open(small_bundle))
    assert found.get("points_batch_size") == expected
    assert found == opening._for_device(device, None)


@pytest.mark.parametrize(("most", "expected"), [(8, 8), (256, GPU_BATCH)])
def test_no_more_than_the_graphs_take(small_bundle: Path, most: int, expected: int) -> None:
    bundle = Bundle.open(small_bundle)
    options = {**bundle.manifest.options, "max_prompts": most}
    made = Bundle(bundle.folder, msgspec.structs.replace(bundle.manifest, options=options))
    assert opening._for_device("cuda", made) == {"points_batch_size": expected}


def test_what_the_model_recommends_comes_first(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "is_gpu", lambda device: True)
    folder = shutil.copytree(small_bundle, tmp_path / "bundle")
    opened = opening.open_model(folder)
    assert opened.whole_image["points_batch_size"] == GPU_BATCH
    opened.close()
    path = folder / "bundle.json"
    manifest = msgspec.json.decode(path.read_bytes())
    manifest["whole_image"]["points_batch_size"] = 7
    path.write_bytes(msgspec.json.encode(manifest))
    opened = opening.open_model(folder)
    assert opened.whole_image["points_batch_size"] == 7
    opened.close()


def test_gpus_are_devices() -> None:
    assert [name for name in DEVICES if is_gpu(name)] == [
        "cuda", "tensorrt", "rtx", "mps", "mlx", "gpu", "rocm", "migraphx", "directml", "webgpu",
        "opencl", "vulkan", "metal",
    ]  # fmt: skip
    assert not is_gpu("auto")
