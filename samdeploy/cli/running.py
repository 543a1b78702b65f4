"""Which options the runtime of a command has."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from samdeploy.bundle import is_bundle, read_manifest
from samdeploy.errors import SamDeployError
from samdeploy.registry import load_runtime
from samdeploy.session import RuntimeOptions


def runtime_options_of(model: str | None, runtime: str | None) -> type[RuntimeOptions]:
    """Options of the runtime named, or of the bundle's. Where there is neither, or it cannot be
    loaded, those of every runtime: opening the model then says why."""
    with suppress(SamDeployError):
        if runtime is None and model is not None and is_bundle(model):
            runtime = read_manifest(Path(model)).runtime
        if runtime is not None:
            return load_runtime(runtime).Options
    return RuntimeOptions
