"""Weights of a bundle that no library opens: a safetensors file, which cannot hold code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from samdeploy.errors import BundleError
from samdeploy.session import Array


def read_weights(path: Path) -> tuple[dict[str, Array], Mapping[str, str]]:
    """Tensors by name, and what the file tells beside them.

    Raises:
        BundleError: it cannot be read.
    """
    from safetensors import SafetensorError, safe_open  # here: few bundles have such a file

    try:
        with safe_open(path, framework="numpy") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
            return weights, file.metadata() or {}
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise BundleError(f"'{path}' cannot be read ({error}); export the bundle again.") from error
