"""TorchScript as a format of samdeploy: an exporter and a runtime in a package of their own."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

import torch

from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.models import GraphModule
from samdeploy.session import (
    Array,
    Availability,
    ExportOptions,
    Graph,
    RuntimeOptions,
    Session,
    TensorSpec,
)

# torch announces to retire TorchScript; it is here because it is short.
warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")

_SPECS = "specs.json"


class TorchScriptExporter:
    name: ClassVar[str] = "torchscript"
    runtimes: ClassVar[tuple[str, ...]] = ("torchscript",)
    Options: ClassVar[type[ExportOptions]] = ExportOptions
    tools: ClassVar[tuple[str, ...]] = ("torch",)

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("any",), version=str(torch.__version__))

    def export(self, graph: GraphModule, folder: Path, options: ExportOptions) -> Graph:
        file = Path(f"{graph.role}.torchscript")
        traced = torch.jit.trace(graph.module, graph.example(), check_trace=False)
        specs = [[asdict(spec) for spec in side] for side in (graph.inputs, graph.outputs)]
        torch.jit.save(traced, folder / file, _extra_files={_SPECS: json.dumps(specs)})
        return Graph(graph.role, (file,), graph.inputs, graph.outputs)


class TorchScriptRuntime:
    name: ClassVar[str] = "torchscript"
    suffixes: ClassVar[tuple[str, ...]] = (".torchscript",)
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("cpu",), version=str(torch.__version__))

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        if device != "cpu":
            raise RuntimeUnavailableError(f"device '{device}'; TorchScript runs on the cpu here.")
        options.refuse_all_but(runtime=self.name)
        return TorchScriptSession(graph)


class TorchScriptSession:
    provider = "TorchScript cpu"

    def __init__(self, graph: Path) -> None:
        extra = {_SPECS: ""}
        self._module = torch.jit.load(graph, _extra_files=extra)
        inputs, outputs = json.loads(extra[_SPECS])
        self.inputs, self.outputs = _specs(inputs), _specs(outputs)

    @torch.inference_mode()
    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._module is None:
            raise InputError("the session is closed; open the model again.")
        results = self._module(*(torch.from_numpy(feeds[spec.name]) for spec in self.inputs))
        results = (results,) if isinstance(results, torch.Tensor) else results
        return {
            spec.name: result.numpy() for spec, result in zip(self.outputs, results, strict=True)
        }

    def close(self) -> None:
        self._module = None


def _specs(listed: list[dict[str, object]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(str(one["name"]), tuple(one["shape"]), str(one["dtype"]))  # type: ignore[arg-type]
        for one in listed
    )
