"""The reference: the torch modules themselves, straight from a checkpoint."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch

from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.models import GraphModule
from samdeploy.models.families import load_model
from samdeploy.resident import Resident
from samdeploy.session import Array, Availability, RuntimeOptions, Session


class TorchRuntime:
    name: ClassVar[str] = "torch"
    suffixes: ClassVar[tuple[str, ...]] = ()  # a checkpoint's content says what it is
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    def __init__(self) -> None:
        self._loaded: tuple[Path, Mapping[str, GraphModule]] | None = None

    @classmethod
    def availability(cls) -> Availability:
        devices = ["cpu"]
        if torch.cuda.is_available():
            others = (f"cuda:{index}" for index in range(1, torch.cuda.device_count()))
            devices = ["cuda", *others, *devices]
        if torch.backends.mps.is_available():
            devices.insert(0, "mps")
        return Availability(devices=tuple(devices), version=str(torch.__version__))

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        usable = self.availability().devices
        # The first of a kind may be called by its number, too.
        if device not in usable and device.removesuffix(":0") not in usable:
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
            for part in model.graphs.values():
                part.module.to(device)
            self._loaded = graph, model.graphs
        graphs = self._loaded[1]
        if role not in graphs:
            raise InputError(f"'{graph}' has no {role}; it is a model of another family.")
        return TorchSession(graphs[role], device)


class TorchSession:
    """One graph of a model, in float32."""

    def __init__(self, graph: GraphModule, device: str) -> None:
        self.inputs, self.outputs = graph.inputs, graph.outputs
        self._module: torch.nn.Module | None = graph.module
        self._device = device
        self._tensors = Resident(lambda array: _tensor(array, device))

    @property
    def provider(self) -> str:
        """Device and arithmetic, such as ``torch cuda fp32``."""
        return f"torch {self._device} fp32"

    @torch.inference_mode()
    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        module = self._module
        if module is None:
            raise InputError("the session is closed; open the model again.")
        _check_process(self._device)
        try:
            tensors = [self._tensors.get(spec.name, feeds[spec.name]) for spec in self.inputs]
            with _float32.on(self._device):
                results = module(*tensors)
            if isinstance(results, torch.Tensor):
                results = (results,)
            answers = [result.cpu().numpy() for result in results]
        except RuntimeError as error:  # out of memory among them
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise RuntimeUnavailableError(
                f"torch failed on {self._device} while it ran the graph: {reason}; choose another "
                "device or give it less at a time."
            ) from error
        return {spec.name: answer for spec, answer in zip(self.outputs, answers, strict=True)}

    def close(self) -> None:
        """Let the module and what is on its device go."""
        self._module = None
        self._tensors.clear()


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


def _tensor(array: Array, device: str) -> torch.Tensor:
    # torch knows no read-only tensors and warns of sharing memory with one.
    return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device)


class _Float32:
    """float32 products in float32, whatever this process allows torch to round them to.

    torch has these settings for the process, not for a thread. They are changed as long as any
    thread is inside, and then what they were before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._precision: str | None = None
        self._before: list[Any] = []

    @contextmanager
    def on(self, device: str) -> Iterator[None]:
        with torch.autocast(torch.device(device).type, enabled=False):
            self._enter()
            try:
                yield
            finally:
                self._leave()

    def _enter(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = [getattr(owner, name) for owner, name, _ in _settings()]
                self._precision = _matmul_precision()
                # Both the old and the new interface: torch refuses to multiply where they differ.
                torch.set_float32_matmul_precision("highest")
                for owner, name, exact in _settings():
                    setattr(owner, name, exact)
            self._inside += 1

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                if self._precision is not None:
                    torch.set_float32_matmul_precision(self._precision)
                for (owner, name, _), value in zip(_settings(), self._before, strict=True):
                    setattr(owner, name, value)


def _matmul_precision() -> str | None:
    """``None`` where this process has set it by the new interface alone."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def _settings() -> list[tuple[Any, str, Any]]:
    """Switches that let torch round float32 products: where it stands, its name, its value for
    no."""
    cudnn = torch.backends.cudnn
    if not hasattr(cudnn, "conv"):  # before torch 2.9
        return [(cudnn, "allow_tf32", False)]
    mkldnn: Any = torch.backends.mkldnn
    owners = (torch.backends.cuda.matmul, cudnn.conv, mkldnn.matmul, mkldnn.conv)
    return [(owner, "fp32_precision", "ieee") for owner in owners]


_float32 = _Float32()
