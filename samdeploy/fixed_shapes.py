"""Graphs of fixed shapes, used like one of dynamic shapes.

Some accelerators run only graphs whose every shape is a number. They still answer any prompt:
unused token slots carry label -2 or its bias, which changes nothing, and unused rows are cut off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from samdeploy.constants import ABSENT_BIAS, LABEL_ABSENT
from samdeploy.errors import InputError
from samdeploy.families import dynamic, per_call
from samdeploy.graphs import HOSTED, MASK_HEAD, SCORER
from samdeploy.session import Array, Session, TensorSpec

#: Tokens that the decoder adds to those of a prompt: four masks and their ratings.
OUTPUT_TOKENS = 5

#: What says of a token slot that it is unused.
_ABSENT = {"point_labels": LABEL_ABSENT, HOSTED["point_labels"]: ABSENT_BIAS}
#: Tokens of a click: the point and SAM's padding.
_CLICK_TOKENS = 2
#: Behind the role, in the names of artifacts for one click and for many prompts.
_CLICK, _BATCH = "_click", "_batch"


def variants(
    role: str, inputs: Sequence[TensorSpec], prompts: int, points: int
) -> dict[str, tuple[int, int]]:
    """Names of the artifacts of a graph, and the numbers of prompts and points of each: one for a
    prompt of ``points`` tokens, and for what takes prompts, one for ``prompts`` of them.

    What the scorer and the mask head compute grows with the tokens. So they have one for a click
    too, and that for many prompts is for clicks, which are what whole-image mode asks."""
    shapes = {role: (1, points)}
    if not _takes_prompts(inputs):
        return shapes
    clicks = role in (SCORER, MASK_HEAD)
    if clicks and points > _CLICK_TOKENS:
        shapes[f"{role}{_CLICK}"] = (1, _CLICK_TOKENS)
    if prompts > 1:
        shapes[f"{role}{_BATCH}"] = (prompts, _CLICK_TOKENS if clicks else points)
    return shapes


def record_of(
    inputs: Sequence[TensorSpec], shapes: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    """The entry of a manifest for :func:`variants`; empty for a graph that takes no prompts."""
    numbers = {name: list(each) for name, each in shapes.items()}
    return {"prompts_and_points": numbers} if _takes_prompts(inputs) else {}


def _takes_prompts(inputs: Sequence[TensorSpec]) -> bool:
    return any(dynamic(spec.name) for spec in inputs)


def variant_paths(graph: Path) -> list[Path]:
    """The artifact itself and, where they exist, those for a click and for many prompts."""
    beside = (graph.with_name(f"{graph.stem}{kind}{graph.suffix}") for kind in (_CLICK, _BATCH))
    return [graph, *(path for path in beside if path.exists())]


def open_variants(graph: Path, open_one: Callable[[Path], Session]) -> Session:
    """``graph`` and what is beside it as one session, where its shapes are fixed; a graph of free
    shapes is a session alone."""
    session = open_one(graph)
    if not any(per_call(spec.name) and isinstance(spec.shape[0], int) for spec in session.inputs):
        return session
    return FixedShapes([session, *map(open_one, variant_paths(graph)[1:])])


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
            part = array = array[rows]  # all of them begin with prompts
            shape = tuple(int(side) for side in spec.shape)
            if part.shape != shape:
                array = np.full(shape, _ABSENT.get(spec.name, 0), part.dtype)
                array[tuple(slice(side) for side in part.shape)] = part
        padded[spec.name] = array
    return padded


def _numbers(session: Session) -> dict[str, int]:
    """The dynamic dimensions in a variant."""
    numbers: dict[str, int] = {}
    for spec in session.inputs:
        numbers.update(zip(per_call(spec.name), map(int, spec.shape), strict=False))
    return numbers


def _work(variant: Session, needed: Mapping[str, int]) -> tuple[int, int]:
    """How many tokens are computed, or values, those that only fill up included; in how many
    calls."""
    numbers = _numbers(variant)
    prompts = numbers.get("prompts", 1)
    calls = -(-needed.get("prompts", 1) // prompts)
    each = numbers.get("values", numbers.get("points", 0) + OUTPUT_TOKENS)
    return calls * prompts * each, calls


def _dynamic(spec: TensorSpec) -> TensorSpec:
    names = per_call(spec.name)
    return TensorSpec(spec.name, (*names, *spec.shape[len(names) :]), spec.dtype)
