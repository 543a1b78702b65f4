"""How many trained numbers a model has."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from samdeploy.bundle import Bundle
from samdeploy.families import family_named, resolve

#: Nodes of a YOLO graph whose constants are trained: the rest of its constants are its grid.
_TRAINED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def count_parameters(source: Path) -> int | None:
    """Count those of a bundle or an ONNX file; ``None`` where the libraries that would tell are
    missing, or the format does not.

    SAM's are those of its architecture, whatever an export made of them. YOLO's are those of the
    graph, in which normalisations are part of the convolutions, as in Ultralytics' summary of a
    fused model. Which of the two, its family says.
    """
    try:
        if not source.is_dir():
            return _in_graph(source)
        bundle = Bundle.open(source)
        family = family_named(bundle.manifest.family, source)
        if family.parameters:
            return int(resolve(family.parameters)(bundle.manifest.config))
        graph, *others = bundle.graphs().values()
        # Several graphs hold some of the numbers twice.
        return _in_graph(graph) if graph.suffix == ".onnx" and not others else None
    except ImportError:
        return None


def _in_graph(path: Path) -> int:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    trained = {name for node in graph.node if node.op_type in _TRAINED for name in node.input}
    return sum(int(np.prod(each.dims)) for each in graph.initializer if each.name in trained)
