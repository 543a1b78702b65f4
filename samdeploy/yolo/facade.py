"""YOLO and FastSAM with the habits of :class:`samdeploy.SAM`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from samdeploy.closing import Closing
from samdeploy.detections import Detections
from samdeploy.errors import InputError
from samdeploy.facts import model_facts, show
from samdeploy.image_options import DEFAULT_OPTIONS, ImageOptions
from samdeploy.images import ChannelOrder, ImageSource, load_image
from samdeploy.masks.masks import Masks
from samdeploy.masks.results import results_of
from samdeploy.prompts import Nested, Prompt, collect_prompts
from samdeploy.session import RuntimeOptions
from samdeploy.sources import iter_sources
from samdeploy.yolo.model import open_yolo
from samdeploy.yolo.prompting import check_selection, select_masks
from samdeploy.yolo.settings import YoloSettings


class YOLO(Closing):
    """A segmenter or detector of the YOLO family on any runtime; needs neither torch nor
    Ultralytics.

    Args:
        model: a bundle folder, or an ``.onnx`` file that Ultralytics exported.
        runtime, device, threads, options, image_options: see :class:`samdeploy.SAM`.

    Raises:
        SamDeployError: any subclass, with one sentence on what to do.

    ``settings`` of the methods are those of :class:`~samdeploy.yolo.settings.YoloSettings`, by
    Ultralytics' names and with the defaults of its ``predict``. Arrays given as images are BGR, as
    OpenCV reads them, unless ``channel_order="rgb"`` is passed.
    """

    #: What the settings are where a call says nothing.
    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        model: str | Path,
        *,
        runtime: str | None = None,
        device: str = "auto",
        threads: int | None = None,
        options: RuntimeOptions | None = None,
        image_options: ImageOptions = DEFAULT_OPTIONS,
    ) -> None:
        options = options or RuntimeOptions(threads=threads)
        # The size belongs to a call: a graph takes one size, or any.
        self._defaults = {**self.defaults, "imgsz": options.imgsz}
        options = replace(options, imgsz=None)
        self._image_options = image_options
        self._model = open_yolo(model, runtime=runtime, device=device, options=options)

    def close(self) -> None:
        """Free the session; calling it twice is harmless."""
        self._model.close()

    @property
    def source(self) -> Path:
        """The bundle folder or file that was opened."""
        return self._model.source

    @property
    def names(self) -> Mapping[int, str]:
        """Class ids to names."""
        return self._model.facts.names

    @classmethod
    def check(cls, prompted: bool, multimask: bool, settings: Mapping[str, Any]) -> None:
        """Raise :class:`InputError` for what this kind of model cannot be asked."""
        if multimask:
            raise InputError("multimask is for SAM models; a YOLO model has one mask an object.")
        YoloSettings.from_names(settings, cls.defaults)

    def detect(
        self, image: ImageSource, *, channel_order: ChannelOrder = "bgr", **settings: Any
    ) -> Detections:
        """Boxes with classes, best first."""
        chosen = YoloSettings.from_names(settings, self._defaults)
        return self._model.detect(load_image(image, channel_order, self._image_options), chosen)

    def generate(
        self,
        image: ImageSource,
        *,
        channel_order: ChannelOrder = "bgr",
        progress: Callable[[int, int], None] | None = None,
        **settings: Any,
    ) -> Masks:
        """All objects of an image with their classes, best first.

        ``progress(done, total)`` is called once, at the end: there is only one step.

        Raises:
            InputError: the model finds boxes only.
        """
        chosen = YoloSettings.from_names(settings, self._defaults)
        pixels = load_image(image, channel_order, self._image_options)
        masks, _ = self._model.segment(pixels, chosen)
        if progress is not None:
            progress(1, 1)
        return masks

    def predict(
        self,
        image: ImageSource,
        *,
        points: Nested | None = None,
        labels: Nested | None = None,
        bboxes: Nested | None = None,
        prompts: Prompt | Sequence[Prompt] | None = None,
        channel_order: ChannelOrder = "bgr",
        **settings: Any,
    ) -> Masks:
        """The objects that prompts mean, none or several for each: see
        :func:`~samdeploy.yolo.prompting.select_masks`. ``points``, ``labels`` and ``bboxes`` are
        nested as in :meth:`samdeploy.SAM.predict`."""
        if prompts is None:
            prompts = collect_prompts(points, labels, bboxes)
        elif any(value is not None for value in (points, labels, bboxes)):
            raise InputError("prompts= came with points, labels or bboxes; give one form.")
        elif isinstance(prompts, Prompt):
            prompts = [prompts]
        pixels = load_image(image, channel_order, self._image_options)
        check_selection(prompts, pixels.shape[:2])
        everything = self.generate(pixels, channel_order="rgb", **settings)
        return select_masks(everything, prompts)

    def __call__(
        self,
        source: ImageSource,
        bboxes: Nested | None = None,
        points: Nested | None = None,
        labels: Nested | None = None,
        *,
        stream: bool = False,
        channel_order: ChannelOrder = "bgr",
        **settings: Any,
    ) -> list[Masks] | Iterator[Masks]:
        """Segment a file, a folder, a glob pattern, a video or an array: one :class:`Masks` each.

        Without a prompt, all objects; with prompts, those that they mean. ``stream``: as in
        :meth:`samdeploy.SAM.__call__`.
        """
        prompted = any(value is not None for value in (bboxes, points, labels))

        def one(image: ImageSource) -> Masks:
            if not prompted:
                return self.generate(image, channel_order=channel_order, **settings)
            return self.predict(
                image, points=points, labels=labels, bboxes=bboxes,
                channel_order=channel_order, **settings,
            )  # fmt: skip

        images = iter_sources(source, self._image_options)
        return results_of(one, images, stream, self._image_options)

    def info(self, verbose: bool = True) -> dict[str, Any]:
        """Say what this model is and what runs it, as plain values; printed unless told
        otherwise."""
        model = self._model
        facts = model_facts(
            model,
            {model.facts.role: model.session},
            image_size=max(model.facts.imgsz),
            task=model.facts.task,
            classes=len(model.facts.names),
        )
        if verbose:
            show(facts)
        return facts


class FastSAM(YOLO):
    """FastSAM (arXiv:2306.12156): a YOLO segmenter that was trained to find everything, so that
    points and boxes can choose from it. The settings' defaults are those of its authors."""

    defaults: ClassVar[Mapping[str, Any]] = {"conf": 0.4, "iou": 0.9}
