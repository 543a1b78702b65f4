"""Qualcomm's simulator of its NPUs, on any x86 machine: for checking and not for use.

It computes as the chip that a file was built for, some thousand times as slowly.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from samdeploy.errors import RuntimeUnavailableError
from samdeploy.fixed_shapes import open_variants
from samdeploy.runtimes.qnn import NPU, open_context, qnn_availability
from samdeploy.session import Availability, RuntimeOptions, Session

#: The plugin finds a processor where it simulates.
SIMULATOR = replace(NPU, hardware="CPU")


class QnnSimulatorRuntime:
    name: ClassVar[str] = "qnn-simulator"
    suffixes: ClassVar[tuple[str, ...]] = (".qnn",)
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    @classmethod
    def availability(cls) -> Availability:
        return qnn_availability("cpu", SIMULATOR, simulated=True)

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        if device != "cpu":
            raise RuntimeUnavailableError(
                f"device '{device}' is not one of runtime '{self.name}', which simulates on the "
                "cpu; runtime=qnn runs a bundle on its chip."
            )
        options.refuse_all_but(runtime=self.name)
        return open_variants(graph, lambda path: open_context(path, SIMULATOR, "QNN simulator"))
