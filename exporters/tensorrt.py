"""TensorRT: one engine per graph, from our ONNX graphs, by TensorRT or TensorRT-RTX.

The network is strongly typed: every layer computes in the type that the ONNX graph gives it, so
``half`` and ``bf16`` are a matter of casts in the graph, ``int8`` one of quantising operators, and
none of hints. Both libraries build such networks, and RTX builds no others.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import onnx
from tqdm import tqdm

from samdeploy.errors import ExportError, InputError, RuntimeUnavailableError
from samdeploy.exporters.passes.onnx_graph import onnx_graph, save_onnx
from samdeploy.exporters.passes.onnx_half import to_half
from samdeploy.exporters.passes.onnx_int8 import quantizable, to_int8
from samdeploy.exporting.calibration import calibration_inputs
from samdeploy.exporting.options import CalibratedOptions, FloatOptions, PromptLimits
from samdeploy.families import dynamic
from samdeploy.graphs import ENCODER
from samdeploy.models import GraphModule
from samdeploy.options import option
from samdeploy.runtimes.tensorrt_library import (
    INSTALL,
    BuilderOptions,
    Library,
    building_library,
    logger,
)
from samdeploy.runtimes.tensorrt_sidecar import Range, Sidecar, write_sidecar
from samdeploy.session import Availability, Graph, TensorSpec
from samdeploy.sidecars import sidecar_path

#: The likeliest prompt is a click: a point and SAM's padding.
_LIKELY_POINTS = 2


@dataclass(frozen=True)
class TensorRtOptions(FloatOptions, CalibratedOptions, PromptLimits, BuilderOptions):
    library: str = option(
        "", "what builds the engine, and opens it: tensorrt or rtx [TensorRT where it can]"
    )


class TensorRtExporter:
    name: ClassVar[str] = "tensorrt"
    runtimes: ClassVar[tuple[str, ...]] = ("tensorrt",)
    Options: ClassVar[type[TensorRtOptions]] = TensorRtOptions
    tools: ClassVar[tuple[str, ...]] = (
        "onnx",
        "onnxsim",
        "onnxruntime",
        "tensorrt",
        "tensorrt_rtx_cu13_libs",
    )

    @classmethod
    def availability(cls) -> Availability:
        try:
            library = building_library()
        except RuntimeUnavailableError as error:
            return Availability(reason=str(error), install=INSTALL)
        return Availability(devices=("any",), version=f"{library.title} {library.version}")

    def export(self, graph: GraphModule, folder: Path, options: TensorRtOptions) -> Graph:
        library = building_library(options.library)
        library.target(options)  # refuses before the work begins
        engine = Path(f"{graph.role}.engine")
        with tempfile.TemporaryDirectory(dir=folder) as work:
            onnx_path = _onnx_file(graph, Path(work), options)
            sidecar = build_engine(onnx_path, folder / engine, graph, library, options)
        write_sidecar(folder / engine, sidecar)
        return Graph(
            graph.role, (engine, sidecar_path(engine)), graph.inputs, graph.outputs,
            {"layers": sidecar.layers, "profiles": list(sidecar.profiles)},
        )  # fmt: skip


def _onnx_file(graph: GraphModule, folder: Path, options: TensorRtOptions) -> Path:
    """Write the ONNX file that the engine is built from; the weights are on the disk and no longer
    in memory."""
    model = onnx_graph(graph, folder)
    if options.int8 and graph.role == ENCODER:
        if not quantizable(model.graph, options.float_layers):
            raise InputError(
                "int8=True; TensorRT computes linear layers in 8 bits, and this encoder "
                "has none left: leave it out, or pass half=True."
            )
        images = calibration_inputs(options.data, graph.image_size, graph.preprocess)
        model = to_int8(model, images, options.float_layers, symmetric=True)
    if options.half or options.bf16:
        kinds = onnx.TensorProto
        model = to_half(model, kinds.BFLOAT16 if options.bf16 else kinds.FLOAT16)
    return folder / save_onnx(model, folder, graph.role)[0]


def build_engine(
    onnx_path: Path, engine: Path, graph: GraphModule, library: Library, options: TensorRtOptions
) -> Sidecar:
    """Write the engine of an ONNX file, and say what it is.

    Raises:
        ExportError: the parser or the builder refused the graph.
    """
    trt, log = library.trt, logger(library.trt)
    builder = trt.Builder(log)
    # The parser must outlive the build: it holds the weights.
    network, parser = parse_network(builder, onnx_path, library)
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # Both libraries would round float32 products to TF32 unless told not to.
    (config.set_flag if options.tf32 else config.clear_flag)(trt.BuilderFlag.TF32)
    if options.workspace is not None:
        size = int(options.workspace * 2**30)
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size)
    profiles = _profiles(graph, library, options)
    for ranges in profiles:
        profile = builder.create_optimization_profile()
        for name, shapes in ranges.items():
            profile.set_shape(name, *shapes)
        config.add_optimization_profile(profile)
    library.configure(config, options)
    with _progress(trt, graph.role) as monitor:
        config.progress_monitor = monitor
        built = builder.build_serialized_network(network, config)
    if built is None:
        raise ExportError(f"{library.title} could not build the {graph.role}: {log.take()}")
    engine.write_bytes(built)
    library.finish(config, options)
    del parser
    target = library.target(options)
    return Sidecar(
        library=library.name,
        version=library.version,
        compute_capabilities=target.compute_capabilities,
        platform=target.platform,
        device=target.device,
        precision=options.precision,
        layers=_layer_types(network),
        profiles=profiles,
    )


def parse_network(builder: Any, onnx_path: Path, library: Library) -> tuple[Any, Any]:
    """The network of an ONNX file and the parser, which must live as long as the network is used.

    Raises:
        ExportError: the file holds something that the library does not know.
    """
    trt = library.trt
    strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = trt.OnnxParser(network, logger(trt))
    if not parser.parse_from_file(str(onnx_path)):
        reasons = "; ".join(parser.get_error(i).desc() for i in range(parser.num_errors))
        raise ExportError(f"{library.title} cannot read '{onnx_path.name}': {reasons}")
    return network, parser


def _profiles(
    graph: GraphModule, library: Library, options: TensorRtOptions
) -> tuple[dict[str, Range], ...]:
    """The ranges of the dynamic inputs; none for a graph of fixed shapes."""
    varying = [spec for spec in graph.inputs if dynamic(spec.name)]
    if not varying:
        return ()
    most = options.max_points
    points = (1, min(_LIKELY_POINTS, most), most)
    profiles = []
    for prompts in library.prompt_profiles(options.max_prompts):
        least, likely, largest = (
            graph.numbers(count, tokens) for count, tokens in zip(prompts, points, strict=True)
        )
        # A mask head may be asked for any part of the image.
        least |= dict.fromkeys(("positions", "rows", "columns"), 1)
        ranges = {
            spec.name: (_shape(spec, least), _shape(spec, likely), _shape(spec, largest))
            for spec in varying
        }
        profiles.append(ranges)
    return tuple(profiles)


def _shape(spec: TensorSpec, numbers: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(numbers[side] if isinstance(side, str) else side for side in spec.shape)


def _layer_types(network: Any) -> dict[str, int]:
    """How many layers compute in each type, such as ``{"float32": 60, "float16": 300}``."""
    layers = (network.get_layer(index) for index in range(network.num_layers))
    types = Counter(
        _TYPE_NAMES.get(layer.get_output(0).dtype.name, "other")
        for layer in layers
        if layer.num_outputs
    )
    return dict(sorted(types.items()))


_TYPE_NAMES = {
    "FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16", "INT8": "int8", "INT32": "int32",
    "INT64": "int64", "BOOL": "bool",
}  # fmt: skip


@contextmanager
def _progress(trt: Any, label: str) -> Iterator[Any]:
    """A progress monitor with a bar per phase, on a terminal only.

    What is raised while the builder reports (by a signal, above all) stops the build in the way
    that the builder knows, and goes on from here: it must not pass through the library's frames.
    """
    bars: dict[str, tqdm[Any]] = {}
    raised: list[BaseException] = []
    lock = threading.Lock()  # the builder reports from several threads

    @contextmanager
    def guarded() -> Iterator[None]:
        try:
            with lock:
                yield
        except BaseException as error:
            raised.append(error)

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with guarded():
                bars[phase_name] = tqdm(
                    desc=f"{label}: {phase_name}", total=num_steps, unit="step", leave=False,
                    position=len(bars), disable=not sys.stderr.isatty(),
                )  # fmt: skip

        def step_complete(self, phase_name: str, step: int) -> bool:
            with guarded():
                bars[phase_name].update(step + 1 - bars[phase_name].n)
            return not raised

        def phase_finish(self, phase_name: str) -> None:
            with guarded():
                bars.pop(phase_name).close()

    try:
        yield Monitor()
    finally:
        for bar in bars.values():
            bar.close()
        if raised:
            raise raised[0]
