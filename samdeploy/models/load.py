"""A checkpoint file to a :class:`Sam` in evaluation mode.

Nothing that a file holds is executed: ``torch.load`` runs with ``weights_only=True``.
"""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from samdeploy.errors import CheckpointError
from samdeploy.models.config import SamConfig
from samdeploy.models.infer import infer_config, stored_image_size
from samdeploy.models.resize import resize_positions
from samdeploy.models.sam import Sam

_WRAPPERS = ("model", "state_dict")


def load_sam(
    path: str | Path,
    *,
    config: Mapping[str, Any] | str | Path | None = None,
    imgsz: int | None = None,
) -> Sam:
    """Open a checkpoint (``.pt``, ``.pth``, ``.safetensors``).

    Args:
        config: what tensor shapes cannot tell, as a mapping or the path of a JSON file.
        imgsz: side of the encoder input in pixels; position tables are resized when it differs
            from the checkpoint's.

    Raises:
        CheckpointError: not a readable checkpoint, or a key is missing, extra or mis-shaped.
    """
    state, own_config = read_checkpoint(Path(path))
    sam_config = infer_config(state, _combine(own_config, read_config(config)))
    wanted = sam_config.image_size if imgsz is None else imgsz
    sam_config = sam_config.with_image_size(stored_image_size(state) or sam_config.image_size)
    if wanted != sam_config.image_size:
        sam_config, state = resize_positions(sam_config, state, wanted)
    return build_sam(sam_config, state)


def build_sam(config: SamConfig, state: Mapping[str, Tensor]) -> Sam:
    """A :class:`Sam` holding ``state``; every key must be there with its shape, and no other."""
    with torch.device("meta"):
        sam = Sam(config)
    _check_keys({k: tuple(v.shape) for k, v in sam.state_dict().items()}, state)
    sam = Sam(config)
    sam.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return sam.eval().requires_grad_(False)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict in a file, and the configuration stored beside it (empty if there is none)."""
    content = _read(path)
    own_config: dict[str, Any] = {}
    if isinstance(content, Mapping):
        stored = content.get("config")
        if isinstance(stored, Mapping):
            own_config = dict(stored)
        for name in _WRAPPERS:
            if isinstance(content.get(name), Mapping):
                content = content[name]
                break
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(
            f"'{path}' holds a {type(content).__name__}; expected a state dict (names to tensors)."
        )
    state = {}
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"'{path}' holds {key!r}: {type(value).__name__}; expected a state dict "
                "(names to tensors only)."
            )
        state[key.removeprefix("module.")] = value
    return state, own_config


def read_whole_image(path: Path) -> dict[str, Any]:
    """The whole-image settings that a checkpoint recommends beside its weights; most have none."""
    if path.suffix == ".safetensors":
        return {}
    # Memory-mapped, so that the weights themselves are not read.
    content = _read(path, mmap=zipfile.is_zipfile(path))
    stored = content.get("whole_image") if isinstance(content, Mapping) else None
    return dict(stored) if isinstance(stored, Mapping) else {}


def read_config(config: Mapping[str, Any] | str | Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    if isinstance(config, Mapping):
        return dict(config)
    try:
        content = json.loads(Path(config).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"config '{config}' cannot be read ({error}); expected a JSON file."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"config '{config}' holds no JSON object; expected names to numbers.")
    return content


def _read(path: Path, mmap: bool = False) -> Any:
    if not path.is_file():
        raise CheckpointError(f"checkpoint '{path}' does not exist; expected a file.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            # Whether it can be read is told below, in words for users.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"'{path}' is not a plain checkpoint: it is damaged or holds objects other than "
            "tensors, which are never executed; save its state dict and use that."
        ) from error
    except (
        SafetensorError, RuntimeError, EOFError, OSError, KeyError, ValueError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise CheckpointError(
            f"'{path}' cannot be read as a checkpoint; it is truncated or not a "
            ".pt / .pth / .safetensors file, fetch it again."
        ) from error


def _combine(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings in one; ``given`` wins entry by entry."""
    combined = dict(stored)
    for name, value in given.items():
        below = combined.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = _combine(below, value)
        combined[name] = value
    return combined


def _check_keys(expected: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor]) -> None:
    missing = [key for key in expected if key not in state]
    if missing:
        raise CheckpointError(
            f"the checkpoint has no '{missing[0]}'{_and_more(missing)}, which its other tensors "
            "ask for; expected a whole SAM state dict."
        )
    extra = [key for key in state if key not in expected]
    if extra:
        raise CheckpointError(
            f"the checkpoint holds '{extra[0]}'{_and_more(extra)}, which no part of the model "
            "uses; expected the weights of one Segment Anything model."
        )
    for key, shape in expected.items():
        if tuple(state[key].shape) != shape:
            raise CheckpointError(
                f"'{key}' has shape {list(state[key].shape)}; expected {list(shape)}: pass config= "
                "when the architecture is not a published one."
            )


def _and_more(keys: list[str]) -> str:
    return f" (and {len(keys) - 1} more keys)" if len(keys) > 1 else ""
