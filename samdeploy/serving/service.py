"""What every route stands on: images are encoded once, and models answer one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from samdeploy.closing import Closing
from samdeploy.embedding import Embedding
from samdeploy.image_options import ImageOptions
from samdeploy.images import decode_image
from samdeploy.masks.masks import Masks
from samdeploy.prompts import Prompt
from samdeploy.serving.embeddings import EmbeddingStore
from samdeploy.serving.fetching import LabelStudioImages
from samdeploy.serving.models import ServedModel
from samdeploy.serving.pictures import Kept, Picture
from samdeploy.serving.refusals import GoneError, RefusedError
from samdeploy.serving.settings import ServerSettings
from samdeploy.serving.turns import Turns
from samdeploy.serving.wire import WirePrompt
from samdeploy.text import shortened, suggestion
from samdeploy.whole_image.settings import WholeImageSettings

T = TypeVar("T")

#: More prompts at once gain nothing that would be worth their memory.
_MOST_AT_ONCE = 64
_FETCHED_AT_ONCE = 4
_MOST_ADDRESSES = 10_000


class Service(Closing):
    """Models, the images that they have encoded, and the limits of requests."""

    def __init__(self, models: Mapping[str, ServedModel], settings: ServerSettings) -> None:
        self.models = models
        self.settings = settings
        self.store = EmbeddingStore(settings.cache_mb * 1_000_000)
        self._images = ImageOptions(max_pixels=settings.max_pixels)
        self._studio = None
        if settings.label_studio is not None:
            self._studio = LabelStudioImages(
                settings.label_studio, settings.label_studio_token, settings.max_bytes
            )
        self._fetching = Turns("Label Studio", settings.queue, _FETCHED_AT_ONCE)
        self.most_present = len(models) * (settings.queue + 1)
        self.present = 0
        #: Ids of images by their addresses: every click is about the same one.
        self._fetched: dict[str, str] = {}

    def close(self) -> None:
        """Wait for what is being fetched; the models are the caller's."""
        self._fetching.close()

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """One of the requests that may be here at a time: each holds its body in memory. For the
        thread that serves.

        Raises:
            RefusedError: as many are here as all models together let wait.
        """
        if self.present >= self.most_present:
            raise RefusedError(
                503, "the server is busy; try again in a second.", {"Retry-After": "1"}
            )
        self.present += 1
        try:
            yield
        finally:
            self.present -= 1

    def model(self, name: str | None = None) -> ServedModel:
        """The model of that name, or the first.

        Raises:
            RefusedError: there is none.
        """
        if not name:
            return next(iter(self.models.values()))
        if name not in self.models:
            hint = suggestion(name, self.models)
            raise RefusedError(404, f"no model '{shortened(name)}' here; {hint}")
        return self.models[name]

    async def encode(self, model: ServedModel, picture: Picture) -> tuple[Embedding, bool]:
        """The embedding of an image, and whether it was here already."""
        return await model.turns.take(lambda: self._embedding(model, picture))

    async def predict(
        self,
        model: ServedModel,
        image: Picture | Kept,
        prompts: Callable[[Embedding], Sequence[Prompt]],
        multimask: bool,
        finish: Callable[[Masks, Embedding], T],
    ) -> T:
        """Masks of ``prompts``, made of the encoded image; ``finish`` makes the answer of them, in
        the model's thread as everything that takes long."""

        def work() -> T:
            embedding, _ = self._embedding(model, image)
            asked = prompts(embedding)
            self.check_count(asked)
            return finish(
                model.sam.predict(embedding, prompts=asked, multimask=multimask), embedding
            )

        return await model.turns.take(work)

    async def generate(
        self,
        model: ServedModel,
        image: Picture | Kept,
        settings: Mapping[str, Any],
        finish: Callable[[Masks, Embedding], T],
    ) -> T:
        """Masks of the whole image; ``settings`` are those of
        :class:`~samdeploy.whole_image.settings.WholeImageSettings`."""
        self._check_settings(model, settings)

        def work() -> T:
            embedding, _ = self._embedding(model, image)
            return finish(model.sam.generate(embedding, **settings), embedding)

        return await model.turns.take(work)

    async def fetched(self, model: ServedModel, written: str) -> Picture | Kept:
        """The image that a task of Label Studio names; one that is kept is not fetched again.

        Raises:
            RefusedError: no Label Studio was named, or the image cannot be had from it.
        """
        studio = self._studio
        if studio is None:
            raise RefusedError(
                422,
                f"image {shortened(written)!r} is an address; start the server with "
                "label_studio=URL to have images fetched from there, or send a data URL.",
            )
        address = studio.address(written)
        known = self._fetched.get(address)
        if known is not None and self.store.get((model.name, known)) is not None:
            return Kept(known)
        picture = await self._fetching.take(lambda: studio.fetch(address))
        if len(self._fetched) >= _MOST_ADDRESSES:
            self._fetched.clear()
        self._fetched[address] = picture.id
        return picture

    def check_count(self, prompts: Sequence[Prompt | WirePrompt]) -> None:
        """Raise :class:`RefusedError` for more prompts, or more points in one, than is allowed."""
        most = self.settings.max_prompts
        if len(prompts) > most:
            raise RefusedError(
                422, f"{len(prompts)} prompts; expected at most {most}, send them apart."
            )
        points = max((np.size(p.points) // 2 for p in prompts if p.points is not None), default=0)
        if points > most:
            raise RefusedError(422, f"a prompt of {points} points; expected at most {most}.")

    def _check_settings(self, model: ServedModel, settings: Mapping[str, Any]) -> None:
        chosen = WholeImageSettings.from_names(settings, model.facts["whole_image"])
        most = self.settings.max_points
        boxes = chosen.proposals if isinstance(chosen.proposals, list) else ()
        asked = chosen.points + len(boxes)
        if asked > most:
            raise RefusedError(
                422,
                f"these settings ask at {asked} points; expected at most {most}, lower "
                "points_stride or crop_n_layers.",
            )
        crops = sum(4**layer for layer in range(chosen.crop_n_layers + 1))
        if crops > self.settings.max_crops:
            raise RefusedError(
                422,
                f"crop_n_layers={chosen.crop_n_layers} has {crops} crops, each of which is "
                f"encoded; expected at most {self.settings.max_crops}, lower it.",
            )
        if isinstance(chosen.proposals, str):
            raise RefusedError(
                422, f"proposals={chosen.proposals!r}; a server opens no files, send boxes."
            )
        # A model may recommend more: whoever started the server chose it.
        own = WholeImageSettings.from_names(model.facts["whole_image"]).points_batch_size
        batch, at_once = chosen.points_batch_size, max(_MOST_AT_ONCE, own)
        if batch > at_once:
            raise RefusedError(422, f"points_batch_size={batch}; expected at most {at_once}.")

    def _embedding(self, model: ServedModel, image: Picture | Kept) -> tuple[Embedding, bool]:
        key = model.name, image.id
        found = self.store.get(key)
        if found is not None:
            return found, True
        if isinstance(image, Kept):
            raise GoneError(
                f"image '{shortened(image.id)}' is not here (any more) for model '{model.name}'; "
                "send the image itself."
            )
        pixels = decode_image(image.content, "the image", self._images)
        embedding = model.sam.encode(pixels, channel_order="rgb")
        self.store.put(key, embedding, model.size_of(embedding))
        return embedding, False
