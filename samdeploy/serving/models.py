"""The models of a server: each is opened once, and answers one request at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any

from samdeploy.closing import Closing
from samdeploy.embedding import Embedding
from samdeploy.errors import InputError
from samdeploy.graphs import PREPARE
from samdeploy.opening import class_of, open_model
from samdeploy.sam import SAM
from samdeploy.serving.turns import Turns
from samdeploy.session import RuntimeOptions

_FLOAT32 = 4


class ServedModel(Closing):
    """A model by the ``name`` that clients know it by."""

    def __init__(self, name: str, model: str, most_waiting: int, **opening: Any) -> None:
        self.name = name
        opened = open_model(model, **opening)
        self.sam = SAM(opened)
        self.turns = Turns(f"model '{name}'", most_waiting)
        self.facts: Mapping[str, Any] = self.sam.info(verbose=False)
        prepare = opened.sessions.get(PREPARE)
        # What all prompts on an image share is computed with the first one and kept.
        shapes = [] if prepare is None else [spec.shape for spec in prepare.outputs]
        self._shared = sum(
            prod(side for side in shape if isinstance(side, int)) * _FLOAT32 for shape in shapes
        )

    def size_of(self, embedding: Embedding) -> int:
        """Bytes that an embedding takes, with its image and what is prepared of it."""
        image = 0 if embedding.image is None else embedding.image.nbytes
        return image + self._shared + sum(each.nbytes for each in embedding.tensors.values())

    def close(self) -> None:
        self.turns.close()
        self.sam.close()


def open_models(
    models: Sequence[str],
    most_waiting: int,
    *,
    runtime: str | None = None,
    device: str = "auto",
    options: RuntimeOptions | None = None,
) -> dict[str, ServedModel]:
    """Open bundles (or checkpoints) under the names of their folders; the first is the default.

    Raises:
        InputError: none, one that is no SAM, or two of the same name.
        SamDeployError: what opening one raises.
    """
    if not models:
        raise InputError("model is empty; expected a bundle, or several between commas.")
    found: dict[str, ServedModel] = {}
    with ExitStack() as undo:
        for model in models:
            name = name_of(model)
            if name in found:
                raise InputError(
                    f"model={model} is a second '{name}'; rename one of the two folders."
                )
            opener = class_of(model)
            if not issubclass(opener, SAM):
                raise InputError(f"model={model} is a {opener.__name__}; serve needs a SAM.")
            found[name] = undo.enter_context(
                ServedModel(
                    name, model, most_waiting, runtime=runtime, device=device, options=options
                )
            )
        undo.pop_all()
    return found


def name_of(model: str) -> str:
    """The name of a bundle's folder, or of a checkpoint without its ending."""
    path = Path(model).resolve()
    return path.name if path.is_dir() else path.stem
