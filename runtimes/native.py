"""samdeploy's own kernels for the two graphs that prompts go through, the scorer and the mask head.

Exact like the graphs, in float32, and several times as fast on processors: what is as long as the
image never leaves the caches. They take the place of the two graphs in a bundle whatever else runs
it (``precision=kernels``); the other graphs are the bundle's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np

from samdeploy.contracts import Specs
from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.graphs import KERNEL_ROLES, MASK_HEAD, SCORER, graph_specs
from samdeploy.graphs_sam2 import sam2_specs
from samdeploy.limits import whole
from samdeploy.processor import usable_cores
from samdeploy.resident import Resident
from samdeploy.runtimes.native_library import Floats, Kernels, instructions
from samdeploy.session import MOST_IMGSZ, Array, Availability, RuntimeOptions, Session
from samdeploy.weights_file import read_weights

_INSTALL = "install a C++ compiler and samdeploy again, from source"
_MOST_HEADS = 256


class NativeRuntime:
    """Opens the file of weights in the place of the graph of ``role``."""

    name: ClassVar[str] = "native"
    suffixes: ClassVar[tuple[str, ...]] = (".safetensors",)
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions

    def __init__(self) -> None:
        self._read: tuple[Path, Kernels] | None = None

    @classmethod
    def availability(cls) -> Availability:
        try:
            found = instructions()
        except OSError as error:
            return Availability(reason=f"the kernels cannot be loaded ({error})", install=_INSTALL)
        if not found:
            return Availability(
                reason="this processor has none of avx512, avx2 and neon",
                install="leave precision=kernels out",
            )
        return Availability(devices=("cpu",), version=found)

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Session:
        if role not in KERNEL_ROLES:
            raise InputError(
                f"runtime '{self.name}' has no {role} graph; pass precision=kernels instead, which "
                "takes the others from the bundle."
            )
        state = self.availability()
        if device not in state.devices:
            why = state.reason or "the kernels run on device=cpu"
            raise RuntimeUnavailableError(
                f"device '{device}' is not usable: {why}; {state.install or 'pass that'}."
            )
        # Weights are read once for both graphs.
        if self._read is None or self._read[0] != graph:
            self._read = graph, _read(graph)
        threads = options.threads or usable_cores()
        return {SCORER: ScorerSession, MASK_HEAD: MaskHeadSession}[role](self._read[1], threads)


def _read(path: Path) -> Kernels:
    weights, told = read_weights(path)
    try:
        size = whole("image_size", int(told["image_size"]), 16, MOST_IMGSZ)
        heads = whole("heads", int(told["heads"]), 1, _MOST_HEADS)
    except (KeyError, ValueError, InputError) as error:
        raise BundleError(
            f"'{path}' does not tell the image size and heads of its decoder ({error}); export the "
            "bundle again."
        ) from error
    return Kernels(weights, size, heads, path)


class _KernelSession(ABC):
    """Prompts of a call are shared out among ``threads``, a call of one prompt is one thread's.
    ``role`` is that of the graph whose place it takes."""

    role: ClassVar[str]

    def __init__(self, kernels: Kernels, threads: int) -> None:
        self._kernels, self.streams = kernels, threads
        self._workers = ThreadPoolExecutor(threads, "samdeploy-kernels") if threads > 1 else None
        self.inputs, self.outputs = self._specs()
        # By the name of each input that is the image's.
        self._packed = {
            spec.name: Resident[Floats](partial(kernels.pack, spec.name))
            for spec in self.inputs
            if spec.shape[0] != "prompts"
        }
        self.provider = f"kernels {instructions()}"
        self._closed = False

    def _specs(self) -> Specs:
        sizes = self._kernels.sizes
        specs_of = sam2_specs if sizes.score else graph_specs
        shape = {"outputs": sizes.masks, "heads": sizes.heads, "inner": sizes.inner}
        return specs_of(self._kernels.image_size, sizes.channels, **shape)[self.role]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._closed:
            raise InputError("this session is closed; open the model again.")
        image = {name: kept.get(name, feeds[name]) for name, kept in self._packed.items()}
        sizes = {name: feeds[name].shape for name in image}
        asked = {
            name: np.ascontiguousarray(array) for name, array in feeds.items() if name not in image
        }
        prompts = len(next(iter(asked.values())))
        parts = min(self.streams, prompts) if self._workers else 1
        if self._workers is None or parts < 2:
            return self._computed(image, sizes, asked)
        ends = [prompts * i // parts for i in range(parts + 1)]
        waiting = [
            self._workers.submit(
                self._computed, image, sizes, {name: a[start:stop] for name, a in asked.items()}
            )
            for start, stop in pairwise(ends)
        ]
        done = [each.result() for each in waiting]
        return {name: np.concatenate([part[name] for part in done]) for name in done[0]}

    @abstractmethod
    def _computed(
        self,
        image: Mapping[str, Floats],
        sizes: Mapping[str, tuple[int, ...]],
        asked: Mapping[str, Floats],
    ) -> dict[str, Array]:
        """``sizes`` are shapes of the image's inputs before they were packed."""

    def divided(self) -> Session:
        return type(self)(self._kernels, 1)

    def close(self) -> None:
        self._closed = True
        for kept in self._packed.values():
            kept.clear()
        if self._workers is not None:
            self._workers.shutdown()


class ScorerSession(_KernelSession):
    role: ClassVar[str] = SCORER

    def _computed(
        self,
        image: Mapping[str, Floats],
        sizes: Mapping[str, tuple[int, ...]],
        asked: Mapping[str, Floats],
    ) -> dict[str, Array]:
        shared = [image[name] for name in ("image_keys", "image_values", "image_norms")]
        positions = sizes["image_norms"][-1]
        answer = self._kernels.score(
            shared, positions, asked["point_coords"], asked["point_labels"]
        )
        return {**answer}


class MaskHeadSession(_KernelSession):
    role: ClassVar[str] = MASK_HEAD

    def _computed(
        self,
        image: Mapping[str, Floats],
        sizes: Mapping[str, tuple[int, ...]],
        asked: Mapping[str, Floats],
    ) -> dict[str, Array]:
        names = ("image_features", "high_res_tokens_1", "high_res_tokens_0")
        parts = [image[name] for name in names if name in image]
        rows, columns = sizes["image_features"][:2]
        positions = asked["mask_scale"].shape[-1]
        if positions != rows * columns:  # the kernels would read beyond the shorter one
            raise InputError(
                f"'mask_scale' is of {positions} positions; expected {rows * columns}, as "
                f"'image_features' has {rows} x {columns}."
            )
        prompts = [asked[f"mask_{name}"] for name in ("tokens", "scale", "weights", "values")]
        return {"low_res_masks": self._kernels.masks(parts, rows, columns, prompts)}
