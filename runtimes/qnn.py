"""Qualcomm's NPUs (Hexagon): ONNX Runtime with its plugin onnxruntime-qnn, on a Snapdragon.

A file is an ONNX graph of one operator. It holds what the plugin built for one chip, and names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar

import onnxruntime as ort

from samdeploy.errors import BundleError, RuntimeUnavailableError
from samdeploy.fixed_shapes import open_variants
from samdeploy.runtimes.onnx_providers import PROVIDERS, Provider
from samdeploy.runtimes.onnxruntime import OnnxSession, plugin_devices, register_plugin
from samdeploy.session import Availability, RuntimeOptions, Session

#: Chips whose NPU computes in float16, and Qualcomm's numbers of them (``QnnTypes.h`` of its SDK).
SOCS: Mapping[str, int] = {
    "sm8450": 36,  # Snapdragon 8 Gen 1
    "sm8475": 42,  # 8+ Gen 1
    "sm8550": 43,  # 8 Gen 2
    "sm8650": 57,  # 8 Gen 3
    "sm8750": 69,  # 8 Elite
    "sm8850": 87,  # 8 Elite Gen 5
    "sc8380xp": 60,  # X Elite
}
#: What the plugin is asked for, when a file is written as when it is opened.
SETTINGS = {"backend_type": "htp"}
#: The entry of a file's metadata that names the chip.
SOC = "soc"
NPU = PROVIDERS["qnn"]

_INSTALL = "pip install 'samdeploy[qnn]'"
#: In what ONNX Runtime says of an error: where in its source it was raised, and its number.
_PLACE = re.compile(r"\S+\.(?:cc|h):\d+ \S+ |\[ONNXRuntimeError\] : \d+ : ")


class QnnRuntime:
    name: ClassVar[str] = "qnn"
    suffixes: ClassVar[tuple[str, ...]] = (".qnn",)
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    @classmethod
    def availability(cls) -> Availability:
        return qnn_availability("qnn", NPU)

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        if device != "qnn":
            raise RuntimeUnavailableError(
                f"device '{device}' is not one of runtime '{self.name}', which runs on a "
                "Snapdragon's NPU; pass device=qnn."
            )
        options.refuse_all_but(runtime=self.name)
        return open_variants(graph, lambda path: open_context(path, NPU, "QNN"))


def qnn_availability(device: str, provider: Provider, *, simulated: bool = False) -> Availability:
    """Whether the plugin is there and finds what ``provider`` computes on, for ``device``."""
    try:
        found = version(provider.package)
    except PackageNotFoundError:
        return Availability(reason=f"{provider.package} is not installed", install=_INSTALL)
    reason = register_plugin(provider)
    if reason:
        install = "" if simulated else "runtime=qnn-simulator checks a bundle on x86"
        return Availability(reason=reason, install=install)
    return Availability(devices=(device,), version=found, simulated=simulated)


def context_options(provider: Provider, settings: Mapping[str, str]) -> ort.SessionOptions:
    """All of a graph is given to the plugin, or it is an error."""
    made = ort.SessionOptions()
    made.log_severity_level = 4  # what is an error is raised
    made.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    made.add_provider_for_devices(plugin_devices(provider)[:1], dict(settings))
    return made


def open_context(path: Path, provider: Provider, what: str) -> Session:
    """``what`` is the provider's name before the chip's."""
    try:
        session = ort.InferenceSession(path, context_options(provider, SETTINGS))
        soc = session.get_modelmeta().custom_metadata_map[SOC]
    except Exception as error:  # ONNX Runtime raises a family of unrelated types
        raise BundleError(
            f"QNN cannot open '{path}' ({words(error)}); export it again, with soc= this chip."
        ) from error
    return OnnxSession(session, f"{what}, {soc}")


def words(error: Exception) -> str:
    """What the plugin says of an error, on one line."""
    return " ".join(_PLACE.sub("", str(error)).split()) or type(error).__name__
