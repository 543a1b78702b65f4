"""How many trained numbers a model has."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from samdeploy.bundle import Bundle

#: Nodes of a YOLO graph whose constants are trained: the rest of its constants are its grid.
_TRAINED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def count_parameters(source: Path) -> int | None:
    """Count those of a bundle or an ONNX file; ``None`` where the libraries that would tell are
    missing, or the format does not.

    SAM's are those of its architecture, whatever an export made of them. YOLO's are those of the
    graph, in which normalisations are part of the convolutions, as in Ultralytics' summary of a
    fused model.
    """
    try:
        if not source.is_dir():
            return _in_graph(source)
        bundle = Bundle.open(source)
        if bundle.manifest.family == "sam":
            return parameters_of_sam(bundle)
        [graph] = bundle.graphs().values()
        return _in_graph(graph) if graph.suffix == ".onnx" else None
    except ImportError:
        return None


def parameters_of_sam(bundle: Bundle) -> int:
    """From the architecture in the manifest."""
    import torch

    from samdeploy.models.config import SamConfig, encoder_of, merge
    from samdeploy.models.sam import Sam

    config = bundle.manifest.config
    with torch.device("meta"):
        model = Sam(merge(SamConfig(encoder_of(config)), config))
    return sum(parameter.numel() for parameter in model.parameters())


def _in_graph(path: Path) -> int:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    trained = {name for node in graph.node if node.op_type in _TRAINED for name in node.input}
    return sum(int(np.prod(each.dims)) for each in graph.initializer if each.name in trained)
