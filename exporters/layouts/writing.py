"""Write the graphs of a layout: ONNX text around those of a bundle."""

from __future__ import annotations

from pathlib import Path

import onnx

from samdeploy.bundle import Bundle
from samdeploy.exporters.passes.onnx_graph import save_onnx
from samdeploy.exporters.passes.onnx_inline import inlined


def sides_of(bundle: Bundle) -> tuple[int, int, int, int]:
    """Side of the input, channels of the embedding, its side, and that of low-res masks."""
    side = bundle.manifest.image_size
    return side, bundle.manifest.embedding_channels, side // 16, side // 4


def save(bundle: Bundle, text: str, path: Path, names: dict[str, str] | None = None) -> None:
    """Write the model of ``text``, which may call the bundle's graphs by their roles."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = save_onnx(inlined(text, bundle.graphs(), names), path.parent, path.stem)
    onnx.checker.check_model(str(path.parent / files[0]), full_check=True)
