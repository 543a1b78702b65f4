"""LiteRT (TensorFlow Lite): every graph as ``.tflite``, straight from the torch modules.

All shapes are fixed (:mod:`samdeploy.fixed_shapes`): with free ones the converter fails. The
converter pins old versions of what others need new, so it may have an environment of its own: it
is a process of the Python that ``converter=`` names (``litert_convert.py``), one for all graphs of
a model, since it takes long to start.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from samdeploy.errors import ExportError, InputError, RuntimeUnavailableError
from samdeploy.exporters.passes.fixed_program import fixed_program
from samdeploy.exporting.calibration import calibration_inputs
from samdeploy.exporting.layer_names import belongs_to
from samdeploy.exporting.options import FixedShapesOptions, HalfOption, WeightsOnlyOptions
from samdeploy.fixed_shapes import record_of, variants
from samdeploy.graphs import ENCODER
from samdeploy.models import GraphModule
from samdeploy.options import option
from samdeploy.precision import FP32
from samdeploy.schemes import scheme_of
from samdeploy.session import Availability, Graph

_SCRIPT = Path(__file__).with_name("litert_convert.py")
#: How to make the environment of the converter, which brings the quantiser.
_HOW = "python -m venv litert-env && litert-env/bin/pip install litert-torch==0.10.0"


@dataclass(frozen=True)
class LiteRtOptions(HalfOption, WeightsOnlyOptions, FixedShapesOptions):
    integers: bool = option(
        False, "int8: the whole encoder in integers, with 16-bit activations, for NPUs"
    )
    converter: str = option("", "Python of an environment that has litert-torch [this one]")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.integers and (self.weights_only or not self.int8):
            raise InputError(
                "integers=True; it is for int8=True without weights_only, add that or leave "
                "integers out."
            )
        if self.data and not self.integers:
            raise InputError("data= is for integers=True; add that or leave data out.")
        if self.converter and not Path(self.converter).is_file():
            raise InputError(
                f"converter={self.converter}; expected the Python of an environment that has "
                f"litert-torch, such as litert-env/bin/python of: {_HOW}."
            )

    @property
    def calibrated(self) -> bool:
        """Plain ``int8`` rounds activations by what they are while the model runs."""
        return self.integers


class LiteRtExporter:
    name: ClassVar[str] = "litert"
    runtimes: ClassVar[tuple[str, ...]] = ("litert",)
    Options: ClassVar[type[LiteRtOptions]] = LiteRtOptions
    tools: ClassVar[tuple[str, ...]] = ("ai-edge-litert",)

    def __init__(self) -> None:
        self._converter: Converter | None = None

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("any",), version=str(torch.__version__))

    def export(self, graph: GraphModule, folder: Path, options: LiteRtOptions) -> Graph:
        if self._converter is None:
            self._converter = Converter(options.converter or _own_python())
        weights = scheme_of(options).name
        if graph.role != ENCODER and scheme_of(options).encoder_only:
            weights = "fp16" if options.half else FP32
        shapes = variants(graph.role, graph.inputs, options.max_prompts, options.max_points)
        tools: Mapping[str, str] = {}
        with tempfile.TemporaryDirectory(dir=folder) as work:
            images = _images(graph, options, Path(work))
            for name, (prompts, points) in shapes.items():
                example = graph.example(prompts, points)
                program = Path(work) / f"{name}.pt2"
                fixed = fixed_program(graph.module, example)
                torch.export.save(torch.export.export(fixed, example), program)
                tools = self._converter.convert(
                    program=str(program.absolute()),
                    tflite=str((folder / f"{name}.tflite").absolute()),
                    inputs=[spec.name for spec in graph.inputs],
                    outputs=[spec.name for spec in graph.outputs],
                    weights=weights,
                    kept=_kept(graph, options.float_layers),
                    images=images,
                )
        files = tuple(Path(f"{name}.tflite") for name in shapes)
        facts = {"tools": dict(tools), **record_of(graph.inputs, shapes)}
        return Graph(graph.role, files, graph.inputs, graph.outputs, facts)


def _images(graph: GraphModule, options: LiteRtOptions, folder: Path) -> list[str]:
    """Files of encoder inputs, one each: together they may be larger than memory."""
    files: list[str] = []
    if graph.role != ENCODER or not options.calibrated:
        return files
    for image in calibration_inputs(options.data, graph.image_size, graph.preprocess):
        files.append(str((folder / f"{len(files)}.npy").absolute()))
        np.save(files[-1], image)
    return files


def _kept(graph: GraphModule, layers: tuple[str, ...]) -> list[str]:
    """Digests of the weights of an encoder that stay float, see ``litert_convert.py``."""
    return [
        hashlib.sha256(np.sort(weight.detach().numpy(), axis=None).tobytes()).hexdigest()
        for name, weight in graph.module.named_parameters()
        if graph.role == ENCODER
        and weight.ndim > 1
        and name.endswith("weight")
        and belongs_to(name, layers)
    ]


def _own_python() -> str:
    if find_spec("litert_torch") is None:
        raise RuntimeUnavailableError(
            "format 'litert' needs litert-torch, which is not in this environment; give it one of "
            f"its own and pass converter=litert-env/bin/python: {_HOW}."
        )
    return sys.executable


class Converter:
    """The process. It ends with the exporter, or at the latest with ours."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  lives as long as the process
        self._process = subprocess.Popen(
            [python, str(_SCRIPT)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, text=True,
        )  # fmt: skip
        weakref.finalize(self, _end, self._process, self._said)

    def convert(self, **order: Any) -> dict[str, str]:
        """Write one file; the versions of the tools that did.

        Raises:
            ExportError: they could not, or are not there.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps(order), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer: dict[str, Any] = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            raise ExportError(
                f"litert-torch of '{self._python}' could not write "
                f"{Path(order['tflite']).name} ({' '.join(answer['error'].split())})."
            )
        tools: dict[str, str] = answer["tools"]
        return tools

    def _last_words(self) -> str:
        self._process.wait()
        self._said.seek(0)
        lines = self._said.read().strip().splitlines()
        return lines[-1] if lines else f"it ended with code {self._process.returncode}"


def _end(process: subprocess.Popen[str], said: Any) -> None:
    process.kill()  # it may be at work for minutes
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # it ended before it had read all
                pipe.close()
    process.wait()
    said.close()
