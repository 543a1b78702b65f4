"""A graph of dynamic shapes, run with few of them.

Some backends prepare themselves for every shape that they meet and keep what they prepared, so that
memory grows with every new number of prompts and points.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from samdeploy.constants import LABEL_ABSENT
from samdeploy.families import dynamic
from samdeploy.session import Array, Session, TensorSpec

#: What is written into the token slots that fill up.
_FILLING = {"point_coords": 0.0, "point_labels": float(LABEL_ABSENT)}


class BoundedShapes:
    """One :class:`~samdeploy.session.Session` over another, whose calls have a power of two of
    prompts, with a power of two of tokens each.

    Tokens are filled up with label -2, which changes no answer. Prompts are not filled up, since
    that costs time: a call is divided instead. One of 13 becomes three, of 8, 4 and 1.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._session.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._session.outputs

    @property
    def provider(self) -> str:
        return self._session.provider

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        per_prompt = [name for name in feeds if dynamic(name)[:1] == ("prompts",)]
        if not per_prompt:
            return self._session.run(feeds)
        filled = {name: _filled(name, array) for name, array in feeds.items()}
        parts = [
            self._session.run({**filled, **{name: filled[name][rows] for name in per_prompt}})
            for rows in _divided(len(filled[per_prompt[0]]))
        ]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def close(self) -> None:
        self._session.close()


def _filled(name: str, array: Array) -> Array:
    if name not in _FILLING:
        return array
    prompts, tokens = array.shape[:2]
    wanted = 1 << (tokens - 1).bit_length()
    if wanted == tokens:
        return array
    filled = np.full((prompts, wanted, *array.shape[2:]), _FILLING[name], array.dtype)
    filled[:, :tokens] = array
    return filled


def _divided(count: int) -> Iterator[slice]:
    """``range(count)`` in parts of powers of two, the largest first."""
    start = 0
    while start < count:
        step = 1 << ((count - start).bit_length() - 1)
        yield slice(start, start + step)
        start += step
