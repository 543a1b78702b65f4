"""MNN: every graph as one file, from our ONNX graph by MNN's own converter."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import onnx

from samdeploy.errors import ExportError
from samdeploy.exporters.passes.onnx_graph import onnx_graph, save_onnx
from samdeploy.exporters.passes.onnx_halves import split_constants
from samdeploy.exporters.passes.onnx_int8 import LINEAR, quantizable
from samdeploy.exporters.passes.onnx_storage import constants_to_weights
from samdeploy.exporting.options import HalfOption, Int8Options
from samdeploy.graphs import ENCODER
from samdeploy.models import GraphModule
from samdeploy.session import Availability, Graph

#: The package's own command would besides install another package and report its use to the maker.
_CONVERTER = "import sys, _tools; _tools.mnnconvert(sys.argv)"
#: GELU as it is defined: the converter's own choice, an approximation, costs a thousandth.
_ALWAYS = ("--bizCode", "samdeploy", "--useGeluApproximation", "0")
_EIGHT_BITS = ("--weightQuantBits", "8", "--weightQuantAsymmetric=1")


@dataclass(frozen=True)
class MnnOptions(HalfOption, Int8Options):
    """Weights of 16 bits, and those of the encoder's layers of 8; arithmetic is float32."""


class MnnExporter:
    name: ClassVar[str] = "mnn"
    runtimes: ClassVar[tuple[str, ...]] = ("mnn",)
    Options: ClassVar[type[MnnOptions]] = MnnOptions
    tools: ClassVar[tuple[str, ...]] = ("MNN", "onnx", "onnxsim")

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("any",), version=version("MNN"))

    def export(self, graph: GraphModule, folder: Path, options: MnnOptions) -> Graph:
        path = Path(f"{graph.role}.mnn")
        eight = options.int8 and graph.role == ENCODER
        half = options.half or eight  # what is not made 8 bits
        with tempfile.TemporaryDirectory(dir=folder) as work:
            model = onnx_graph(graph, Path(work), metadata=options.metadata)
            if half:
                split_constants(model)
            source = Path(work) / save_onnx(model, Path(work), graph.role)[0]
            if eight:
                source = _in_bytes(source, model.graph, options.float_layers)
            _convert(source, folder / path, ["--fp16"] if half else [])
        return Graph(graph.role, (path,), graph.inputs, graph.outputs)


def _in_bytes(source: Path, graph: onnx.GraphProto, float_layers: Collection[str]) -> Path:
    """The graph with 8-bit weights beside its ONNX file. What is left is made 16 bits in a second
    step: in the same one, 16 bits would come first and leave nothing for 8."""
    target, listed = source.with_suffix(".mnn"), source.with_suffix(".json")
    # The converter writes the layers that it meets into a file that is not there, and obeys one
    # that is.
    settings = [*_EIGHT_BITS, "--compressionParamsFile", str(listed)]
    _convert(source, target, settings)
    if float_layers:
        _keep_in_float(listed, graph, float_layers)
        _convert(source, target, settings)
    return target


def _keep_in_float(listed: Path, graph: onnx.GraphProto, float_layers: Collection[str]) -> None:
    """Write 0 bits for these layers into the list of the converter, which has layers in the order
    of the graph and forgets the names of linear ones."""
    constants_to_weights(graph)
    kinds = (*LINEAR, "Conv")
    layers = quantizable(graph, (), kinds)
    eight = set(quantizable(graph, float_layers, kinds))
    steps = json.loads(listed.read_text())
    found = steps["algo"][0]["quantParams"]["layer"]
    if [_outputs(graph, layer) for layer in layers] != [
        layer["conv"]["outputChannel"] for layer in found
    ]:
        raise ExportError(
            f"MNN lists {len(found)} layers and the graph has {len(layers)}, or others; export "
            "with int8=False, or leave float_layers out."
        )
    for layer, weights in zip(layers, found, strict=True):
        if layer not in eight:
            weights["weight"][0]["bits"] = 0
    listed.write_text(json.dumps(steps))


def _outputs(graph: onnx.GraphProto, layer: str) -> int:
    """Output channels of a node with weights."""
    node = next(node for node in graph.node if node.name == layer)
    shape = next(tensor.dims for tensor in graph.initializer if tensor.name == node.input[1])
    return int(shape[0] if node.op_type == "Conv" else shape[-1])


def _convert(source: Path, target: Path, options: Collection[str]) -> None:
    """Run the converter, in a process of its own, which it may end."""
    kind = "ONNX" if source.suffix == ".onnx" else "MNN"
    words = ["-f", kind, "--modelFile", str(source), "--MNNModel", str(target), *_ALWAYS, *options]
    target.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", _CONVERTER, *words],
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    # Its exit code tells nothing.
    if not target.is_file():
        said = (done.stdout + done.stderr).strip().splitlines() or [f"exit code {done.returncode}"]
        raise ExportError(
            f"MNN could not convert the {source.stem} ({said[-1]}); export format=onnx instead."
        )
