"""The reference: the torch modules themselves, straight from a checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch

from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.models import GraphModule, graph_modules
from samdeploy.models.families import load_model
from samdeploy.session import Array, Availability, RuntimeOptions, Session


class TorchRuntime:
    name: ClassVar[str] = "torch"
    suffixes: ClassVar[tuple[str, ...]] = (".pt", ".pth", ".safetensors")

    def __init__(self) -> None:
        self._loaded: tuple[Path, dict[str, GraphModule]] | None = None

    @classmethod
    def availability(cls) -> Availability:
        devices = ["cpu"]
        if torch.cuda.is_available():
            devices.insert(0, "cuda")
        if torch.backends.mps.is_available():
            devices.insert(0, "mps")
        return Availability(devices=tuple(devices), version=str(torch.__version__))

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        usable = self.availability().devices
        if device.split(":")[0] not in usable:
            raise RuntimeUnavailableError(
                f"device '{device}' is not usable by torch here; expected one of {list(usable)}."
            )
        options.refuse_all_but("threads", "imgsz", "config", "trust", runtime=self.name)
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        # All graphs of a model are parts of one checkpoint: it is read once.
        if self._loaded is None or self._loaded[0] != graph:
            model = load_model(
                graph, config=options.config, imgsz=options.imgsz, trust=options.trust
            )
            self._loaded = graph, graph_modules(model.to(device))
        graphs = self._loaded[1]
        if role not in graphs:
            raise InputError(f"'{graph}' has no {role}; it is a model of another family.")
        return TorchSession(graphs[role], device)


class TorchSession:
    """One graph of a model."""

    def __init__(self, graph: GraphModule, device: str) -> None:
        self.inputs, self.outputs = graph.inputs, graph.outputs
        self._module = graph.module
        self._device = device

    @property
    def provider(self) -> str:
        return f"torch {self._device}"

    @torch.inference_mode()
    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        tensors = [_tensor(feeds[spec.name]).to(self._device) for spec in self.inputs]
        results = self._module(*tensors)
        if isinstance(results, torch.Tensor):
            results = (results,)
        return {
            spec.name: result.cpu().numpy()
            for spec, result in zip(self.outputs, results, strict=True)
        }

    def close(self) -> None:
        """The module is freed with the session."""


def _tensor(array: Array) -> torch.Tensor:
    # torch knows no read-only tensors and warns of sharing memory with one.
    return torch.from_numpy(array if array.flags.writeable else array.copy())
