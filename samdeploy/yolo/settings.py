"""Which of a YOLO network's answers are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral
from typing import Any

from samdeploy.errors import InputError
from samdeploy.limits import number, whole
from samdeploy.session import MOST_IMGSZ
from samdeploy.text import shown, suggestion

#: Other names, among them those that whole-image mode has for the same thing.
_ALIASES = {"conf_thres": "conf", "nms_thresh": "iou", "agnostic": "agnostic_nms"}

#: Most boxes of an image, and greatest class id.
MOST_BOXES, MOST_CLASS = 100_000, 10**6


@dataclass(frozen=True)
class YoloSettings:
    """Under Ultralytics' names, with the defaults of its ``predict``.

    Attributes:
        conf: least confidence; a box must be above it.
        iou: two boxes of a class that overlap more are one object.
        max_det: most boxes of an image.
        classes: class ids that are wanted; ``None`` is all of them.
        agnostic_nms: boxes of different classes can be one object too.
        imgsz: longer side of the network's input in pixels, for graphs that take any size.
    """

    conf: float = 0.25
    iou: float = 0.7
    max_det: int = 300
    classes: Sequence[int] | None = None
    agnostic_nms: bool = False
    imgsz: int | None = None

    def __post_init__(self) -> None:
        for name in ("conf", "iou"):
            object.__setattr__(self, name, number(name, getattr(self, name), 0, 1))
        object.__setattr__(self, "max_det", whole("max_det", self.max_det, 1, MOST_BOXES))
        if self.imgsz is not None:
            object.__setattr__(self, "imgsz", whole("imgsz", self.imgsz, 1, MOST_IMGSZ))
        if not isinstance(self.agnostic_nms, bool):
            raise InputError(f"agnostic_nms={shown(self.agnostic_nms)}; expected True or False.")
        if self.classes is not None:
            wanted = [self.classes] if isinstance(self.classes, Integral) else self.classes
            if isinstance(wanted, str) or not isinstance(wanted, Iterable):
                raise InputError(
                    f"classes={shown(self.classes)}; expected class ids such as [0, 2]."
                )
            ids = tuple(whole("classes", value, 0, MOST_CLASS) for value in wanted)
            object.__setattr__(self, "classes", ids)

    @classmethod
    def from_names(
        cls, values: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
    ) -> YoloSettings:
        """Settings by name; ``defaults`` stand where ``values`` say nothing.

        Raises:
            InputError: an unknown name, or a value out of range.
        """
        known = {field.name for field in fields(cls)}
        chosen = dict(defaults or {})
        for name, value in values.items():
            target = _ALIASES.get(name, name)
            if target not in known:
                hint = suggestion(name, sorted([*known, *_ALIASES]))
                raise InputError(f"unknown setting '{name}' of a YOLO model; {hint}")
            chosen[target] = value
        return cls(**chosen)
