"""Rockchip's simulator of its NPUs, on any x86 machine: for checking and not for use.

It runs what its toolkit builds and reads no files, so that the ONNX graph beside an ``.rknn`` file
is built once more, as it was for that file.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import ClassVar

from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.fixed_shapes import open_variants
from samdeploy.runtimes.rknn_record import read_record
from samdeploy.runtimes.rknn_toolkit import Toolkit, ToolkitError, toolkit_availability
from samdeploy.session import Array, Availability, RuntimeOptions, Session

_NUMBERS = count()


class RknnSimulatorRuntime:
    name: ClassVar[str] = "rknn-simulator"
    suffixes: ClassVar[tuple[str, ...]] = (".rknn",)
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    def __init__(self) -> None:
        self._toolkit: Toolkit | None = None

    @classmethod
    def availability(cls) -> Availability:
        return toolkit_availability("cpu", simulated=True)

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        if device != "cpu":
            raise RuntimeUnavailableError(
                f"device '{device}' is not one of runtime '{self.name}', which simulates on the "
                "cpu; runtime=rknnlite runs a bundle on its board."
            )
        options.refuse_all_but(runtime=self.name)
        if self._toolkit is None:
            self._toolkit = Toolkit()
        toolkit = self._toolkit
        return open_variants(graph, lambda path: SimulatedSession(path, toolkit))


class SimulatedSession:
    """Safe for threads: calls take turns, since there is one process."""

    def __init__(self, path: Path, toolkit: Toolkit) -> None:
        record = read_record(path)
        self.inputs = tuple(each.spec for each in record.inputs)
        self.outputs = tuple(each.spec for each in record.outputs)
        self.provider = f"RKNN simulator, {record.chip}"
        self._number = next(_NUMBERS)
        source = path.with_suffix(".onnx").absolute()
        try:
            toolkit.ask("open", onnx=str(source), chip=record.chip, number=self._number)
        except ToolkitError as error:
            raise BundleError(
                f"RKNN cannot simulate '{source}' ({error}); export it again."
            ) from error
        self._toolkit: Toolkit | None = toolkit

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._toolkit is None:
            raise InputError("the session is closed; open the model again.")
        given = [feeds[spec.name] for spec in self.inputs]
        try:
            answers = self._toolkit.ask("run", given, number=self._number)
        except ToolkitError as error:
            raise RuntimeUnavailableError(
                f"{self.provider} failed while it ran the graph ({error}); export it again."
            ) from error
        return {
            spec.name: answer.reshape([int(side) for side in spec.shape])
            for spec, answer in zip(self.outputs, answers, strict=True)
        }

    def close(self) -> None:
        toolkit, self._toolkit = self._toolkit, None
        if toolkit is not None:
            with suppress(ToolkitError):  # it ended before, and nothing is open there any more
                toolkit.ask("close", number=self._number)
