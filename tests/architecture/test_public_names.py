"""The public surface: what ``import samdeploy`` offers, and what it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import samdeploy
from samdeploy import registry

NAMES = [
    "SAM",
    "YOLO",
    "AnnotationSummary",
    "BundleError",
    "CheckpointError",
    "DownloadError",
    "Embedding",
    "ExportError",
    "FastSAM",
    "ImageOptions",
    "InputError",
    "Masks",
    "OutputError",
    "Prompt",
    "RuntimeUnavailableError",
    "SamDeployError",
    "Tracked",
    "VerificationError",
    "__version__",
    "auto_annotate",
    "benchmark",
    "export",
    "tune",
]

SIGNATURES = {
    "SAM": "model runtime device threads imgsz config options embedding_cache image_options",
    "SAM.encode": "self image channel_order",
    "SAM.predict": "self target points labels bboxes masks prompts multimask channel_order",
    "SAM.generate": "self image channel_order progress settings",
    "SAM.__call__": (
        "self source bboxes points labels masks multimask stream channel_order settings"
    ),
    "SAM.track": "self source points labels bboxes masks prompts stream channel_order settings",
    "SAM.tracker": "self settings",
    "SAM.set_image": "self image channel_order",
    "SAM.reset_image": "self",
    "SAM.info": "self verbose",
    "SAM.export": "self options",
    "SAM.benchmark": "self options",
    "SAM.close": "self",
    "benchmark": "model formats device runtime cli output progress options",
    "auto_annotate": (
        "data det_model sam_model device conf iou imgsz max_det classes output_dir boxes unmatched "
        "format names val min_area simplify previews zoom engine workers worker_cpus "
        "worker_gpus bit_depth window max_pixels runtime threads progress log options"
    ),
    "tune": "model options",
    "export": (
        "model format output imgsz config preprocess verify tolerance device trust progress options"
    ),
    "YOLO": "model runtime device threads options image_options",
    "YOLO.detect": "self image channel_order settings",
    "YOLO.predict": "self image points labels bboxes prompts channel_order settings",
    "YOLO.generate": "self image channel_order progress settings",
    "YOLO.__call__": "self source bboxes points labels stream channel_order settings",
}


def test_names() -> None:
    assert samdeploy.__all__ == NAMES
    assert all(hasattr(samdeploy, name) for name in NAMES)
    assert samdeploy.__version__ == version("samdeploy")


def test_parameters() -> None:
    for path, expected in SIGNATURES.items():
        thing: object = samdeploy
        for name in path.split("."):
            thing = getattr(thing, name)
        assert " ".join(inspect.signature(thing).parameters) == expected, path  # type: ignore[arg-type]


def test_public_things_are_explained() -> None:
    for path in SIGNATURES:
        thing: object = samdeploy
        for name in path.split("."):
            thing = getattr(thing, name)
        assert len(inspect.getdoc(thing) or "") > 20, path


def test_spokes_are_found_by_entry_points_alone() -> None:
    for group, names in (
        (registry.EXPORTERS, registry.exporter_names()),
        (registry.RUNTIMES, registry.runtime_names()),
    ):
        assert names == sorted(point.name for point in entry_points(group=group))
    for point in entry_points(group=registry.BENCHMARKS):
        assert registry.load_benchmark(point.name) is point.load()


def test_one_error_family() -> None:
    for name in NAMES:
        if name.endswith("Error"):
            assert issubclass(getattr(samdeploy, name), samdeploy.SamDeployError)


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


def test_import_brings_no_backend() -> None:
    code = "import sys, samdeploy; print(*sorted(sys.modules))"
    loaded = set(run(code).split())
    heavy = {"torch", "onnx", "onnxruntime", "openvino", "coremltools", "supervision"}
    heavy |= {"tensorrt", "tensorrt_rtx_bindings"}
    assert loaded.isdisjoint(heavy | {"typer", "matplotlib", "scipy"})
    assert not any(name.startswith("samdeploy.models") for name in loaded)


def test_a_click_enters_no_room_of_exporting(small_bundle: Path) -> None:
    code = (
        "import sys, numpy, samdeploy\n"
        f"model = samdeploy.SAM({str(small_bundle)!r})\n"
        "model.predict(numpy.zeros((32, 32, 3), numpy.uint8), points=[9, 9])\n"
        "print(*sys.modules)"
    )
    loaded = run(code).split()
    rooms = ("annotation", "benchmarking", "benchmarks", "cli", "exporters", "exporting", "models")
    entered = [name for name in loaded if name.startswith(tuple(f"samdeploy.{r}" for r in rooms))]
    assert not entered
    assert "samdeploy.runtimes.onnxruntime" in loaded
