"""Core ML, on macOS: ML Programs on the CPU, the GPU and the Neural Engine."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.families import tensor_names
from samdeploy.fixed_shapes import FixedShapes, variant_paths
from samdeploy.session import Array, Availability, RuntimeOptions, Session, TensorSpec

# Away from macOS coremltools warns at import that it cannot predict; the availability says so.
logging.getLogger("coremltools").setLevel(logging.ERROR)
import coremltools as ct  # noqa: E402

#: Devices to compute units. Core ML decides operator by operator within what is allowed.
COMPUTE_UNITS = {
    "all": ct.ComputeUnit.ALL,
    "npu": ct.ComputeUnit.CPU_AND_NE,
    "gpu": ct.ComputeUnit.CPU_AND_GPU,
    "cpu": ct.ComputeUnit.CPU_ONLY,
}


class CoreMlRuntime:
    name: ClassVar[str] = "coreml"
    suffixes: ClassVar[tuple[str, ...]] = (".mlpackage",)
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    @classmethod
    def availability(cls) -> Availability:
        if sys.platform != "darwin":
            return Availability(
                reason="Core ML predicts on macOS only",
                install="runtime=mil evaluates a package on any system, for checking",
                version=ct.__version__,
            )
        return Availability(devices=tuple(COMPUTE_UNITS), version=ct.__version__)

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        # Compute units are accepted under Apple's own names as well.
        names = {**COMPUTE_UNITS, **{unit.name.lower(): unit for unit in COMPUTE_UNITS.values()}}
        if device not in names:
            raise RuntimeUnavailableError(
                f"device '{device}' is not one of Core ML; expected one of {list(names)}."
            )
        options.refuse_all_but(runtime=self.name)
        return FixedShapes(
            [CoreMlSession(path, role, names[device]) for path in variant_paths(graph)]
        )


class CoreMlSession:
    """Safe for threads: calls take turns, since Core ML wants one at a time of a model."""

    def __init__(self, package: Path, role: str, units: Any) -> None:
        try:
            self._model: Any = ct.models.MLModel(str(package), compute_units=units)
            # Loading only warns when this system is too old for the package; this raises.
            self._model.get_compiled_model_path()
        except Exception as error:  # the framework's errors come in several types
            reason = " ".join(str(error).split())
            raise BundleError(
                f"Core ML cannot load '{package}' ({reason}); export it again with an older "
                "minimum_deployment_target, or update macOS."
            ) from error
        self._lock = threading.Lock()
        self._provider = f"Core ML {units.name}"
        description = self._model.get_spec().description
        found = {value.name: value for value in (*description.input, *description.output)}
        inputs, outputs = tensor_names(role)
        self.inputs = tuple(_spec(found[name]) for name in inputs if name in found)
        self.outputs = tuple(_spec(found[name]) for name in outputs if name in found)

    @property
    def provider(self) -> str:
        return self._provider

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        with self._lock:
            if self._model is None:
                raise InputError("the session is closed; open the model again.")
            try:
                answer = self._model.predict(dict(feeds))
            except Exception as error:  # as when it is loaded
                reason = " ".join(str(error).split())
                raise RuntimeUnavailableError(
                    f"{self._provider} failed while it ran the graph ({reason}); choose another "
                    "device."
                ) from error
        return {spec.name: np.array(answer[spec.name], np.float32) for spec in self.outputs}

    def close(self) -> None:
        with self._lock:
            self._model = None


def _spec(value: Any) -> TensorSpec:
    return TensorSpec(value.name, tuple(value.type.multiArrayType.shape))
