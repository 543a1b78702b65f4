"""A checkpoint file to a :class:`Sam` in evaluation mode, and to its graphs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from samdeploy.errors import CheckpointError, InputError
from samdeploy.models.checkpoint_file import file_size, read_content, refusing
from samdeploy.models.config import ConfigT, SamConfig
from samdeploy.models.conv_norm import merge_branches
from samdeploy.models.graph_modules import Splittable, graph_modules
from samdeploy.models.infer import infer_config, stored_image_size
from samdeploy.models.limits import check_names
from samdeploy.models.loaded import GraphModule, LoadedModel, ModelFacts
from samdeploy.models.resize import resize_positions
from samdeploy.models.sam import Sam
from samdeploy.models.sensitivity import EncodingModel, encoder_layers, sensitivity
from samdeploy.models.state_names import find_state
from samdeploy.preprocess import NAMED, SAM_STEPS, Preprocess, chosen_preprocess
from samdeploy.text import shown
from samdeploy.whole_image.settings import WholeImageSettings

_SamT = TypeVar("_SamT", bound=Sam)


class Loadable(Splittable, EncodingModel, Protocol):
    """A model that can be exported."""


_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
#: Of batch norms in training; inference does not read it.
_COUNTER = "num_batches_tracked"
#: Not in the published checkpoints; other programs store them beside the weights. What they are
#: called in :class:`Preprocess`.
_PIXELS = {"pixel_mean": "mean", "pixel_std": "std"}
#: Bytes of a configuration.
_LARGEST_CONFIG = 1 << 20


def load(
    path: Path,
    *,
    config: Mapping[str, Any] | str | Path | None = None,
    imgsz: int | None = None,
    trust: bool = False,
) -> LoadedModel:
    """The graphs of a checkpoint and what a manifest says of it; see :func:`load_sam`, which needs
    no ``trust``."""
    sam = load_sam(path, config=config, imgsz=imgsz)
    merge_branches(sam.image_encoder)  # layers are named as in the graphs, and rounded there
    return loaded("sam", sam, graph_modules(sam), path)


def loaded(
    family: str, sam: Loadable, graphs: Mapping[str, GraphModule], path: Path
) -> LoadedModel:
    """What there is to know of ``sam``, which was read from ``path``."""
    facts = ModelFacts(
        family=family,
        architecture=sam.config.architecture,
        image_size=sam.config.image_size,
        embedding_channels=sam.config.channels,
        config=sam.config.to_mapping(),
        whole_image=read_whole_image(path),
        preprocess=sam.preprocess,
    )
    return LoadedModel(facts, graphs, tuple(encoder_layers(sam)), partial(sensitivity, sam))


def load_sam(
    path: str | Path,
    *,
    config: Mapping[str, Any] | str | Path | None = None,
    imgsz: int | None = None,
) -> Sam:
    """Open a checkpoint that torch or safetensors wrote, whatever its name ends in.

    Args:
        config: what tensor shapes cannot tell, as a mapping or the path of a JSON file.
        imgsz: side of the encoder input in pixels; position tables are resized when it differs
            from the checkpoint's.

    Raises:
        CheckpointError: not a readable checkpoint, or a key is missing, extra or mis-shaped.
        InputError: no encoder can have an input of ``imgsz`` pixels.
    """
    return load_as(Sam, infer_config, Path(path), config, imgsz)


def load_as(
    model: Callable[[ConfigT, Preprocess], _SamT],
    infer: Callable[[Mapping[str, Tensor], Mapping[str, Any]], ConfigT],
    path: Path,
    config: Mapping[str, Any] | str | Path | None,
    imgsz: int | None,
) -> _SamT:
    """A ``model`` of what ``infer`` says of the weights and the configuration, see
    :func:`load_sam`."""
    given = read_config(config)
    check_names(given)
    state, combined = read_checkpoint(path, given)
    preprocess = chosen_preprocess(combined.get("preprocess"), SAM_STEPS)
    with refusing(path):
        found = infer(state, combined)
        wanted = found.image_size if imgsz is None else imgsz
        found = found.with_image_size(stored_image_size(state) or found.image_size)
        if wanted != found.image_size:
            found, state = resize_positions(found, state, wanted)
        return build_as(model, found, state, preprocess)


def build_sam(
    config: SamConfig, state: Mapping[str, Tensor], preprocess: Preprocess = SAM_STEPS
) -> Sam:
    """A :class:`Sam` holding ``state``; every key must be there with its shape, and no other."""
    return build_as(Sam, config, state, preprocess)


def build_as(
    model: Callable[[ConfigT, Preprocess], _SamT],
    config: ConfigT,
    state: Mapping[str, Tensor],
    preprocess: Preprocess = SAM_STEPS,
) -> _SamT:
    """A ``model``, see :func:`build_sam`."""
    # Weights get no values before they are put in their places: initializing them takes longer.
    with torch.device("meta"):
        sam = model(config, preprocess)
    check_keys({k: tuple(v.shape) for k, v in sam.state_dict().items()}, state)
    sam.load_state_dict({name: own_values(tensor) for name, tensor in state.items()}, assign=True)
    return sam.eval().requires_grad_(False)


def own_values(tensor: Tensor) -> Tensor:
    """A copy, in float32 if it has fractions: what was read may lie in the file itself."""
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return tensor.to(dtype, copy=True).contiguous()


def read_checkpoint(
    path: Path, config: Mapping[str, Any] | None = None, own: Preprocess = SAM_STEPS
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state dict in a file, and the configuration stored beside it (empty if there is none),
    with what ``config`` says in its place. ``own`` is how models of its family see images.

    Wrappers, prefixes and Hugging Face's names are gone; every tensor is of finite floats.

    Raises:
        CheckpointError: not a readable checkpoint of one SAM, or its numbers are of no use.
    """
    content = read_content(path)
    with refusing(path):
        state = find_state(content, str(path))
        # What is claimed may be more than the file holds: one number, expanded. Twice, because
        # tensors may share what they hold.
        claimed = sum(_bytes(value, key) for key, value in state.items())
        if claimed > 2 * file_size(path):
            raise CheckpointError(
                f"'{path}' claims {claimed} bytes of weights, more than it holds; save its state "
                "dict again."
            )
        for key, value in state.items():
            _check_numbers(key, value)
        combined = combine(_stored_config(path, content), config or {})
        steps = chosen_preprocess(combined.get("preprocess"), own)
        _check_pixels({name: state.pop(name) for name in _PIXELS if name in state}, steps)
        return state, combined


def read_preprocess(
    path: Path, config: Mapping[str, Any] | str | Path | None, own: Preprocess
) -> Preprocess:
    """How a checkpoint's model sees images: as ``config`` says, or the file, or else as ``own``."""
    content = read_content(path, weights=False)
    combined = combine(_stored_config(path, content), read_config(config))
    return chosen_preprocess(combined.get("preprocess"), own)


def _stored_config(path: Path, content: Any) -> dict[str, Any]:
    """A caller may name a file of preprocessing steps; what a file holds may not."""
    stored = content.get("config") if isinstance(content, Mapping) else None
    config = dict(stored) if isinstance(stored, Mapping) else {}
    steps = config.get("preprocess", {})
    if not isinstance(steps, Mapping) and steps not in [*NAMED]:
        raise CheckpointError(
            f"'{path}' stores preprocess={shown(steps)}; expected {', '.join(NAMED)} or a mapping."
        )
    return config


def read_whole_image(path: Path) -> dict[str, Any]:
    """The whole-image settings that a checkpoint recommends beside its weights; most have none.

    Raises:
        CheckpointError: it has some that are not settings.
    """
    content = read_content(path, weights=False)
    stored = content.get("whole_image") if isinstance(content, Mapping) else None
    if not isinstance(stored, Mapping):
        return {}
    with refusing(path):
        for name, value in stored.items():
            if not isinstance(value, (bool, int, float, str)):
                raise CheckpointError(
                    f"'{path}' recommends {shown(name)} of type {type(value).__name__}; expected a "
                    "number or a word."
                )
        try:
            WholeImageSettings.from_names({}, stored)
        except InputError as error:
            raise CheckpointError(f"'{path}' recommends whole-image settings: {error}") from error
        return dict(stored)


def read_config(config: Mapping[str, Any] | str | Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    if isinstance(config, Mapping):
        return dict(config)
    path = Path(config)
    file_size(path, _LARGEST_CONFIG)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"config '{config}' cannot be read ({error}); expected a JSON file."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"config '{config}' holds no JSON object; expected names to numbers.")
    return content


def _bytes(value: Tensor, key: str) -> int:
    """Bytes of a tensor as an ordinary one."""
    plain = not value.is_nested and not value.is_quantized and value.layout is torch.strided
    if not plain or value.device.type != "cpu":
        raise CheckpointError(
            f"'{key}' is a quantised, sparse, nested or empty (meta) tensor; expected the plain "
            "weights: export from the checkpoint that it was made of."
        )
    return value.numel() * value.element_size()


def _check_numbers(key: str, value: Tensor) -> None:
    if key.endswith(_COUNTER) and not value.is_complex():
        return
    if value.dtype not in _FLOATS:
        raise CheckpointError(
            f"'{key}' is of {str(value.dtype).removeprefix('torch.')}; expected float16, bfloat16, "
            "float32 or float64: export from the checkpoint before it was quantised."
        )
    bad = value.numel() - int(torch.isfinite(value.float()).sum())
    if bad:
        raise CheckpointError(
            f"'{key}' holds {bad} of {value.numel()} values that are not finite in float32 (NaN or "
            "infinite); the training or the conversion that wrote it failed, use an earlier one."
        )


def _check_pixels(stored: Mapping[str, Tensor], steps: Preprocess) -> None:
    """In 0 to 255, or both in 0 to 1, which is the same preprocessing.

    Raises:
        CheckpointError: the model was trained on images that were prepared in another way.
    """
    far = {}
    for scale in (1, 255):
        far = {
            name: value
            for name, value in stored.items()
            if value.numel() != 3
            or not torch.allclose(
                scale * value.float().flatten(),
                torch.tensor(getattr(steps, _PIXELS[name])),
                rtol=1e-3,
            )
        }
        if not far:
            return
    name, value = next(iter(far.items()))
    expected = list(getattr(steps, _PIXELS[name]))
    raise CheckpointError(
        f"the checkpoint's '{name}' is {shown(value.flatten()[:4].tolist())}; expected {expected}: "
        "pass what the model was trained with as preprocess={'mean': [...], 'std': [...]}, in "
        "0-255."
    )


def combine(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings in one; ``given`` wins entry by entry."""
    combined = dict(stored)
    for name, value in given.items():
        below = combined.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = combine(below, value)
        combined[name] = value
    return combined


def check_keys(expected: Mapping[str, tuple[int, ...]], state: Mapping[str, Tensor]) -> None:
    missing = [key for key in expected if key not in state]
    if missing:
        raise CheckpointError(
            f"the checkpoint has no '{missing[0]}'{_and_more(missing)}, which its other tensors "
            "ask for; expected a whole SAM state dict."
        )
    extra = [key for key in state if key not in expected]
    if extra:
        raise CheckpointError(
            f"the checkpoint holds '{extra[0][:120]}'{_and_more(extra)}, which no part of the "
            "model uses; expected the weights of one Segment Anything model."
        )
    for key, shape in expected.items():
        if tuple(state[key].shape) != shape:
            raise CheckpointError(
                f"'{key}' has shape {list(state[key].shape)}; expected {list(shape)}: pass config= "
                "when the architecture is not a published one."
            )


def _and_more(keys: list[str]) -> str:
    return f" (and {len(keys) - 1} more keys)" if len(keys) > 1 else ""
