"""A decoder of fixed shapes, used like one of dynamic shapes.

Some accelerators run only graphs whose every shape is a number. Such a decoder still answers any
prompt: unused token slots carry label -2, which changes nothing, and unused rows are cut off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from samdeploy.constants import LABEL_ABSENT
from samdeploy.errors import InputError
from samdeploy.graphs import fixed_shape
from samdeploy.session import Array, Session, TensorSpec

_PER_PROMPT = ("point_coords", "point_labels", "mask_input", "has_mask_input")
_OUTPUTS = ("low_res_masks", "iou_predictions")


class FixedShapeDecoder:
    """One :class:`~samdeploy.session.Session` over variants that differ in their number of prompts.

    A call goes to the smallest variant that holds all its prompts, or to the largest one several
    times.
    """

    def __init__(self, variants: Sequence[Session]) -> None:
        self._variants = sorted(variants, key=_prompts)
        first = self._variants[0]
        self._points = fixed_shape(first, "point_labels")[1]
        self.inputs = tuple(
            _dynamic(spec) if spec.name in _PER_PROMPT else spec for spec in first.inputs
        )
        self.outputs = tuple(_dynamic(spec) for spec in first.outputs)

    @property
    def provider(self) -> str:
        return self._variants[0].provider

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        prompts, points = feeds["point_labels"].shape
        if points > self._points:
            raise InputError(
                f"a prompt has {points} tokens (points, box corners, padding); this bundle takes "
                f"{self._points} at most, export it again with max_points={points}."
            )
        fits = [v for v in self._variants if _prompts(v) >= prompts]
        session = fits[0] if fits else self._variants[-1]
        step = _prompts(session)
        parts = [
            session.run(self._padded(feeds, slice(start, min(start + step, prompts)), step))
            for start in range(0, prompts, step)
        ]
        return {name: np.concatenate([p[name] for p in parts])[:prompts] for name in _OUTPUTS}

    def close(self) -> None:
        for session in self._variants:
            session.close()

    def _padded(self, feeds: Mapping[str, Array], rows: slice, size: int) -> dict[str, Array]:
        padded = {"image_embeddings": feeds["image_embeddings"]}
        for name in _PER_PROMPT:
            part = feeds[name][rows]
            shape = (size, self._points) if name.startswith("point") else (size,)
            whole = np.zeros((*shape, *part.shape[len(shape) :]), part.dtype)
            if name == "point_labels":
                whole[:] = LABEL_ABSENT
            whole[tuple(slice(side) for side in part.shape)] = part
            padded[name] = whole
        return padded


def _prompts(session: Session) -> int:
    return fixed_shape(session, "has_mask_input")[0]


def _dynamic(spec: TensorSpec) -> TensorSpec:
    names: tuple[int | str, ...] = ("prompts",)
    if spec.name.startswith("point"):
        names = ("prompts", "points")
    return TensorSpec(spec.name, (*names, *spec.shape[len(names) :]), spec.dtype)
