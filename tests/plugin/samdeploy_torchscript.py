"""TorchScript as a format of samdeploy: an exporter and a runtime in a package of their own."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import torch

from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.limits import whole
from samdeploy.models import GraphModule
from samdeploy.options import option
from samdeploy.schemes import Scheme
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


@dataclass(frozen=True)
class TorchScriptOptions(ExportOptions):
    mantissa_bits: int = option(23, "bits of the mantissa of a weight, 1 to 23; fewer zip better")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "mantissa_bits", whole("mantissa_bits", self.mantissa_bits, 1, 23))


#: A weight scheme of its own: what it is called, what asks for it, how accurate it has to be.
MANTISSA8 = Scheme("mantissa8", {"mantissa_bits": 8}, 0.99, 0.999)


class TorchScriptExporter:
    name: ClassVar[str] = "torchscript"
    runtimes: ClassVar[tuple[str, ...]] = ("torchscript",)
    Options: ClassVar[type[TorchScriptOptions]] = TorchScriptOptions
    tools: ClassVar[tuple[str, ...]] = ("torch",)

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("any",), version=str(torch.__version__))

    def export(self, graph: GraphModule, folder: Path, options: TorchScriptOptions) -> Graph:
        module = copy.deepcopy(graph.module)
        for weight in module.parameters():
            _round(weight.data, options.mantissa_bits)
        file = Path(f"{graph.role}.torchscript")
        traced = torch.jit.trace(module, graph.example(), check_trace=False)
        specs = [[asdict(spec) for spec in side] for side in (graph.inputs, graph.outputs)]
        torch.jit.save(traced, folder / file, _extra_files={_SPECS: json.dumps(specs)})
        return Graph(graph.role, (file,), graph.inputs, graph.outputs)


def _round(weight: torch.Tensor, bits: int) -> None:
    """Round float32 to so many bits of mantissa, in place."""
    dropped = 23 - bits
    if dropped:
        half = 1 << (dropped - 1)
        rounded = (weight.contiguous().view(torch.int32) + half) >> dropped << dropped
        weight.copy_(rounded.view(torch.float32))


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
