"""Models and images that many tests share; each is made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from samdeploy.export_pipeline import export
from samdeploy.scenes import Scene, generate_scene

_GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Numbers of the official implementations; see its README."""
    return _GOLDEN


@pytest.fixture(scope="session")
def small_checkpoint() -> Path:
    """A ViT of the SAM family with few parameters, 256 pixels."""
    return _GOLDEN / "sam_vit_small" / "weights.safetensors"


@pytest.fixture(scope="session")
def small_config() -> Path:
    return _GOLDEN / "sam_vit_small" / "config.json"


@pytest.fixture(scope="session")
def small_bundle(
    small_checkpoint: Path, small_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The small model as a verified ONNX bundle. Copy it before changing anything."""
    folder = tmp_path_factory.mktemp("bundles") / "small_onnx"
    return export(small_checkpoint, output=folder, config=small_config)


@pytest.fixture(scope="session")
def small_openvino_bundle(
    small_checkpoint: Path, small_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "small_openvino"
    return export(small_checkpoint, "openvino", output=folder, config=small_config)


@pytest.fixture(scope="session")
def small_coreml_bundle(
    small_checkpoint: Path, small_config: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "small_coreml"
    return export(small_checkpoint, "coreml", output=folder, config=small_config, max_prompts=8)


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model as a verified ONNX bundle. Copy it before changing anything."""
    return export("sam_tiny.pt", output=tmp_path_factory.mktemp("bundles") / "sam_tiny_onnx")


@pytest.fixture(scope="session")
def scene() -> Scene:
    return generate_scene(3, (180, 240))


@pytest.fixture
def picture(scene: Scene, tmp_path: Path) -> Path:
    path = tmp_path / "scene.png"
    Image.fromarray(scene.image).save(path)
    return path


@pytest.fixture(scope="session")
def photo(golden: Path) -> NDArray[np.uint8]:
    """The golden photograph, RGB 180 x 240."""
    return np.asarray(Image.open(golden / "sam_vit_small" / "image.png").convert("RGB"))
