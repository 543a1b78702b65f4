"""Everything that is asked of a run, checked before anything is read, opened or written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np

from samdeploy.annotation.cluster import Cluster
from samdeploy.annotation.engines import find_engine
from samdeploy.annotation.other_options import sort_others
from samdeploy.annotation.steps import Steps
from samdeploy.annotation.writers import BUILT_IN, find_writer
from samdeploy.detections import Detector
from samdeploy.errors import InputError
from samdeploy.image_options import ImageOptions
from samdeploy.limits import number, truth, whole
from samdeploy.options import option, options_of
from samdeploy.sam import SAM
from samdeploy.text import as_utf8, shown
from samdeploy.whole_image.settings import WholeImageSettings

Mode: TypeAlias = Literal["detector", "boxes", "whole image"]
_Piece = TypeVar("_Piece")

#: ``det_model`` for segmenting the whole image, without a detector.
NO_DETECTOR = "none"

#: Settings that make it another data set: a folder that was begun with others is left alone.
FIXED = frozenset({"data", "format", "val", "images"})

_DETECTOR = ("conf", "iou", "imgsz", "max_det")
_SAM = ("runtime", "threads")
#: What labels depend on, whoever makes them.
_LABELS = (
    "format", "val", "bit_depth", "window", "classes", "min_area", "simplify", "previews", "zoom",
)  # fmt: skip

#: Names, the check that makes Python's values of any numbers, and its limits.
_CHECKS: tuple[tuple[tuple[str, ...], Callable[..., Any], tuple[float, ...]], ...] = (
    (("conf", "iou", "unmatched"), number, (0.0, 1.0)),
    (("val",), number, (0.0, 0.99)),
    (("simplify",), number, (0.0,)),
    (("imgsz", "max_det"), whole, (1,)),
    (("min_area",), whole, (0,)),
    (("previews", "zoom"), truth, ()),
)


@dataclass(frozen=True, kw_only=True)
class Request:
    """Arguments of :func:`samdeploy.auto_annotate`, which explains them, and options of the command
    ``annotate``.

    Attributes:
        others: options that not every run has: the label format's, and those of whole-image mode.
        format_options: of these, the format's, as an instance of its ``Options``.
        whole_image: those of whole-image mode, as they were given.
        cluster: limits of other processes.

    Raises:
        InputError: a value out of range, or one that this run would ignore.
    """

    data: str | PathLike[str] = option(MISSING, "folder of images, or a glob pattern")
    det_model: str | PathLike[str] | Detector = option(
        "yolov8x.pt", "detection model; none: the whole image"
    )
    sam_model: str | PathLike[str] | SAM = option(
        "sam_b.pt", "bundle folder, checkpoint file or known name"
    )
    boxes: str | PathLike[str] | None = option(None, "instead: folder of YOLO labels, or COCO file")
    unmatched: float = option(0.5, "largest share of images that boxes= may lack")
    format: str = option("yolo", f"{', '.join(BUILT_IN)}, or one of another package")
    output_dir: str | PathLike[str] | None = option(
        None, "default: labels, beside the images' folder"
    )
    device: str = option("", "auto, cpu, cuda, ... [default: auto]")
    conf: float = option(0.25, "detector: least confidence")
    iou: float = option(0.45, "detector: IoU of duplicates")
    imgsz: int = option(640, "detector: input side in pixels")
    max_det: int = option(300, "detector: most objects an image")
    classes: Sequence[int] | int | None = option(None, "ids of those to label: [0,2]")
    names: str | PathLike[str] | None = option(
        None, "text file, one class name a line; or data.yaml"
    )
    val: float = option(0.0, "share of images for validation")
    min_area: int = option(0, "least pixels of masks and parts")
    simplify: float = option(0.0, "pixels an outline may move")
    previews: bool = option(False, "draw the masks, and a contact sheet")
    zoom: bool = option(False, "segment small objects from enlarged parts of the image")
    engine: str = option("local", "local, or ray: a cluster")
    workers: Sequence[int] | int | None = option(None, "ray: number of workers, or fewest,most")
    worker_cpus: float | None = option(None, "ray: CPUs of each")
    worker_gpus: float | None = option(None, "ray: GPUs of each")
    runtime: str | None = option(None, "default: what the bundle was made for")
    threads: int | None = option(None, "CPU threads of one inference")
    bit_depth: int | None = option(None, "bits in use in images of more than 8 bits")
    window: Sequence[float] | None = option(None, "[black,white] of images of more than 8 bits")
    max_pixels: int | None = option(None, "refuse larger images [178956970]")
    others: Mapping[str, Any] = field(default_factory=dict)
    format_options: Any = field(init=False)
    whole_image: Mapping[str, Any] = field(init=False)
    cluster: Cluster = field(init=False)

    def __post_init__(self) -> None:
        for names, check, limits in _CHECKS:
            for name in names:
                self._set(name, check(name, getattr(self, name), *limits))
        self._set("classes", _class_ids(self.classes))
        self._set("window", self.image_options.window)
        options, whole_image = sort_others(self.format, self.others, options_of(Request))
        self._set("format_options", options)
        self._set("whole_image", whole_image)
        self._set("cluster", self._checked_cluster())
        self._check_mode()
        self._check_open_models()
        self._check_simplify()

    @property
    def mode(self) -> Mode:
        """Where boxes come from."""
        if self.boxes is not None:
            return "boxes"
        none = isinstance(self.det_model, str) and self.det_model.lower() == NO_DETECTOR
        return "whole image" if none else "detector"

    @property
    def detector_settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _DETECTOR}

    @property
    def image_options(self) -> ImageOptions:
        return self._piece(ImageOptions)

    @property
    def steps(self) -> Steps:
        return self._piece(Steps)

    def settings(self) -> dict[str, Any]:
        """Settings for the journal: all that labels depend on, but for what is only known when
        images and models are there. Where, by whom and how fast they are made is none of it."""
        return {
            "data": as_utf8(str(Path(self.data).resolve())),
            **{name: getattr(self, name) for name in _LABELS},
            **asdict(self.format_options),
        }

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _piece(self, kind: type[_Piece]) -> _Piece:
        """A ``kind`` of the fields that are called like its own."""
        names = [each.name for each in fields(kind)]  # type: ignore[arg-type]  # a dataclass
        return kind(**{name: getattr(self, name) for name in names})

    def _checked_cluster(self) -> Cluster:
        asked = {name: getattr(self, name) for name in ("workers", "worker_cpus", "worker_gpus")}
        given = [name for name, value in asked.items() if value is not None]
        if not find_engine(self.engine).elsewhere and given:
            raise InputError(
                f"{', '.join(given)} set the workers of engine=ray; add it, or drop them."
            )
        return Cluster.of(*asked.values())

    def _check_mode(self) -> None:
        """Refuse what the mode would ignore."""
        mode = self.mode
        changed = self._changed(_DETECTOR)
        if changed and mode != "detector":
            reason = "boxes= replaces" if mode == "boxes" else f"det_model={NO_DETECTOR} turns off"
            raise InputError(f"{', '.join(changed)} set the detector, which {reason}; drop them.")
        if mode != "boxes" and self.unmatched != Request.unmatched:
            raise InputError(f"unmatched={self.unmatched:g} is about boxes=; add them, or drop it.")
        if mode != "whole image" and self.whole_image:
            raise InputError(
                f"{', '.join(self.whole_image)} set whole-image mode; add "
                f"det_model={NO_DETECTOR}, or drop them."
            )
        classes = self.steps.classes
        if mode == "whole image" and classes is not None:
            raise InputError(
                f"classes={shown([*classes])} chooses among the detector's, and det_model="
                f"{NO_DETECTOR} has but class 0; drop it."
            )
        if mode == "whole image" and self.zoom:
            raise InputError(
                f"zoom=True enlarges what is around boxes, and det_model={NO_DETECTOR} has none; "
                "drop it."
            )
        WholeImageSettings.from_names(self.whole_image)

    def _check_open_models(self) -> None:
        """Refuse what would set something of a model that is open already."""
        own_detector = self.mode == "detector" and not _is_named(self.det_model)
        asked: dict[str, tuple[str, ...]] = {"det_model": _DETECTOR} if own_detector else {}
        if not _is_named(self.sam_model):
            opens_detector = self.mode == "detector" and not own_detector
            asked["sam_model"] = _SAM if opens_detector else (*_SAM, "device")
        for model, names in asked.items():
            changed = self._changed(names)
            if changed:
                raise InputError(
                    f"{', '.join(changed)} set how a model is opened, and {model} is an open "
                    f"{type(getattr(self, model)).__name__}; set them where it is opened."
                )

    def _changed(self, names: Sequence[str]) -> list[str]:
        """Those of the options that ask for something."""
        given = {name: getattr(self, name) for name in names}
        return [name for name in names if given[name] not in (getattr(Request, name), "auto")]

    def _check_simplify(self) -> None:
        """Refuse it where no outlines are written."""
        outlines = getattr(find_writer(self.format), "outlines", None)
        if self.simplify and outlines is not None and not outlines(self.format_options):
            raise InputError(
                f"simplify={self.simplify:g} moves outlines, and format={self.format} holds pixels "
                "here; drop it, or take yolo, labelme, or coco with segmentation=polygon."
            )


def _is_named(model: Any) -> bool:
    """Whether it is opened by path or name."""
    return isinstance(model, (str, PathLike))


def _class_ids(classes: Any) -> tuple[int, ...] | None:
    """Sorted, none twice."""
    if classes is None:
        return None
    given = np.atleast_1d(np.asarray(classes, object)).tolist()
    ids = [int(c) for c in given if isinstance(c, Integral) and not isinstance(c, bool)]
    if not ids or len(ids) != len(given) or min(ids) < 0:
        raise InputError(f"classes={shown(classes)}; expected class ids such as [0, 2].")
    return tuple(sorted(set(ids)))
