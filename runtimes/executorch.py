"""ExecuTorch on the processor, through its Python package, which needs torch. Apps do without."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar
from weakref import WeakSet

import torch
from executorch.extension.pybindings import portable_lib
from executorch.runtime import Runtime as Library

from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.fixed_shapes import open_variants
from samdeploy.session import Array, Availability, RuntimeOptions, Session, TensorSpec
from samdeploy.text import reason

#: Calls take turns, also those of different graphs: a process has one pool of threads for all
#: programs.
_TURN = threading.RLock()
#: Those whose programs hold that pool: to change it then would end the process.
_OPEN: WeakSet[ExecuTorchSession] = WeakSet()
_DEFAULT_THREADS: int = portable_lib._threadpool_get_thread_count()


class ExecuTorchRuntime:
    name: ClassVar[str] = "executorch"
    suffixes: ClassVar[tuple[str, ...]] = (".pte",)
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("cpu",), version=version("executorch"))

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        if device != "cpu":
            raise RuntimeUnavailableError(
                f"device '{device}' is not one of runtime 'executorch', whose Python package "
                "computes on the cpu; pass device=cpu."
            )
        options.refuse_all_but("threads", runtime=self.name)
        with _TURN:
            _set_threads(options.threads)
            return open_variants(graph, ExecuTorchSession)


def _set_threads(wanted: int | None) -> None:
    found = portable_lib._threadpool_get_thread_count()
    if not _OPEN:
        portable_lib._unsafe_reset_threadpool(wanted or _DEFAULT_THREADS)
    elif wanted not in (None, found):
        raise InputError(
            f"threads={wanted}; a process has one pool of threads for ExecuTorch, and a model that "
            f"is open has {found} in it: close that first, or leave threads out."
        )


class ExecuTorchSession:
    """Safe for threads."""

    provider = "ExecuTorch CPU (XNNPACK)"

    def __init__(self, path: Path) -> None:
        try:
            program = Library.get().load_program(path)
            names = [program.load_method(name).execute([]) for name in ("inputs", "outputs")]
            self._method: Any = program.load_method("forward")
        except Exception as error:  # KeyError of another's program, RuntimeError of a broken one
            raise BundleError(
                f"ExecuTorch cannot open '{path}' ({reason(error)}); export it again."
            ) from error
        told = self._method.metadata
        sides = (told.input_tensor_meta, told.output_tensor_meta)
        self.inputs, self.outputs = (
            tuple(TensorSpec(name, tuple(tell(i).sizes())) for i, name in enumerate(each))
            for each, tell in zip(names, sides, strict=True)
        )
        _OPEN.add(self)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        with _TURN:
            if self._method is None:
                raise InputError("the session is closed; open the model again.")
            # Copied, because torch knows no read-only tensors and some arrays are.
            given = [torch.from_numpy(feeds[spec.name].copy()) for spec in self.inputs]
            answers = self._method.execute(given)
            return {
                spec.name: answer.numpy().copy()
                for spec, answer in zip(self.outputs, answers, strict=True)
            }

    def close(self) -> None:
        with _TURN:
            self._method = None
            _OPEN.discard(self)
