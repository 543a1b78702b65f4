"""In the place of rknn-toolkit2: its calls, on ONNX Runtime. A file is the ONNX graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from onnx_session import run, session


class RKNN:
    def __init__(self, verbose: bool) -> None:
        print("I rknn-toolkit2 version: stand-in")  # as the real one: on standard output
        self._model, self._opened = b"", None

    def config(self, target_platform: str, disable_rules: list[str]) -> int:
        self._target = target_platform
        return 0

    def load_onnx(self, model: str) -> int:
        self._model = Path(model).read_bytes()
        return 0

    def build(self, do_quantization: bool) -> int:
        if self._target == "rk3562":
            print("\x1b[1;31mE\x1b[0m \x1b[1;31mbuild: no room on this chip!\x1b[0m")
            return -1
        return 0

    def export_rknn(self, path: str) -> int:
        Path(path).write_bytes(self._model)
        return 0

    def init_runtime(self) -> int:
        self._opened = session(self._model)
        return 0

    def inference(self, inputs: list[Any], data_format: list[str]) -> list[Any] | None:
        return run(self._opened, inputs, data_format)

    def release(self) -> None:
        self._opened = None
