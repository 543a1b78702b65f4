"""MNN, on processors, and on the GPUs and NPUs that its build reaches."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.families import dimension, dynamic, named_shape, tensor_names
from samdeploy.native_output import kept_output
from samdeploy.session import Array, Availability, RuntimeOptions, Session, TensorSpec

# It prints what it finds on standard output, at import and at every step below.
with kept_output():
    import MNN
    from MNN import expr, nn

#: Devices, and what MNN calls their backends.
BACKENDS = {"cpu": "CPU", "metal": "METAL", "opencl": "OPENCL", "vulkan": "VULKAN", "nnapi": "NN"}
#: Calls take turns, also those of different graphs: all of a process share MNN's executor, and a
#: verification was seen to fail after two threads had used it.
_TURN = threading.RLock()
_ABSENT = Availability(
    reason="this build of MNN has no such backend, or no such device is here",
    install="the package from PyPI computes on the processor; build MNN with the backend",
)


class MnnRuntime:
    name: ClassVar[str] = "mnn"
    suffixes: ClassVar[tuple[str, ...]] = (".mnn",)
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    @classmethod
    def availability(cls) -> Availability:
        found = {device: _is_here(device) for device in BACKENDS}
        return Availability(
            devices=tuple(device for device, here in found.items() if here),
            version=MNN.version(),
            absent=lambda: {device: _ABSENT for device, here in found.items() if not here},
        )

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        if device not in BACKENDS:
            raise InputError(f"device '{device}'; runtime 'mnn' has {', '.join(BACKENDS)}.")
        if not _is_here(device):
            raise RuntimeUnavailableError(
                f"device '{device}' is not usable by MNN here: {_ABSENT.reason}; {_ABSENT.install}."
            )
        options.refuse_all_but("threads", runtime=self.name)
        return MnnSession(graph, role, device, options.threads or os.cpu_count() or 1)


@lru_cache
def _is_here(device: str) -> bool:
    """Whether MNN computes there, and not on the processor instead, which it would without a
    word."""
    with kept_output():
        _, honoured = MNN.Interpreter.createRuntime(({"backend": BACKENDS[device]},))
    return bool(honoured[0])


class MnnSession:
    """Safe for threads.

    A module for each pattern of sides that are 1: MNN 3.6 gives NaN for two prompts where the same
    module was asked for one before. They share their weights, with one that never runs.
    """

    def __init__(self, path: Path, role: str, device: str, threads: int) -> None:
        # "high" is float32, also where the processor has faster arithmetic.
        settings = {"backend": BACKENDS[device], "numThread": threads, "precision": "high"}
        try:
            with _TURN, kept_output() as said:
                told = nn.load_module_from_file(str(path), [], []).get_info()
                inputs, outputs = _in_order(role, told["inputNames"], told["outputNames"])
                self._module: Any = nn.load_module_from_file(
                    str(path), inputs, outputs,
                    runtime_manager=nn.create_runtime_manager((settings,)),
                )  # fmt: skip
        except Exception as error:  # it says in its output what is wrong
            why = said[-1] if said else error
            raise BundleError(f"MNN cannot open '{path}' ({why}); export it again.") from error
        self._running: dict[tuple[bool, ...], Any] = {}
        self._provider = f"MNN {BACKENDS[device]} fp32"
        shapes = {name: v.shape for name, v in zip(told["inputNames"], told["inputs"], strict=True)}
        self.inputs = tuple(_spec(name, shapes[name]) for name in inputs)
        self.outputs = tuple(TensorSpec(name, named_shape(name)) for name in outputs)

    @property
    def provider(self) -> str:
        """Backend and arithmetic, such as ``MNN CPU fp32``."""
        return self._provider

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        with _TURN:
            if self._module is None:
                raise InputError("the session is closed; open the model again.")
            given = [feeds[spec.name] for spec in self.inputs]
            ones = tuple(side == 1 for array in given for side in array.shape)
            if ones not in self._running:
                self._running[ones] = self._module.clone()
            answers = self._running[ones].onForward([*map(_variable, given)])
            # Copied: their memory is the module's.
            return {
                spec.name: np.array(answer.read())
                for spec, answer in zip(self.outputs, answers, strict=True)
            }

    def close(self) -> None:
        with _TURN:
            self._module = None
            self._running.clear()


def _in_order(role: str, *found: list[str]) -> list[list[str]]:
    """Inputs and outputs of a file in the order of the contract, and what that does not know."""
    known = tensor_names(role)
    return [
        [*(name for name in order if name in names), *(n for n in names if n not in order)]
        for order, names in zip(known, found, strict=True)
    ]


def _spec(name: str, shape: list[int]) -> TensorSpec:
    # The converter makes the first dynamic dimension 1, and the others -1.
    sides = enumerate(shape)
    first = dynamic(name)
    rest = (
        dimension(name, axis) if side < 0 else side for axis, side in sides if axis >= len(first)
    )
    return TensorSpec(name, (*first, *rest))


def _variable(array: Array) -> Any:
    return expr.const(array, list(array.shape), expr.NCHW, expr.float)
