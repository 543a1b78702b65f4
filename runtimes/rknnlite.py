"""Rockchip's NPUs, on a board with one: through rknn-toolkit-lite2 and the board's librknnrt."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.fixed_shapes import open_variants
from samdeploy.runtimes.rknn_record import CHIPS, read_record
from samdeploy.session import Array, Availability, RuntimeOptions, Session

#: Where Linux on a board says what it is: names of boards and chips, ended by zeros.
_COMPATIBLE = Path("/proc/device-tree/compatible")


class RknnLiteRuntime:
    name: ClassVar[str] = "rknnlite"
    suffixes: ClassVar[tuple[str, ...]] = (".rknn",)
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    @classmethod
    def availability(cls) -> Availability:
        if not board_chip():
            return Availability(
                reason=f"this machine is no board with one of {', '.join(CHIPS)}",
                install="runtime=rknn-simulator checks a bundle on x86",
            )
        try:
            return Availability(devices=("npu",), version=version("rknn-toolkit-lite2"))
        except PackageNotFoundError:
            install = "pip install 'samdeploy[rknn]'"
            return Availability(reason="rknn-toolkit-lite2 is not installed", install=install)

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        if device != "npu":
            raise RuntimeUnavailableError(
                f"device '{device}' is not one of runtime '{self.name}', which runs on a board's "
                "NPU; pass device=npu."
            )
        options.refuse_all_but(runtime=self.name)
        return open_variants(graph, RknnLiteSession)


def board_chip() -> str:
    """Which of :data:`CHIPS` this board has; empty where it has none, or is no board."""
    try:
        names = _COMPATIBLE.read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    return next((chip for chip in CHIPS for each in names if f"rockchip,{chip}" in each), "")


class RknnLiteSession:
    """Safe for threads: calls take turns."""

    def __init__(self, path: Path) -> None:
        # Here and not above: the package is for boards alone, which availability() tells of.
        from rknnlite.api import RKNNLite

        record, chip = read_record(path), board_chip()
        if record.chip != chip:
            raise BundleError(
                f"'{path}' was built for {record.chip} and this board has "
                f"{chip or 'none of these chips'}; export the bundle again with "
                f"chip={chip or record.chip}."
            )
        self.inputs = tuple(each.spec for each in record.inputs)
        self.outputs = tuple(each.spec for each in record.outputs)
        self.provider = f"RKNN {chip}"
        self._lock = threading.Lock()
        library = RKNNLite(verbose=False)
        if library.load_rknn(str(path)) != 0 or library.init_runtime() != 0:
            library.release()
            raise BundleError(
                f"RKNN cannot open '{path}'; renew the board's librknnrt.so if it is older than "
                "the toolkit of the file, which the bundle's manifest names, or export it again."
            )
        self._library: Any = library

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        # Inputs of four dimensions would be taken to have channels last.
        given = [np.ascontiguousarray(feeds[spec.name]) for spec in self.inputs]
        with self._lock:
            if self._library is None:
                raise InputError("the session is closed; open the model again.")
            answers = self._library.inference(given, data_format=["nchw"] * len(given))
        if answers is None:
            raise RuntimeUnavailableError(
                f"{self.provider} failed while it ran the graph; restart the program, and see what "
                "the library printed."
            )
        return {
            spec.name: np.array(answer, np.float32).reshape([int(side) for side in spec.shape])
            for spec, answer in zip(self.outputs, answers, strict=True)
        }

    def close(self) -> None:
        with self._lock:
            if self._library is not None:
                self._library.release()
                self._library = None
