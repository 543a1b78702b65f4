"""The result of every kind of segmentation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samdeploy.constants import MASK_THRESHOLD
from samdeploy.errors import InputError
from samdeploy.files import atomic_path
from samdeploy.geometry import Transform, iter_resized_logits
from samdeploy.libraries import optional_library
from samdeploy.masks.drawing import draw_masks
from samdeploy.masks.lettering import drawable
from samdeploy.masks.picture_file import write_picture
from samdeploy.masks.polygons import Polygon, mask_to_polygons
from samdeploy.masks.rle import Rle
from samdeploy.masks.yolo_labels import mask_to_yolo_line

Floats = NDArray[np.float32]
#: RGB uint8 ``[H, W, 3]``, or what reads it when it is drawn on.
Picture: TypeAlias = "NDArray[np.uint8] | Callable[[], NDArray[np.uint8]]"


class Masks:
    """``N`` masks of one image, prompt-major when a prompt gave several.

    They are kept as logits or run lengths. All formats but :attr:`data` make the pixels of one mask
    at a time, so that memory does not grow with ``N`` images.

    Attributes:
        scores: ``[N]`` predicted IoU, float32.
        prompt_index: ``[N]`` which prompt each mask answers.
        stability: ``[N]`` stability score, or ``None`` where it was not computed.
        low_res_logits: ``[N, S/4, S/4]`` float32 in the input frame (a later prompt's ``masks=``),
            or ``None`` when the masks were changed after decoding.
        points: ``[N, 2]`` the grid point of each mask in image pixels (whole image only).
        crop_boxes: ``[N, 4]`` the crop each mask was found in, x1 y1 x2 y2 (whole image only).
        classes: ``[N]`` class ids, or ``None`` from a model that knows no classes.
        names: class ids to names.
        orig_shape: (height, width) of the image.
    """

    def __init__(
        self,
        orig_shape: tuple[int, int],
        scores: ArrayLike,
        *,
        low_res_logits: Floats | None = None,
        transform: Transform | None = None,
        rles: Sequence[Rle] | None = None,
        prompt_index: ArrayLike | None = None,
        stability: ArrayLike | None = None,
        points: ArrayLike | None = None,
        crop_boxes: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        names: Mapping[int, str] | None = None,
        image: Picture | None = None,
    ) -> None:
        self.orig_shape = orig_shape
        self.scores = np.asarray(scores, np.float32).reshape(-1)
        count = len(self.scores)
        self.prompt_index = np.asarray(
            np.arange(count) if prompt_index is None else prompt_index, np.int64
        )
        self.stability = None if stability is None else np.asarray(stability, np.float32)
        self.points = None if points is None else np.asarray(points, np.float64).reshape(-1, 2)
        self.crop_boxes = (
            None if crop_boxes is None else np.asarray(crop_boxes, np.int64).reshape(-1, 4)
        )
        self.classes = None if classes is None else np.asarray(classes, np.int64).reshape(-1)
        self.names = dict(names or {})
        self.low_res_logits = low_res_logits
        self._image = image
        self._transform = transform
        self._rles = None if rles is None else list(rles)

    @classmethod
    def from_logits(
        cls,
        low_res_logits: Floats,
        transform: Transform,
        scores: ArrayLike,
        *,
        prompt_index: ArrayLike | None = None,
        image: Picture | None = None,
    ) -> Masks:
        """Masks that are still logits ``[N, S/4, S/4]``; pixels are computed when asked for."""
        return cls(
            transform.original_size,
            scores,
            low_res_logits=low_res_logits,
            transform=transform,
            prompt_index=prompt_index,
            image=image,
        )

    @classmethod
    def from_rles(
        cls, rles: Sequence[Rle], orig_shape: tuple[int, int], scores: ArrayLike, **fields: Any
    ) -> Masks:
        """Masks that are run lengths; pixels are decoded when asked for."""
        return cls(orig_shape, scores, rles=rles, **fields)

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Masks]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        height, width = self.orig_shape
        return f"Masks({len(self)} of {height} x {width})"

    def __getitem__(self, index: SupportsIndex | slice | ArrayLike) -> Masks:
        """The masks at an index, a slice, an array of indices or a boolean array."""
        wanted = np.atleast_1d(np.arange(len(self))[index])  # type: ignore[index]

        def take(values: NDArray[Any] | None) -> NDArray[Any] | None:
            return None if values is None else values[wanted]

        return Masks(
            self.orig_shape,
            self.scores[wanted],
            low_res_logits=take(self.low_res_logits),
            transform=self._transform,
            rles=None if self._rles is None else [self._rles[i] for i in wanted],
            prompt_index=take(self.prompt_index),
            stability=take(self.stability),
            points=take(self.points),
            crop_boxes=take(self.crop_boxes),
            classes=take(self.classes),
            names=self.names,
            image=self._image,
        )

    @property
    def image(self) -> NDArray[np.uint8] | None:
        """The image that they were made from, RGB uint8 ``[height, width, 3]``, where it is known;
        of a file it may be read anew."""
        return self._image() if callable(self._image) else self._image

    @image.setter
    def image(self, image: Picture | None) -> None:
        self._image = image

    @cached_property
    def data(self) -> NDArray[np.bool_]:
        """All masks at image size, bool ``[N, height, width]``; kept from then on."""
        out = np.empty((len(self), *self.orig_shape), bool)
        for target, mask in zip(out, self.iter_data(), strict=True):
            target[:] = mask
        return out

    def iter_data(self) -> Iterator[NDArray[np.bool_]]:
        """Masks at image size, bool ``[height, width]``, one at a time; none is kept."""
        if "data" in vars(self):
            yield from self.data
        elif self._rles is not None:
            for rle in self._rles:
                yield rle.decode()
        else:
            assert self.low_res_logits is not None
            assert self._transform is not None
            for logits in iter_resized_logits(self.low_res_logits, self._transform):
                yield np.greater(logits, MASK_THRESHOLD)

    @cached_property
    def boxes(self) -> Floats:
        """``[N, 4]`` x1 y1 x2 y2: first and last set column and row, inclusive; zeros if empty."""
        return np.array([rle.box for rle in self.rles], np.float32).reshape(-1, 4)

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """``[N]`` set pixels."""
        return np.array([rle.area for rle in self.rles], np.int64)

    @cached_property
    def rles(self) -> list[Rle]:
        """Run lengths of every mask."""
        if self._rles is not None:
            return self._rles
        return [Rle.encode(mask) for mask in self.iter_data()]

    def to_rle(self) -> list[dict[str, object]]:
        """Compressed COCO run lengths, ``{"size": [height, width], "counts": str}`` each."""
        return [rle.to_coco() for rle in self.rles]

    def to_polygons(self, epsilon: float = 0.0) -> list[list[Polygon]]:
        """Per mask its parts, largest first; see :mod:`samdeploy.masks.polygons`."""
        return [mask_to_polygons(mask, epsilon) for mask in self.iter_data()]

    def to_coco(
        self, image_id: int = 0, category_id: int = 1, first_id: int = 1
    ) -> list[dict[str, object]]:
        """COCO annotations; ``bbox`` is x y width height of the pixels' outer edges."""
        annotations: list[dict[str, object]] = []
        for i, rle in enumerate(self.to_rle()):
            x1, y1, x2, y2 = (float(v) for v in self.boxes[i])
            filled = float(self.areas[i] > 0)
            annotations.append(
                {
                    "id": first_id + i,
                    "image_id": image_id,
                    "category_id": category_id,
                    "segmentation": rle,
                    "area": int(self.areas[i]),
                    "bbox": [x1, y1, x2 - x1 + filled, y2 - y1 + filled],
                    "iscrowd": 0,
                    "score": float(self.scores[i]),
                }
            )
        return annotations

    def to_yolo(
        self, class_ids: int | Sequence[int] | None = None, epsilon: float = 0.0
    ) -> list[str]:
        """YOLO segmentation lines, one per mask that is not empty; holes and parts are joined into
        one outline (see :mod:`samdeploy.masks.yolo_labels`).

        ``class_ids`` left out are the masks' own classes, or 0 where they have none.
        """
        if class_ids is None:
            class_ids = 0 if self.classes is None else self.classes.tolist()
        classes = [class_ids] * len(self) if isinstance(class_ids, int) else list(class_ids)
        if len(classes) != len(self):
            raise InputError(f"{len(classes)} class ids for {len(self)} masks; give one per mask.")
        lines = [
            mask_to_yolo_line(mask, class_id, epsilon)
            for class_id, mask in zip(classes, self.iter_data(), strict=True)
        ]
        return [line for line in lines if line is not None]

    def to_supervision(self) -> Any:
        """A ``supervision.Detections``: masks, boxes (outer edges) and scores as confidence.

        Raises:
            RuntimeUnavailableError: supervision is not installed, or does not work.
        """
        with optional_library("supervision", "pip install 'samdeploy[plot]'"):
            import supervision
        boxes = self.boxes.copy()
        boxes[:, 2:] += (self.areas > 0)[:, None]
        return supervision.Detections(
            xyxy=boxes,
            mask=self.data,
            confidence=self.scores,
            class_id=np.zeros(len(self), int) if self.classes is None else self.classes,
        )

    def to_json(self) -> dict[str, object]:
        """Everything but the logits as plain JSON values."""
        masks = []
        for i, rle in enumerate(self.to_rle()):
            entry: dict[str, object] = {
                "score": round(float(self.scores[i]), 6),
                "box": [float(v) for v in self.boxes[i]],
                "area": int(self.areas[i]),
                "prompt": int(self.prompt_index[i]),
                "segmentation": rle,
            }
            if self.stability is not None:
                # Undefined for an empty mask; JSON knows no "not a number".
                known = np.isfinite(self.stability[i])
                entry["stability"] = round(float(self.stability[i]), 6) if known else None
            if self.points is not None:
                entry["point"] = self.points[i].tolist()
            if self.classes is not None:
                entry["class"] = int(self.classes[i])
                entry["name"] = self.class_name(i)
            masks.append(entry)
        return {"size": list(self.orig_shape), "masks": masks}

    def class_name(self, index: int) -> str:
        """Name of the class of mask ``index``, its number where it has no name, or empty."""
        if self.classes is None:
            return ""
        number = int(self.classes[index])
        return self.names.get(number, str(number))

    def _caption(self, index: int) -> str:
        """The name of a class, or its number where no font here has the letters of the name."""
        name = self.class_name(index)
        return name if self.classes is None else drawable(name, str(self.classes[index]))

    def plot(
        self,
        image: NDArray[np.uint8] | None = None,
        *,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
    ) -> NDArray[np.uint8]:
        """The masks drawn over ``image`` (RGB uint8 ``[height, width, 3]``; by default the image
        they were made from), with the prompts if given and the class names if known. Returns a
        new array."""
        base = self.image if image is None else image
        if base is None:
            raise InputError("these masks do not know their image; pass image= to plot.")
        if base.shape[:2] != self.orig_shape:
            raise InputError(
                f"an image of {list(base.shape[:2])}; expected the masks' {list(self.orig_shape)}."
            )
        captions = [self._caption(i) for i in range(len(self))]
        return draw_masks(
            base, self.rles, points=points, labels=labels, boxes=boxes, captions=captions
        )

    def save(self, path: str | Path, **plot_options: Any) -> Path:
        """Write ``.json`` (:meth:`to_json`) or a picture (:meth:`plot`), whole or not at all."""
        path = Path(path)
        with atomic_path(path) as temporary:
            if path.suffix.lower() == ".json":
                temporary.write_text(json.dumps(self.to_json()))
            else:
                write_picture(temporary, self.plot(**plot_options))
        return path
