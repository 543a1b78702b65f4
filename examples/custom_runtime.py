"""A runtime of your own: anything that takes named arrays and gives named arrays.

samdeploy export model=sam_tiny.pt
python examples/custom_runtime.py sam_tiny_onnx picture.png

Here it is ONNX Runtime once more, with a note of every call. Packed with an entry point it is
found by name like ours (``runtime=noted``): tests/plugin is such a package.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import onnxruntime as ort

from samdeploy import SAM
from samdeploy.bundle import Bundle
from samdeploy.checked import CheckedSession
from samdeploy.opening import OpenedModel
from samdeploy.session import Array, Availability, RuntimeOptions, TensorSpec


class NotedSession:
    """One graph. This is all that differs between backends."""

    provider = "ONNX Runtime, noted"

    def __init__(self, path: Path, role: str) -> None:
        self._session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        self._role = role
        self.inputs = tuple(TensorSpec(i.name, tuple(i.shape)) for i in self._session.get_inputs())
        self.outputs = tuple(
            TensorSpec(o.name, tuple(o.shape)) for o in self._session.get_outputs()
        )

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        started = time.perf_counter()
        names = [spec.name for spec in self.outputs]
        answers = dict(zip(names, self._session.run(names, dict(feeds)), strict=True))
        print(f"{self._role}: {1000 * (time.perf_counter() - started):.1f} ms")
        return answers

    def close(self) -> None:
        """Nothing to give back."""


class NotedRuntime:
    name: ClassVar[str] = "noted"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("cpu",), version=ort.__version__)

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> NotedSession:
        options.refuse_all_but(runtime=self.name)  # nothing that is asked is ignored
        return NotedSession(graph, role)


bundle = Bundle.open(sys.argv[1])
runtime = NotedRuntime()
sessions = {
    role: CheckedSession(runtime.open(path, role, device="cpu", options=RuntimeOptions()), role)
    for role, path in bundle.graphs().items()
}
with SAM(OpenedModel(sessions, bundle.folder, runtime.name, "cpu", bundle)) as sam:
    print(len(sam.predict(sys.argv[2], points=[50, 50])), "mask")
