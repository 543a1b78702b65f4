"""The façade: open a model, give it images and prompts, get masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samdeploy.closing import Closing
from samdeploy.embedding import Embedding
from samdeploy.embedding_cache import EmbeddingCache
from samdeploy.engine import Engine
from samdeploy.errors import InputError
from samdeploy.facts import model_facts, show
from samdeploy.image_options import DEFAULT_OPTIONS, ImageOptions
from samdeploy.images import ChannelOrder, ImageSource, load_image
from samdeploy.masks.masks import Masks
from samdeploy.masks.results import results_of
from samdeploy.opening import OpenedModel, open_model
from samdeploy.prompts import Nested, Prompt, check_prompts, collect_prompts
from samdeploy.session import RuntimeOptions
from samdeploy.sources import iter_sources
from samdeploy.tracking.frames import Frames, iter_frames
from samdeploy.tracking.settings import TrackSettings
from samdeploy.tracking.track import Tracker, by_frame, track
from samdeploy.tracking.tracked import Tracked
from samdeploy.whole_image.generate import generate
from samdeploy.whole_image.proposals import Proposals, Proposers
from samdeploy.whole_image.settings import WholeImageSettings

if TYPE_CHECKING:
    from samdeploy.benchmarking import BenchmarkResult

#: Prompts in one decoder call of :meth:`SAM.predict`. At 1024 pixels each needs some 60 MB while
#: its masks are made, and more than a few gain no speed.
MAX_BATCH = 16


class SAM(Closing):
    """A Segment Anything model on any runtime.

    Args:
        model: a bundle folder, or a checkpoint by path or known name (``sam_b.pt``,
            ``sam_tiny.pt``...), or sessions that are open already, whose options stay theirs.
        runtime: ``onnxruntime``, ``torch``, ...; by default what the bundle was made for, or torch
            for a checkpoint.
        device: ``auto``, or a device of the runtime such as ``cpu`` or ``cuda``.
        threads: CPU threads of one inference.
        imgsz, config: for a checkpoint only: another input size, and architecture details that its
            tensor shapes do not tell.
        options: further :class:`RuntimeOptions`, instead of the three above.
        embedding_cache: folder in which embeddings are kept, so that an image that was encoded
            before opens at once.
        image_options: what pixels of more than 8 bits mean, and how large an image may be.

    Raises:
        SamDeployError: any subclass, with one sentence on what to do.

    Arrays given as images are BGR, as OpenCV reads them, unless ``channel_order="rgb"`` is passed;
    files and Pillow images know their own order. All coordinates are (x, y) in image pixels.
    """

    def __init__(
        self,
        model: str | Path | OpenedModel,
        *,
        runtime: str | None = None,
        device: str = "auto",
        threads: int | None = None,
        imgsz: int | None = None,
        config: Mapping[str, Any] | str | Path | None = None,
        options: RuntimeOptions | None = None,
        embedding_cache: str | Path | None = None,
        image_options: ImageOptions = DEFAULT_OPTIONS,
    ) -> None:
        options = options or RuntimeOptions(threads=threads, imgsz=imgsz, config=config)
        self._options = options
        if isinstance(model, OpenedModel):
            self._model: str | Path = model.source
            self._opened = model
        else:
            self._model = model
            self._opened = open_model(model, runtime=runtime, device=device, options=options)
        self._engine = Engine(self._opened)
        self._many: tuple[OpenedModel, Engine] | None = None
        self._opening_many = Lock()
        self._cache = (
            None
            if embedding_cache is None
            else EmbeddingCache(embedding_cache, self._opened.encoder_key)
        )
        self._image_options = image_options
        self._proposers = Proposers(self._options.threads)
        self._current: Embedding | None = None

    def close(self) -> None:
        """Free the sessions and the image of :meth:`set_image`; calling it twice is harmless."""
        self.reset_image()
        self._proposers.close()
        with self._opening_many:
            if self._many is not None:
                self._many[0].close_but(self._opened)
            self._many = None
        self._opened.close()

    @property
    def source(self) -> Path:
        """The bundle folder or checkpoint file that was opened."""
        return self._opened.source

    @property
    def image_size(self) -> int:
        """Side ``S`` of the encoder input in pixels."""
        return self._engine.image_size

    @classmethod
    def check(cls, prompted: bool, multimask: bool, settings: Mapping[str, Any]) -> None:
        """Raise :class:`InputError` for what this kind of model cannot be asked."""
        check_mode(prompted, multimask, settings)
        WholeImageSettings.from_names(settings)

    def encode(self, image: ImageSource, channel_order: ChannelOrder = "bgr") -> Embedding:
        """Run the image encoder once; any number of prompts can then be decoded."""
        return self._encode(load_image(image, channel_order, self._image_options))

    def _encode(self, pixels: NDArray[np.uint8]) -> Embedding:
        if self._cache is None:
            return self._engine.encode(pixels)
        return self._cache.get(pixels, self._engine.encode)

    def predict(
        self,
        target: Embedding | ImageSource | None = None,
        *,
        points: Nested | None = None,
        labels: Nested | None = None,
        bboxes: Nested | None = None,
        masks: ArrayLike | None = None,
        prompts: Prompt | Sequence[Prompt] | None = None,
        multimask: bool = False,
        channel_order: ChannelOrder = "bgr",
    ) -> Masks:
        """Masks of prompts.

        Args:
            target: an :class:`Embedding`, an image, or ``None`` for the one of :meth:`set_image`.
            points, labels, bboxes, masks: see :func:`samdeploy.prompts.collect_prompts`.
            prompts: :class:`Prompt` objects instead, of any mixture of kinds and lengths.
            multimask: three masks a prompt (for ambiguous ones, such as a single point) instead of
                one.

        Returns:
            One mask a prompt, or three, prompt-major.
        """
        if prompts is None:
            prompts = collect_prompts(points, labels, bboxes, masks)
        else:
            _check_one_form(points, labels, bboxes, masks)
            prompts = [prompts] if isinstance(prompts, Prompt) else prompts
        given = self._given(target)
        if isinstance(given, Embedding):
            image, transform = given.image, given.transform
        else:
            image = load_image(given, channel_order, self._image_options)
            transform = self._engine.transform((image.shape[0], image.shape[1]))
        side = self._engine.low_res_side
        check_prompts(prompts, transform, side)  # the encoder takes long
        embedding = given if isinstance(given, Embedding) else None
        answers = 3 if multimask else 1
        logits = [np.zeros((0, answers, side, side), np.float32)]
        iou = [np.zeros((0, answers), np.float32)]
        for start in range(0, len(prompts), MAX_BATCH):
            if embedding is None:
                assert image is not None
                embedding = self._encode(image)
            batch = self._engine.encode_prompts(prompts[start : start + MAX_BATCH], transform)
            answer = self._engine.decode(embedding, batch)
            rows = np.arange(len(batch))
            masks_of_all, iou_of_all = answer.masks(rows), answer.iou_predictions
            # Tokens 1 to 3 answer an ambiguous prompt with three masks.
            chosen = np.tile([1, 2, 3], (len(batch), 1))
            if not multimask:
                chosen = self._engine.single_mask(masks_of_all, iou_of_all)[:, None]
            logits.append(masks_of_all[rows[:, None], chosen])  # lets the other masks go
            iou.append(iou_of_all[rows[:, None], chosen])
        scores = np.concatenate(iou)
        low_res = np.concatenate(logits)
        return Masks.from_logits(
            low_res.reshape(-1, *low_res.shape[2:]),
            transform,
            scores.reshape(-1),
            prompt_index=np.repeat(np.arange(len(prompts)), scores.shape[1]),
            image=image,
        )

    def generate(
        self,
        image: Embedding | ImageSource | None = None,
        *,
        channel_order: ChannelOrder = "bgr",
        progress: Callable[[int, int], None] | None = None,
        **settings: Any,
    ) -> Masks:
        """Whole-image segmentation of an image, or of the one of :meth:`set_image`.

        ``settings`` are those of :class:`~samdeploy.whole_image.settings.WholeImageSettings`, under
        Ultralytics' or Meta's names; those left out are what the model recommends, else Meta's
        defaults. ``progress(done, total)`` counts prompts.
        """
        chosen = WholeImageSettings.from_names(settings, self._opened.whole_image)
        given = self._given(image)
        if isinstance(given, Embedding):
            if given.image is None:
                raise InputError("a loaded embedding holds no image; pass the image itself.")
            pixels = given.image
        else:
            pixels = load_image(given, channel_order, self._image_options)
        engine, streams = self._for_many(chosen)

        def encode(crop: NDArray[np.uint8]) -> Embedding:
            if crop.shape != pixels.shape:
                return engine.encode(crop)
            # The image itself, which may have been encoded before.
            return given if isinstance(given, Embedding) else self._encode(crop)

        proposals = None
        if chosen.proposals is not None:
            boxes = self._proposers.boxes(chosen.proposals, pixels)
            proposals = Proposals(boxes, engine.encode_prompts)
        return generate(
            encode, engine.decode, pixels, chosen, progress, streams, engine.single_mask, proposals,
        )  # fmt: skip

    def __call__(
        self,
        source: ImageSource | None = None,
        bboxes: Nested | None = None,
        points: Nested | None = None,
        labels: Nested | None = None,
        masks: ArrayLike | None = None,
        *,
        multimask: bool = False,
        stream: bool = False,
        channel_order: ChannelOrder = "bgr",
        **settings: Any,
    ) -> list[Masks] | Iterator[Masks]:
        """Segment a file, a folder, a glob pattern, a video or an array: one :class:`Masks` each.

        Without a prompt the whole image is segmented. ``source`` ``None`` is the image of
        :meth:`set_image`. With ``stream`` results come one by one, as they are made and asked for,
        instead of in a list.
        """
        prompted = any(value is not None for value in (bboxes, points, labels, masks))
        check_mode(prompted, multimask, settings)

        def one(image: Embedding | ImageSource) -> Masks:
            if not prompted:
                return self.generate(image, channel_order=channel_order, **settings)
            return self.predict(
                image, points=points, labels=labels, bboxes=bboxes, masks=masks,
                multimask=multimask, channel_order=channel_order,
            )  # fmt: skip

        return results_of(one, self._targets(source), stream, self._image_options)

    def track(
        self,
        source: Frames,
        *,
        points: Nested | None = None,
        labels: Nested | None = None,
        bboxes: Nested | None = None,
        masks: ArrayLike | None = None,
        prompts: Prompt | Sequence[Prompt] | Mapping[int, Sequence[Prompt]] | None = None,
        stream: bool = False,
        channel_order: ChannelOrder = "bgr",
        **settings: Any,
    ) -> list[Tracked] | Iterator[Tracked]:
        """Follow objects through a video, or the pictures of a folder: one :class:`Tracked` each.

        Every frame is encoded once and asked with what the one before has shown: there is no memory
        as in SAM 2. An object that is not seen is lost, and found again when it comes back soon.

        Args:
            source: a video file, a folder or a glob pattern of pictures in the order of their
                names, or images of any kind one after the other, such as a list, an array
                ``[T, H, W, 3]`` or a generator that reads a camera. All have to be of one size.
            points, labels, bboxes, masks: the objects in the first frame, one prompt each; see
                :func:`samdeploy.prompts.collect_prompts`.
            prompts: :class:`Prompt` objects instead, or a mapping of frame numbers, from 0, to
                those of objects that are there from that frame on.
            stream: results one by one, as they are made and asked for, instead of in a list: for
                long videos, of which a list would keep every frame.
            channel_order: order of the channels of arrays.
            settings: those of :class:`~samdeploy.tracking.settings.TrackSettings`.

        Raises:
            InputError: no prompt, one that does not fit its frame, or frames that cannot be read or
                differ in size; with ``stream`` when the frame is asked for.
        """
        chosen = TrackSettings.from_names(settings)
        if prompts is None:
            prompts = collect_prompts(points, labels, bboxes, masks)
        else:
            _check_one_form(points, labels, bboxes, masks)
        wanted = by_frame([prompts] if isinstance(prompts, Prompt) else prompts)
        frames = iter_frames(source, channel_order, self._image_options)
        results = track(self._encode, self._engine, frames, wanted, chosen)
        return results if stream else list(results)

    def tracker(self, **settings: Any) -> Tracker:
        """What follows objects through frames that come one by one, while objects come and go:
        ``tracker.step(Frame(name, pixels), {id: Prompt(...)})`` and ``tracker.remove(id)``.

        Args:
            settings: those of :class:`~samdeploy.tracking.settings.TrackSettings`.
        """
        return Tracker(self._encode, self._engine, TrackSettings.from_names(settings))

    def set_image(self, image: ImageSource, channel_order: ChannelOrder = "bgr") -> None:
        """Encode an image for the prompts that follow."""
        self._current = self.encode(image, channel_order)

    def reset_image(self) -> None:
        """Forget the image of :meth:`set_image`."""
        self._current = None

    def info(self, verbose: bool = True) -> dict[str, Any]:
        """Say what this model is and what runs it, as plain values; printed unless told
        otherwise."""
        opened = self._opened
        own = {"image_size": self.image_size, "whole_image": dict(opened.whole_image)}
        facts = model_facts(opened, opened.sessions, **own)
        if opened.bundle is not None:
            facts["tuned"] = _tuned(opened)
        if verbose:
            show(facts)
        return facts

    def export(self, **options: Any) -> Path:
        """Export the checkpoint that this model was opened from; see :func:`samdeploy.export`.

        Raises:
            InputError: it was opened from a bundle.
        """
        if self._opened.bundle is not None:
            raise InputError(
                f"'{self.source}' is a bundle, which cannot be exported again; open the checkpoint."
            )
        from samdeploy.exporting.pipeline import export  # here: a click needs none of it

        opened_with = {"config": self._options.config, "imgsz": self._options.imgsz}
        return export(self._model, **{**opened_with, **options})

    def benchmark(self, **options: Any) -> BenchmarkResult:
        """Measure what this model was opened from; see :func:`samdeploy.benchmark`."""
        from samdeploy.benchmarking import benchmark

        if self._opened.bundle is not None:
            return benchmark(self._model, **options)
        opened_with = {"config": self._options.config, "imgsz": self._options.imgsz}
        return benchmark(self._model, **{**opened_with, **options})

    def _for_many(self, settings: WholeImageSettings) -> tuple[Engine, int]:
        """What whole-image mode asks, and how many calls at a time."""
        if settings.use_m2m:  # prompts with a mask go through the plain decoder, all threads in one
            return self._engine, self._opened.streams
        with self._opening_many:
            if self._many is None:
                divided = self._opened.divided()
                own = divided is self._opened
                self._many = divided, self._engine if own else Engine(divided)
            divided, engine = self._many
        return engine, divided.streams

    def _given(self, target: Embedding | ImageSource | None) -> Embedding | ImageSource:
        if target is not None:
            return target
        if self._current is None:
            raise InputError("no image given; pass one, or call set_image first.")
        return self._current

    def _targets(self, source: ImageSource | None) -> Iterator[Embedding | ImageSource]:
        if source is None:
            yield self._given(None)
        else:
            yield from iter_sources(source, self._image_options)


def _check_one_form(*values: Any) -> None:
    """Raise :class:`InputError` for prompts that came in a second form, beside ``prompts=``."""
    if any(value is not None for value in values):
        raise InputError("prompts= came with points, labels, bboxes or masks; give one form.")


def check_mode(prompted: bool, multimask: bool, settings: Mapping[str, Any]) -> None:
    """Raise :class:`InputError` for an argument that the mode would ignore: prompts turn off
    whole-image mode and its settings, and whole-image mode has no prompts to multiply."""
    if prompted and settings:
        WholeImageSettings.from_names(settings)  # what is none has its own sentence
        raise InputError(
            f"{', '.join(settings)} set whole-image mode, which prompts turn off; drop one."
        )
    if multimask and not prompted:
        raise InputError("multimask asks for three masks a prompt; give points, bboxes or masks.")


def _tuned(opened: OpenedModel) -> str:
    """The tuning that is in use, in words."""
    if opened.tuning is None:
        return "no"
    chosen = opened.tuning.chosen
    return (
        f"{chosen.threads} threads unless told otherwise, {chosen.points_batch_size} prompts, "
        f"{chosen.arithmetic}"
    )
