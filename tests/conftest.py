"""Models and images that many tests share; each is made once."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from samdeploy.exporters.passes import onnx_graph
from samdeploy.exporting.pipeline import export
from samdeploy.scenes import Scene, generate_scene
from tests.kept import kept_folder
from tests.traced import remembered

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


ExportOnce = Callable[..., Path]


@pytest.fixture(scope="session")
def made_before(pytestconfig: pytest.Config) -> Path:
    """Where all test processes, and the next run, find what was made before."""
    return kept_folder(pytestconfig.rootpath)


@pytest.fixture(scope="session")
def export_once(made_before: Path) -> ExportOnce:
    """:func:`samdeploy.export` into a folder of the given name that all test processes share."""

    def make(name: str, *arguments: Any, **options: Any) -> Path:
        # Where a checkpoint was written differs from run to run; its name stands for it.
        words = [value for value in arguments if not isinstance(value, Path)]
        asked = repr((words, sorted(options.items())))
        folder = made_before / "bundles" / hashlib.sha256(asked.encode()).hexdigest()[:8]
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name}.lock"):
            bundle = folder / name
            return bundle if bundle.exists() else export(*arguments, output=bundle, **options)

    return make


@pytest.fixture(scope="session", autouse=True)
def traced_once(made_before: Path) -> Iterator[None]:
    """Tracing takes most of an export: the same graph is traced once for all test processes."""
    folder = made_before / "traced"
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_graph, "_traced", remembered(onnx_graph._traced, folder))
        yield


@pytest.fixture(scope="session")
def small_bundle(export_once: ExportOnce, small_checkpoint: Path, small_config: Path) -> Path:
    """The small model as a verified ONNX bundle. Copy it before changing anything."""
    return export_once("small_onnx", small_checkpoint, config=small_config)


@pytest.fixture(scope="session")
def small_openvino_bundle(
    export_once: ExportOnce, small_checkpoint: Path, small_config: Path
) -> Path:
    return export_once("small_openvino", small_checkpoint, "openvino", config=small_config)


@pytest.fixture(scope="session")
def small_coreml_bundle(
    export_once: ExportOnce, small_checkpoint: Path, small_config: Path
) -> Path:
    return export_once(
        "small_coreml", small_checkpoint, "coreml", config=small_config, max_prompts=8
    )


@pytest.fixture(scope="session")
def small_mnn_bundle(export_once: ExportOnce, small_checkpoint: Path, small_config: Path) -> Path:
    return export_once("small_mnn", small_checkpoint, "mnn", config=small_config)


@pytest.fixture(scope="session")
def tiny_bundle(export_once: ExportOnce) -> Path:
    """The shipped model as a verified ONNX bundle. Copy it before changing anything."""
    return export_once("sam_tiny_onnx", "sam_tiny.pt")


@pytest.fixture(scope="session")
def sam2_checkpoint() -> Path:
    """SAM 2.1 with few parameters, 256 pixels."""
    return _GOLDEN / "sam2" / "sam2_small" / "weights.safetensors"


@pytest.fixture(scope="session")
def sam2_config() -> dict[str, Any]:
    """What the shapes of the small SAM 2 do not tell."""
    stored = json.loads((_GOLDEN / "sam2" / "sam2_small" / "config.json").read_text())
    trunk = stored["image_encoder"]["trunk"]
    return {"image_size": stored["image_size"], "image_encoder": {"trunk": trunk}}


@pytest.fixture
def noticed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[str]]]:
    """What samdeploy has said so far, whatever other libraries have done to logging."""
    said: list[str] = []
    logger, handler = logging.getLogger("samdeploy"), logging.Handler(logging.WARNING)
    monkeypatch.setattr(handler, "emit", lambda record: said.append(record.getMessage()))
    monkeypatch.setattr(logging.root.manager, "disable", 0)
    monkeypatch.setattr(logger, "disabled", False)
    logger.addHandler(handler)
    yield lambda: said
    logger.removeHandler(handler)


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
