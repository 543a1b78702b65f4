"""The record of an engine, in a JSON file beside it.

An engine opens only in the version of the library that built it, and on the GPUs that it was built
for. The library says so in words of its own, if at all; this says it in one sentence beforehand.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from samdeploy.cuda_driver import Gpu
from samdeploy.errors import BundleError
from samdeploy.runtimes.tensorrt_library import ANY_PLATFORM, Library, this_platform
from samdeploy.sidecars import read_beside, write_beside

_LONGEST = 4 << 20  # bytes

#: Smallest, likeliest and largest shape of an input.
Range = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


class Sidecar(msgspec.Struct, frozen=True):
    """``layers`` counts the network's layers by the type of what they compute; ``profiles`` holds
    the shapes of the dynamic inputs."""

    library: str
    version: str
    compute_capabilities: tuple[str, ...]
    platform: str
    device: str
    precision: str
    layers: dict[str, int]
    profiles: tuple[dict[str, Range], ...]


def write_sidecar(engine: Path, sidecar: Sidecar) -> None:
    write_beside(engine, sidecar)


def read_sidecar(engine: Path) -> Sidecar:
    """Raises :class:`BundleError` when it is missing or not one."""
    return read_beside(engine, Sidecar, _LONGEST)


def check_sidecar(engine: Path, sidecar: Sidecar, library: Library, gpu: Gpu) -> None:
    """Raise :class:`BundleError` when the engine cannot run in this library on this GPU."""
    if sidecar.version != library.version:
        raise BundleError(
            f"'{engine}' was built by {library.title} {sidecar.version} and {library.version} is "
            f"installed; export the bundle again or install {sidecar.version}."
        )
    if sidecar.platform not in (ANY_PLATFORM, this_platform()):
        raise BundleError(
            f"'{engine}' was built on {sidecar.platform} and this is {this_platform()}; export the "
            "bundle again here."
        )
    if gpu.capability not in sidecar.compute_capabilities:
        built_for = " ".join(
            filter(None, [", ".join(sidecar.compute_capabilities), sidecar.device])
        )
        raise BundleError(
            f"'{engine}' was built for compute capability {built_for} and {gpu.name} has "
            f"{gpu.capability}; export the bundle again on this machine or with "
            f"compute_capability={gpu.capability}."
        )
