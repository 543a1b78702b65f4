"""The contract of every runtime. The tests of a backend subclass :class:`RuntimeContract`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from samdeploy.checked import CheckedSession
from samdeploy.contracts import fixed_shape, names_of
from samdeploy.decoding import Decoding
from samdeploy.embedding import Embedding
from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.geometry import Transform
from samdeploy.graphs import DECODER, ENCODER, ROLES, SAM_CONTRACT, SCORER
from samdeploy.prompts import Prompt, encode_prompts
from samdeploy.registry import load_runtime
from samdeploy.session import Array, Runtime, RuntimeOptions

Model = dict[str, CheckedSession]


class RuntimeContract:
    """Subclasses set :attr:`runtime` and say where their graphs are."""

    runtime: ClassVar[str]
    device: ClassVar[str] = "cpu"
    #: Whether the graphs hold the split decoder, as those of every exporter do.
    split: ClassVar[bool] = True
    #: How far answers may be from those of the same prompt in another batch, relative.
    tolerance: ClassVar[float] = 1e-5
    #: How far the split decoder may be from the plain one, relative.
    split_tolerance: ClassVar[float] = 1e-4

    @classmethod
    def find_graphs(cls, fixture: Callable[[str], Any]) -> dict[str, Path]:
        """Artifact by role; ``fixture`` gives the value of a fixture by name."""
        raise AssertionError("the subclass says where its graphs are")

    @classmethod
    def opener(cls) -> Runtime:
        """What opens them."""
        return load_runtime(cls.runtime)()

    @classmethod
    def find_options(cls, fixture: Callable[[str], Any]) -> RuntimeOptions:
        return RuntimeOptions(threads=1)

    @pytest.fixture(scope="class")
    @classmethod
    def graphs(cls, request: pytest.FixtureRequest) -> dict[str, Path]:
        return cls.find_graphs(request.getfixturevalue)

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls, request: pytest.FixtureRequest) -> RuntimeOptions:
        return cls.find_options(request.getfixturevalue)

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, graphs: dict[str, Path], options: RuntimeOptions) -> Iterator[Model]:
        opener = cls.opener()
        sessions = {
            role: CheckedSession(opener.open(path, role, device=cls.device, options=options), role)
            for role, path in graphs.items()
        }
        yield sessions
        for session in sessions.values():
            session.close()

    @pytest.fixture(scope="class")
    @classmethod
    def embedding(cls, model: Model) -> Array:
        shape = fixed_shape(model[ENCODER], "image")
        image = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
        return model[ENCODER].run({"image": image})["image_embeddings"]

    def feeds(self, embedding: Array, prompts: list[Prompt]) -> dict[str, Array]:
        size = embedding.shape[-1] * 16
        encoded = encode_prompts(prompts, Transform.fit((size, size), size), size // 4)
        return {"image_embeddings": embedding, **encoded.feeds()}

    def prompts(self, embedding: Array) -> list[Prompt]:
        """One of every kind, of different lengths."""
        low = embedding.shape[-1] * 4
        rough = np.random.default_rng(1).normal(0, 6, (low, low)).astype(np.float32)
        return [
            Prompt(points=[20, 30]),
            Prompt(points=[[20, 30], [40, 44], [50, 8]], labels=[1, 0, 1]),
            Prompt(box=[10, 12, 50, 40]),
            Prompt(box=[10, 12, 50, 40], points=[[30, 30]], labels=[0]),
            Prompt(points=[20, 30], mask=rough),
            Prompt(mask=rough),
        ]

    def test_availability_names_devices(self) -> None:
        state = load_runtime(self.runtime).availability()
        assert state.usable
        assert self.device in state.devices
        assert state.version

    def test_names_and_dtypes_are_those_of_the_contract(self, model: Model) -> None:
        assert set(model) >= set(ROLES)
        for role, session in model.items():
            inputs, outputs = names_of(SAM_CONTRACT.tensors[role])
            assert tuple(spec.name for spec in session.inputs) == inputs
            assert tuple(spec.name for spec in session.outputs) == outputs
            assert {spec.dtype for spec in (*session.inputs, *session.outputs)} == {"float32"}

    def test_the_split_decoder_answers_like_the_plain_one(
        self, model: Model, embedding: Array
    ) -> None:
        if SCORER not in model:
            assert not self.split, "a model has a split decoder beside the plain one"
            return
        prompts = [p for p in self.prompts(embedding) if p.mask is None]
        size = embedding.shape[-1] * 16
        transform = Transform.fit((size, size), size)
        encoded = encode_prompts(prompts, transform, size // 4)
        plain = model[DECODER].run({"image_embeddings": embedding, **encoded.feeds()})
        answer = Decoding(model)(Embedding({"image_embeddings": embedding}, transform), encoded)
        rows = np.array([2, 0])  # masks in any order, and not of all
        for found, expected in (
            (answer.iou_predictions, plain["iou_predictions"]),
            (answer.masks(rows), plain["low_res_masks"][rows]),
        ):
            assert np.abs(found - expected).max() <= self.split_tolerance * np.abs(expected).max()
        cells = (size // 4 - 9, size // 4 - 14)
        part, whole = answer.masks(rows, cells), answer.masks(rows)
        assert part.shape[2] >= cells[0] + 1
        assert part.shape[3] >= cells[1] + 1
        expected = whole[..., : part.shape[2], : part.shape[3]]
        assert np.abs(part - expected).max() <= self.split_tolerance * np.abs(expected).max()

    def test_provider_says_what_runs(self, model: Model) -> None:
        assert all(session.provider for session in model.values())

    def test_shapes_of_the_answer(self, model: Model, embedding: Array) -> None:
        prompts = self.prompts(embedding)
        answer = model[DECODER].run(self.feeds(embedding, prompts))
        low = embedding.shape[-1] * 4
        assert answer["low_res_masks"].shape == (len(prompts), 4, low, low)
        assert answer["iou_predictions"].shape == (len(prompts), 4)
        assert all(np.isfinite(values).all() for values in answer.values())

    def test_an_answer_does_not_depend_on_its_batch(self, model: Model, embedding: Array) -> None:
        prompts = self.prompts(embedding)
        together = model[DECODER].run(self.feeds(embedding, prompts))
        for index, prompt in enumerate(prompts):
            alone = model[DECODER].run(self.feeds(embedding, [prompt]))
            for name, values in alone.items():
                scale = np.abs(values).max()
                difference = np.abs(values[0] - together[name][index]).max()
                assert difference <= self.tolerance * scale, (name, index)

    def test_an_answer_does_not_depend_on_the_calls_before(
        self, graphs: dict[str, Path], options: RuntimeOptions, embedding: Array
    ) -> None:
        """Of one prompt, of many, and of parts of the image."""
        prompts = [p for p in self.prompts(embedding) if p.mask is None]
        size = embedding.shape[-1] * 16
        transform = Transform.fit((size, size), size)
        opener = self.opener()
        found = []
        for counts in ([1, len(prompts)], [len(prompts)]):
            sessions = {
                role: CheckedSession(
                    opener.open(path, role, device=self.device, options=options), role
                )
                for role, path in graphs.items()
            }
            decoding = Decoding(sessions)
            image = Embedding({"image_embeddings": embedding}, transform)
            for count in counts:
                encoded = encode_prompts(prompts[:count], transform, size // 4)
                answer = decoding(image, encoded)
                masks = [answer.masks(np.arange(count), cells) for cells in ((9, 14), None)]
            found.append([answer.iou_predictions, *masks])
            for session in sessions.values():
                session.close()
        for after, alone in zip(*found, strict=True):
            assert np.abs(after - alone).max() <= self.tolerance * np.abs(alone).max()

    def test_a_prompt_matters(self, model: Model, embedding: Array) -> None:
        answers = [
            model[DECODER].run(self.feeds(embedding, [prompt]))["low_res_masks"]
            for prompt in self.prompts(embedding)[:3]
        ]
        assert np.abs(answers[0] - answers[1]).max() > 1e-2
        assert np.abs(answers[0] - answers[2]).max() > 1e-2

    def test_mask_input_is_not_read_without_its_flag(self, model: Model, embedding: Array) -> None:
        feeds = self.feeds(embedding, [Prompt(points=[20, 30])])
        expected = model[DECODER].run(feeds)["low_res_masks"]
        found = model[DECODER].run({**feeds, "mask_input": feeds["mask_input"] + 9})
        np.testing.assert_allclose(found["low_res_masks"], expected, rtol=0, atol=1e-4)

    def test_runs_are_repeatable_and_owned_by_the_caller(
        self, model: Model, embedding: Array
    ) -> None:
        feeds = self.feeds(embedding, [Prompt(points=[20, 30])])
        first = model[DECODER].run(feeds)["low_res_masks"]
        kept = first.copy()
        second = model[DECODER].run(feeds)["low_res_masks"]
        np.testing.assert_array_equal(kept, second)
        np.testing.assert_array_equal(kept, first)

    @pytest.mark.parametrize("change", ["missing", "extra", "dtype", "shape", "counts"])
    def test_wrong_feeds_are_refused(self, model: Model, embedding: Array, change: str) -> None:
        feeds: dict[str, Any] = self.feeds(embedding, [Prompt(points=[20, 30])])
        if change == "missing":
            del feeds["has_mask_input"]
        elif change == "extra":
            feeds["orig_im_size"] = np.zeros(2, np.float32)
        elif change == "dtype":
            feeds["point_coords"] = feeds["point_coords"].astype(np.float64)
        elif change == "shape":
            feeds["image_embeddings"] = feeds["image_embeddings"][0]
        else:
            feeds["has_mask_input"] = np.zeros(2, np.float32)
        with pytest.raises(InputError):
            model[DECODER].run(feeds)

    def test_a_device_that_is_not_here_is_an_error(
        self, graphs: dict[str, Path], options: RuntimeOptions
    ) -> None:
        runtime = load_runtime(self.runtime)
        absent = next(
            d for d in ("cuda", "mps", "coreml") if d not in runtime.availability().devices
        )
        with pytest.raises((RuntimeUnavailableError, InputError), match=absent):
            self.opener().open(graphs[ENCODER], ENCODER, device=absent, options=options)

    @pytest.mark.parametrize("number", [":7", ".7", ":x"])
    def test_a_number_that_no_device_has_is_an_error(
        self, graphs: dict[str, Path], options: RuntimeOptions, number: str
    ) -> None:
        opener, device = self.opener(), self.device + number
        with pytest.raises((RuntimeUnavailableError, InputError), match=re.escape(device)):
            opener.open(graphs[DECODER], DECODER, device=device, options=options)

    def test_a_closed_session_stays_closed(
        self, graphs: dict[str, Path], options: RuntimeOptions, embedding: Array
    ) -> None:
        opened = self.opener().open(graphs[DECODER], DECODER, device=self.device, options=options)
        opened.close()
        opened.close()
        with pytest.raises(InputError, match="closed; open the model again"):
            opened.run(self.feeds(embedding, [Prompt(points=[20, 30])]))
