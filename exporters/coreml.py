"""Core ML: every graph as ML Programs (``.mlpackage``), converted on any system.

The program comes from ``torch.export``: coremltools cannot read ``torch.jit.trace`` graphs beside
NumPy 2. All shapes are fixed, because the Neural Engine runs no others: a prompt always has
``max_points`` token slots, of which label -2 fills the unused ones without changing the answer.
What takes prompts is written for one (``decoder``) and for ``max_prompts`` (``decoder_batch``).
"""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from samdeploy.errors import ExportError, InputError
from samdeploy.exporting.layer_names import belongs_to
from samdeploy.exporting.options import FixedShapesOptions, HalfOption, Int8Options
from samdeploy.families import meaning
from samdeploy.fixed_shapes import record_of, variants
from samdeploy.graphs import ENCODER
from samdeploy.models import GraphModule
from samdeploy.options import option
from samdeploy.session import Availability, Graph

# Away from macOS coremltools warns at import that it cannot predict; the availability says so.
logging.getLogger("coremltools").setLevel(logging.ERROR)
import coremltools as ct  # noqa: E402
import coremltools.optimize.coreml as cto  # noqa: E402

#: The encoder once more, for apps that hold an image rather than an array.
_IMAGE_ENCODER = "encoder_image"

#: Nodes that torch.export leaves behind and that mean nothing once nothing is trained.
_IDENTITIES = (torch.ops.aten.alias.default, torch.ops.aten.detach.default)


@dataclass(frozen=True)
class CoreMlOptions(HalfOption, Int8Options, FixedShapesOptions):
    # As many as whole-image mode asks in a call on a GPU.
    max_prompts: int = option(64, "most prompts in a decoder call")
    palette_bits: int = option(
        0, "bits of a weight of SAM's encoder, an index into a palette: 4, 6 or 8"
    )
    minimum_deployment_target: str = option("iOS16", "oldest system that an app must run on")
    image_input: bool = option(False, "also an encoder that takes an image type (CVPixelBuffer)")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.palette_bits not in (0, 4, 6, 8):
            raise InputError(f"palette_bits={self.palette_bits}; expected 4, 6 or 8.")
        if self.palette_bits and self.int8:
            raise InputError(
                f"int8=True palette_bits={self.palette_bits}; expected one of them, leave the "
                "other out."
            )
        _target(self.minimum_deployment_target)


class CoreMlExporter:
    name: ClassVar[str] = "coreml"
    runtimes: ClassVar[tuple[str, ...]] = ("coreml", "mil")
    Options: ClassVar[type[CoreMlOptions]] = CoreMlOptions
    tools: ClassVar[tuple[str, ...]] = ("coremltools",)

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("any",), version=ct.__version__)

    def export(self, graph: GraphModule, folder: Path, options: CoreMlOptions) -> Graph:
        """One package, and those of its variants; the spec that is recorded is the dynamic one."""
        target = _target(options.minimum_deployment_target)
        shapes = variants(graph.role, graph.inputs, options.max_prompts, options.max_points)
        if graph.role == ENCODER and options.image_input:
            shapes[_IMAGE_ENCODER] = shapes[ENCODER]
        for name, (prompts, points) in shapes.items():
            _write_package(folder / f"{name}.mlpackage", graph, prompts, points, target, options)
        files = tuple(Path(f"{name}.mlpackage") for name in shapes)
        numbers = record_of(graph.inputs, shapes)
        return Graph(graph.role, files, graph.inputs, graph.outputs, numbers)


def _target(name: str) -> Any:
    found = getattr(ct.target, name, None)
    # Packages exist from iOS 15 on; SAM needs operators of iOS 16.
    usable = [t.name for t in ct.target if t.name.startswith("iOS") and t >= ct.target.iOS16]
    if not isinstance(found, ct.target) or found < ct.target.iOS16:
        raise InputError(
            f"minimum_deployment_target={name}; expected one of {', '.join(usable)} or the macOS, "
            "tvOS or watchOS of the same year."
        )
    return found


def _write_package(
    path: Path, graph: GraphModule, prompts: int, points: int, target: Any, options: CoreMlOptions
) -> None:
    example = graph.example(prompts, points)
    image = path.stem == _IMAGE_ENCODER
    try:
        with _quiet():
            converted = ct.convert(
                _capture(graph.module, example),
                convert_to="mlprogram",
                minimum_deployment_target=target,
                compute_precision=_precision(options.half),
                inputs=[
                    _input_type(spec.name, tuple(tensor.shape), image)
                    for spec, tensor in zip(graph.inputs, example, strict=True)
                ],
                outputs=[ct.TensorType(name=s.name, dtype=np.float32) for s in graph.outputs],
                skip_model_load=True,
            )
            compress = _compressor(options)
            if compress is not None and graph.role == ENCODER:
                converted = compress(converted, _layers(converted, options))
    except Exception as error:  # the converter raises a family of unrelated types
        raise ExportError(f"coremltools could not convert the {path.stem}: {error}") from error
    _describe(converted, path.stem, graph, options)
    with _quiet():
        converted.save(str(path))
    for extra in path.glob("*.json"):
        if extra.name != "Manifest.json":  # debug handles, of no use to an app
            extra.unlink()
    for file in path.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)


def _compressor(options: CoreMlOptions) -> Callable[[Any, Any], Any] | None:
    """A function that makes the weights of layers smaller. They are widened when the model is
    loaded or where it runs, so that activations need no calibration."""
    chosen: Callable[[Any, Any], Any] | None = None
    if options.palette_bits:
        chosen = cto.palettize_weights
    elif options.int8:
        chosen = cto.linear_quantize_weights
    return chosen


def _layers(model: Any, options: CoreMlOptions) -> Any:
    """In 8 bits with one scale an output channel, or as numbers of the values of a palette that
    k-means finds for each layer."""
    layer: Any = cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8")
    if options.palette_bits:
        layer = cto.OpPalettizerConfig(mode="kmeans", nbits=options.palette_bits)
    names = cto.get_weights_metadata(model)
    kept = [name for name in names if belongs_to(name, (*options.float_layers, *_UNREADABLE))]
    return cto.OptimizationConfig(
        op_type_configs=dict.fromkeys(_LAYERS, layer), op_name_configs=dict.fromkeys(kept)
    )


#: Operators with weights.
_LAYERS = ("linear", "conv")
#: A convolution before the constant that ViT adds: with 8-bit weights, coremltools fails on it.
_UNREADABLE = ("image_encoder.patch_embed.proj",)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's and coremltools' warnings about each other, and with the progress bars of the
    conversion on a terminal only."""
    with warnings.catch_warnings(), ExitStack() as stack:
        warnings.simplefilter("ignore")
        if not sys.stderr.isatty():
            stack.enter_context(redirect_stderr(io.StringIO()))
        yield


def _capture(module: nn.Module, example: tuple[Tensor, ...]) -> Any:
    with torch.no_grad():
        captured: Any = torch.export.export(module, example).run_decompositions({})
    graph = captured.graph_module.graph
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in _IDENTITIES:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    captured.graph_module.recompile()
    return captured


def _precision(half: bool) -> Any:
    """float16 everywhere but in what turns coordinates into sines and cosines: at 1024 pixels
    float16 knows whole pixels only, and the half pixel that SAM adds would be lost."""
    if not half:
        return ct.precision.FLOAT32
    return ct.transform.FP16ComputePrecision(op_selector=lambda op: not _leads_to_angles(op))


def _leads_to_angles(op: Any) -> bool:
    if op.op_type in ("sin", "cos"):
        return True
    # The walk is short: any other operator than these ends it.
    return op.op_type in _ANGLE_PATH and any(
        _leads_to_angles(child) for output in op.outputs for child in output.child_ops
    )


_ANGLE_PATH = frozenset({"add", "sub", "mul", "real_div", "linear", "matmul", "const", "cast"})


def _input_type(name: str, shape: tuple[int, ...], image: bool) -> Any:
    if image:
        # Mean and deviation per channel are in the graph: Core ML's own scale has one for all.
        return ct.ImageType(name=name, shape=shape, color_layout=ct.colorlayout.RGB)
    return ct.TensorType(name=name, shape=shape, dtype=np.float32)


def _describe(converted: Any, name: str, graph: GraphModule, options: CoreMlOptions) -> None:
    facts = options.metadata
    converted.author = "converted by samdeploy"
    converted.license = facts.get("licence", "unknown")
    converted.version = facts.get("version", "")
    converted.short_description = f"{facts.get('architecture', 'model')}, {name.replace('_', ' ')}"
    for field, value in facts.items():
        converted.user_defined_metadata[f"samdeploy.{field}"] = value
    for spec in graph.inputs:
        converted.input_description[spec.name] = meaning(spec.name)
    for spec in graph.outputs:
        converted.output_description[spec.name] = meaning(spec.name)
