"""What a session says of itself and what it answers is checked once, above every backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import samdeploy.opening as opening
from samdeploy.checked import CheckedSession
from samdeploy.contracts import Specs
from samdeploy.errors import BundleError, InputError, RuntimeUnavailableError
from samdeploy.graphs import DECODER, ENCODER, MASK_HEAD, SCORER, graph_specs, numbers
from samdeploy.session import Array, Availability, RuntimeOptions, TensorSpec

SIZE, CHANNELS, PROMPTS, POINTS = 64, 8, 2, 3
SIDES = numbers(PROMPTS, POINTS, SIZE // 16)
SPECS = graph_specs(SIZE, CHANNELS)


def zeros(spec: TensorSpec, **sides: int) -> Array:
    known = {**SIDES, **sides}
    return np.zeros([known.get(str(side), side) for side in spec.shape], np.float32)


class Answering:
    """Gives zeros of the right shapes, with what ``change`` makes of them."""

    provider = "stored"

    def __init__(self, specs: Specs, change: Callable[[dict[str, Any]], Any] | None = None) -> None:
        self.inputs, self.outputs = specs
        self.change = change
        self.closed = False

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        answer = {spec.name: zeros(spec) for spec in self.outputs}
        if self.change is not None:
            self.change(answer)
        return answer

    def close(self) -> None:
        self.closed = True


def ask(role: str, change: Callable[[dict[str, Any]], Any] | None = None, **sides: int) -> Any:
    session = CheckedSession(Answering(SPECS[role], change), role, SPECS[role])
    return session.run({spec.name: zeros(spec, **sides) for spec in session.inputs})


@pytest.mark.parametrize("role", list(SPECS))
def test_right_answers_pass(role: str) -> None:
    assert set(ask(role)) == {spec.name for spec in SPECS[role][1]}


@pytest.mark.parametrize(
    ("role", "change"),
    [
        (ENCODER, lambda a: a.clear()),
        (ENCODER, lambda a: a.update(image_embeddings=np.zeros((1, 8, 4, 5), np.float32))),
        (ENCODER, lambda a: a.update(image_embeddings=np.zeros((8, 4, 4), np.float32))),
        (ENCODER, lambda a: a.update(image_embeddings=np.zeros((1, 8, 4, 4), np.float64))),
        (DECODER, lambda a: a.update(iou_predictions=np.zeros((1, 4), np.float32))),
        (DECODER, lambda a: a.update(iou_predictions=np.zeros((0, 4), np.float32))),
        (DECODER, lambda a: a.update(low_res_masks=np.zeros((3, 4, 16, 16), np.float32))),
        (DECODER, lambda a: a.update(low_res_masks=np.zeros((2, 4, 16, 16), np.int64))),
        (SCORER, lambda a: a.update(mask_values=a["mask_values"][:, 1:])),
        (SCORER, lambda a: a.update(mask_scale=a["mask_scale"][..., 1:])),
        (MASK_HEAD, lambda a: a.update(low_res_masks=a["low_res_masks"][..., 1:])),
    ],
)
def test_wrong_answers_are_an_error(role: str, change: Callable[[dict[str, Any]], Any]) -> None:
    with pytest.raises(BundleError, match=f"the {role} graph gave a wrong answer on stored"):
        ask(role, change)


def test_masks_are_of_the_part_that_was_asked_for() -> None:
    """A mask head that gives the whole image whatever part of it is wanted."""
    with pytest.raises(BundleError, match="'low_res_masks' has shape"):
        ask(MASK_HEAD, rows=2, positions=8)


def test_what_a_backend_raises_is_said() -> None:
    def fail(answer: dict[str, Any]) -> None:
        raise RuntimeError("out of\nmemory")

    with pytest.raises(RuntimeUnavailableError, match="RuntimeError: out of memory"):
        ask(ENCODER, fail)

    def refuse(answer: dict[str, Any]) -> None:
        raise InputError("no.")

    with pytest.raises(InputError, match=r"^no\.$"):
        ask(ENCODER, refuse)


def test_what_a_graph_says_of_itself() -> None:
    def opened(inputs: tuple[TensorSpec, ...], recorded: Specs | None = None) -> None:
        CheckedSession(Answering((inputs, SPECS[ENCODER][1])), ENCODER, recorded)

    for shape, dtype in (
        ((1, 3, 64), "float32"),
        ((1, 3, 64, 64), "uint8"),
        ((1, 3, 64, 64), "seq(tensor(float))"),
        ((1, 3, 10**6, 10**6), "float32"),
    ):
        with pytest.raises(BundleError, match="the encoder graph has 'image'"):
            opened((TensorSpec("image", shape, dtype),))
    other = (TensorSpec("image", (1, 3, 128, 128)),)
    opened(other)
    with pytest.raises(BundleError, match="its manifest tells"):
        opened(other, SPECS[ENCODER])


def test_a_graph_for_a_fixed_number_of_prompts() -> None:
    inputs, outputs = SPECS[DECODER]
    fixed = tuple(
        TensorSpec(spec.name, tuple(SIDES.get(str(side), side) for side in spec.shape))
        for spec in inputs
    )
    with pytest.raises(BundleError, match="its manifest tells"):
        CheckedSession(Answering((fixed, outputs)), DECODER, SPECS[DECODER])


class Breaking:
    """A runtime that opens an encoder and fails with the next graph."""

    name: ClassVar[str] = "breaking"
    suffixes: ClassVar[tuple[str, ...]] = ()
    Options: ClassVar[type[RuntimeOptions]] = RuntimeOptions
    opened: ClassVar[list[Answering]] = []

    @classmethod
    def availability(cls) -> Availability:
        return Availability(devices=("cpu",))

    def open(self, graph: Path, role: str, *, device: str, options: RuntimeOptions) -> Answering:
        if role != ENCODER:
            raise RuntimeError("a library's\nown words")
        self.opened.append(Answering(SPECS[role]))
        return self.opened[-1]


def test_whatever_a_library_raises_when_it_opens_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "load_runtime", lambda name: Breaking)
    monkeypatch.setattr(opening, "availability", lambda group, name: Breaking.availability())
    graphs = {ENCODER: Path("encoder"), DECODER: Path("decoder")}
    with pytest.raises(BundleError, match="RuntimeError: a library's own words"):
        opening.open_graphs(graphs, "breaking", "auto", RuntimeOptions())
    assert [session.closed for session in Breaking.opened] == [True]
