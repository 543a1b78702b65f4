"""Graphs of fixed shapes, used like one of dynamic shapes.

Some accelerators run only graphs whose every shape is a number. They still answer any prompt:
unused token slots carry label -2, which changes nothing, and unused rows are cut off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from samdeploy.constants import LABEL_ABSENT
from samdeploy.errors import InputError
from samdeploy.families import per_call
from samdeploy.session import Array, Session, TensorSpec

#: Tokens that the decoder adds to those of a prompt: four masks and their ratings.
OUTPUT_TOKENS = 5


def variant_paths(graph: Path) -> list[Path]:
    """The artifact itself and, where it exists, the one for many prompts beside it."""
    batched = graph.with_name(f"{graph.stem}_batch{graph.suffix}")
    return [graph, batched] if batched.exists() else [graph]


class FixedShapes:
    """One :class:`~samdeploy.session.Session` over variants of a graph that differ in their numbers
    of prompts and points.

    A call goes to the variant that leaves least of its room unused, several times where it has too
    many prompts for one.
    """

    def __init__(self, variants: Sequence[Session]) -> None:
        self._variants = list(variants)
        first = self._variants[0]
        self.inputs = tuple(map(_dynamic, first.inputs))
        self.outputs = tuple(map(_dynamic, first.outputs))

    @property
    def provider(self) -> str:
        return self._variants[0].provider

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        needed: dict[str, int] = {}
        for name, array in feeds.items():
            needed.update(zip(per_call(name), array.shape, strict=False))
        session = self._choose(needed)
        if not needed:
            return session.run(feeds)
        prompts, step = needed["prompts"], _numbers(session)["prompts"]
        parts = [
            session.run(_padded(session, feeds, slice(start, min(start + step, prompts))))
            for start in range(0, prompts, step)
        ]
        return {
            spec.name: np.concatenate([part[spec.name] for part in parts])[:prompts]
            for spec in self.outputs
        }

    def close(self) -> None:
        for session in self._variants:
            session.close()

    def _choose(self, needed: Mapping[str, int]) -> Session:
        holding = [
            variant
            for variant in self._variants
            if all(n <= _numbers(variant)[name] for name, n in needed.items() if name != "prompts")
        ]
        if not holding:
            # Values are what a scorer of this bundle gave for its points.
            points, most = needed["points"], max(_numbers(v)["points"] for v in self._variants)
            raise InputError(
                f"a prompt has {points} tokens (points, box corners, padding); this bundle takes "
                f"{most} at most, export it again with max_points={points}."
            )
        return min(holding, key=lambda variant: _work(variant, needed))


def _padded(session: Session, feeds: Mapping[str, Array], rows: slice) -> dict[str, Array]:
    padded = {}
    for spec in session.inputs:
        array = feeds[spec.name]
        if per_call(spec.name):
            part = array[rows]  # all of them begin with prompts
            array = np.zeros([int(side) for side in spec.shape], part.dtype)
            if spec.name == "point_labels":
                array[:] = LABEL_ABSENT
            array[tuple(slice(side) for side in part.shape)] = part
        padded[spec.name] = array
    return padded


def _numbers(session: Session) -> dict[str, int]:
    """The dynamic dimensions in a variant."""
    numbers: dict[str, int] = {}
    for spec in session.inputs:
        numbers.update(zip(per_call(spec.name), map(int, spec.shape), strict=False))
    return numbers


def _work(variant: Session, needed: Mapping[str, int]) -> int:
    """How many tokens a call computes, or values, those that only fill up included."""
    numbers = _numbers(variant)
    prompts = numbers.get("prompts", 1)
    rounds = -(-needed.get("prompts", 1) // prompts)
    return rounds * prompts * numbers.get("values", numbers.get("points", 0) + OUTPUT_TOKENS)


def _dynamic(spec: TensorSpec) -> TensorSpec:
    names = per_call(spec.name)
    return TensorSpec(spec.name, (*names, *spec.shape[len(names) :]), spec.dtype)
