"""The reference: the torch modules themselves, straight from a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
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
        kind, _, index = device.partition(":")
        count = torch.cuda.device_count() if kind == "cuda" else 1
        if kind not in usable or index not in ("", *map(str, range(count))):
            raise RuntimeUnavailableError(
                f"device '{device}' is not usable by torch here; expected one of {list(usable)}."
            )
        options.refuse_all_but("threads", "imgsz", "config", "trust", runtime=self.name)
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        _check_process(device)
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
        self._module: torch.nn.Module | None = graph.module
        self._device = device

    @property
    def provider(self) -> str:
        return f"torch {self._device}"

    @torch.inference_mode()
    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._module is None:
            raise InputError("the session is closed; open the model again.")
        _check_process(self._device)
        tensors = [_tensor(feeds[spec.name]).to(self._device) for spec in self.inputs]
        results = self._module(*tensors)
        if isinstance(results, torch.Tensor):
            results = (results,)
        return {
            spec.name: result.cpu().numpy()
            for spec, result in zip(self.outputs, results, strict=True)
        }

    def close(self) -> None:
        self._module = None


@cache
def _first_process() -> int:
    """Id of the process that opened the first model; a child that is forked later inherits it."""
    return os.getpid()


def _check_process(device: str) -> None:
    """Torch's threads and GPUs do not survive a fork: a call would never return, or fail.

    Raises:
        InputError: this is such a child, and torch would need them.
    """
    forked = os.getpid() != _first_process()
    if forked and (torch.get_num_threads() > 1 or not device.startswith("cpu")):
        raise InputError(
            "this process was forked from one that had opened a model in torch, whose threads and "
            "GPUs do not survive that; start processes with multiprocessing's 'spawn', or open "
            "models on the cpu with threads=1."
        )


def _tensor(array: Array) -> torch.Tensor:
    # torch knows no read-only tensors and warns of sharing memory with one.
    return torch.from_numpy(array if array.flags.writeable else array.copy())
