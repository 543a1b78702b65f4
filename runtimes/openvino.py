"""OpenVINO, on Intel and other CPUs, GPUs and NPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ClassVar

import numpy as np
import openvino as ov

from samdeploy.bounded_shapes import BoundedShapes
from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.families import dimension, tensor_names
from samdeploy.fixed_shapes import FixedShapes, open_variants
from samdeploy.graphs import ENCODER, PREPARE
from samdeploy.precision import FP32, arithmetic_name, element_type
from samdeploy.session import Array, Availability, RuntimeOptions, Session, TensorSpec

_HINTS = ("latency", "throughput")
#: What OpenVINO calls the arithmetic that a device is able to do beside fp32.
_CAPABILITIES = {"bf16": "BF16", "fp16": "FP16"}


class OpenVinoRuntime:
    name: ClassVar[str] = "openvino"
    suffixes: ClassVar[tuple[str, ...]] = (".xml", ".onnx")
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    @classmethod
    def availability(cls) -> Availability:
        # "GPU.0" and "GPU.1" are devices of their own; "GPU" is the first of them.
        found = [device.lower() for device in ov.Core().available_devices]
        if not found:
            return Availability(reason="OpenVINO finds no device", version=ov.__version__)
        first = [device for device in found if device == "cpu"]
        rest = [device for device in found if device != "cpu"]
        return Availability(
            devices=(*first, *rest, "auto"), version=ov.__version__, lower=lower_arithmetic
        )

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        core = ov.Core()
        kind, _, number = device.upper().partition(".")
        found = core.available_devices
        kinds = {"AUTO", *(name.partition(".")[0] for name in found)}
        if kind not in kinds or (number not in ("", "0") and device.upper() not in found):
            raise RuntimeUnavailableError(
                f"device '{device}' is not one that OpenVINO finds here; usable: "
                f"{list(self.availability().devices)}."
            )
        # Left alone, devices choose less than fp32, which nobody has asked for.
        options = replace(options, precision=options.precision or FP32)
        settings = _settings(options)

        def open_one(path: Path) -> Session:
            try:
                try:
                    compiled = core.compile_model(path, device.upper(), settings)
                except RuntimeError as error:
                    if "snippets" not in str(error):
                        raise
                    # Fusing them, version 2026.4 fails on scorers of fixed shapes.
                    unfused = {**settings, "SNIPPETS_MODE": "DISABLE"}
                    compiled = core.compile_model(path, device.upper(), unfused)
            except RuntimeError as error:
                raise BundleError(
                    f"OpenVINO cannot open '{path}' on {device}: {str(error).splitlines()[0]}; "
                    "export it again or choose another device."
                ) from error
            check_honoured(compiled, options, device)
            return OpenVinoSession(compiled, role, options.streams or 1)

        session = open_variants(graph, open_one)
        # For every new shape OpenVINO keeps several MB.
        return session if isinstance(session, FixedShapes) else BoundedShapes(session)


class OpenVinoSession:
    """As many requests as there are streams, which :meth:`run` may use from as many threads."""

    def __init__(self, compiled: ov.CompiledModel, role: str, streams: int) -> None:
        self._idle: SimpleQueue[ov.InferRequest] | None = SimpleQueue()
        for _ in range(streams):
            self._idle.put(compiled.create_infer_request())
        self.inputs = tuple(_spec(port, role) for port in compiled.inputs)
        self.outputs = tuple(_spec(port, role) for port in compiled.outputs)
        devices = compiled.get_property("EXECUTION_DEVICES")
        # They run once per image and take more than what answers its prompts, which need it next.
        alone = role in (ENCODER, PREPARE) and streams == 1 and devices == ["CPU"]
        self._once_per_image = compiled if alone else None
        used = compiled.get_property("INFERENCE_PRECISION_HINT")
        self._provider = f"OpenVINO {'+'.join(devices)} {arithmetic_name(used.to_string())}"

    @property
    def provider(self) -> str:
        """Device and the precision that inference really uses, such as ``OpenVINO CPU bf16``."""
        return self._provider

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        idle, once_per_image = self._idle, self._once_per_image
        if idle is None:
            raise InputError("the session is closed; open the model again.")
        request = idle.get()
        try:
            # Without sharing, inputs are copied first and outputs twice; one copy is needed, since
            # the request's own buffers are used again by its next run.
            results = request.infer(dict(feeds), share_inputs=True, share_outputs=True)
            return {spec.name: np.array(results[index]) for index, spec in enumerate(self.outputs)}
        finally:
            idle.put(request if once_per_image is None else _afresh(once_per_image))

    def close(self) -> None:
        self._idle = self._once_per_image = None


def _afresh(compiled: ov.CompiledModel) -> ov.InferRequest:
    """A request for the next image; what the last one took is given back."""
    request = compiled.create_infer_request()
    compiled.release_memory()
    return request


def _settings(options: RuntimeOptions) -> dict[str, Any]:
    options.refuse_all_but(
        "threads", "precision", "cache", "performance_hint", "streams", runtime=OpenVinoRuntime.name
    )
    hint = options.performance_hint
    if hint not in (None, *_HINTS):
        raise InputError(f"performance_hint={hint}; expected one of {', '.join(_HINTS)}.")
    given = {
        "PERFORMANCE_HINT": (hint or "latency").upper(),
        "INFERENCE_NUM_THREADS": options.threads,
        "NUM_STREAMS": options.streams,
        "INFERENCE_PRECISION_HINT": element_type(options.precision or FP32),
        "CACHE_DIR": None if options.cache is None else str(options.cache),
    }
    return {name: value for name, value in given.items() if value is not None}


def lower_arithmetic(device: str) -> tuple[str, ...]:
    """Arithmetic that OpenVINO says ``device`` has beside fp32."""
    found = ov.Core().get_property(device.upper(), "OPTIMIZATION_CAPABILITIES")
    return tuple(name for name, capability in _CAPABILITIES.items() if capability in found)


def check_honoured(compiled: ov.CompiledModel, options: RuntimeOptions, device: str) -> None:
    """OpenVINO takes these as hints and puts others in their place without a word."""
    for name, key in (("precision", "INFERENCE_PRECISION_HINT"), ("streams", "NUM_STREAMS")):
        wanted = getattr(options, name)
        found = None if wanted is None else compiled.get_property(key)
        used = arithmetic_name(found.to_string()) if isinstance(found, ov.Type) else found
        if used != wanted:
            raise InputError(
                f"{name}={wanted}; device '{device}' uses {used} instead, pass {name}={used} or "
                "choose another device."
            )


def _spec(port: Any, role: str) -> TensorSpec:
    # A port may have several names, in any order: an output also bears its producer's.
    known = {*chain(*tensor_names(role))}
    name = next((name for name in port.get_names() if name in known), port.any_name)
    shape = tuple(
        side.get_length() if side.is_static else dimension(name, axis)
        for axis, side in enumerate(port.get_partial_shape())
    )
    return TensorSpec(name, shape, np.dtype(port.get_element_type().to_dtype()).name)
