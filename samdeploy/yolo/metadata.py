"""Facts of a YOLO model: from a bundle, or from the metadata of ONNX files by Ultralytics.

Metadata are text that somebody else wrote: they are parsed as literals and never evaluated.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samdeploy.errors import BundleError
from samdeploy.onnx_file import read_onnx_metadata
from samdeploy.session import MOST_IMGSZ
from samdeploy.text import reason, shown
from samdeploy.yolo.graphs import DETECTOR, SEGMENTER

#: What Ultralytics calls a task, and the role of its graph.
TASKS = {"detect": DETECTOR, "segment": SEGMENTER}
#: Characters of a value that is parsed; COCO's names have two thousand.
_LONGEST = 1 << 20
_ROLES = {role: task for task, role in TASKS.items()}


@dataclass(frozen=True)
class YoloFacts:
    """Facts that decoding needs.

    Attributes:
        role: ``detector`` or ``segmenter``.
        names: class ids to names.
        stride: the input's sides are multiples of it, in pixels.
        imgsz: (height, width) of the input that the model was exported for.
    """

    role: str
    names: Mapping[int, str]
    stride: int
    imgsz: tuple[int, int]

    @property
    def task(self) -> str:
        """Ultralytics' word for it: ``detect`` or ``segment``."""
        return _ROLES[self.role]

    @property
    def class_agnostic(self) -> bool:
        """Whether it was trained as FastSAM is: a single class, whose name is "object"."""
        return self.role == SEGMENTER and dict(self.names) == {0: "object"}

    def to_config(self) -> dict[str, Any]:
        """For a manifest: plain JSON values."""
        names = {str(number): name for number, name in self.names.items()}
        return {
            "task": self.task,
            "names": names,
            "stride": self.stride,
            "imgsz": list(self.imgsz),
        }

    def to_metadata(self) -> dict[str, str]:
        """As Ultralytics writes them into its ONNX files."""
        return {
            "task": self.task,
            "names": str(dict(self.names)),
            "stride": str(self.stride),
            "imgsz": str(list(self.imgsz)),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], source: Path) -> YoloFacts:
        """Take them from plain values, such as a manifest's.

        Raises:
            BundleError: one is missing or unusable; ``source`` is named.
        """
        try:
            task = config["task"]
            names = config["names"]
            if isinstance(names, (list, tuple)):
                names = dict(enumerate(names))
            if not isinstance(names, Mapping):
                raise TypeError(f"names are {shown(names)}")
            facts = cls(
                TASKS.get(task, task),
                {_whole(number): str(name) for number, name in names.items()},
                _whole(config["stride"]),
                _sides(config["imgsz"]),
            )
            if len(facts.names) != len(names) or min(facts.names, default=0) < 0:
                raise ValueError(f"classes are {shown(list(names))}")
        except Exception as error:  # of values that somebody else wrote
            raise BundleError(
                f"'{source}' does not say what YOLO model it is ({reason(error)}); expected "
                "task, names, stride and imgsz as Ultralytics' ONNX export writes them."
            ) from error
        if facts.role not in _ROLES:
            raise BundleError(
                f"'{source}' is a YOLO model for {shown(task)}; expected one of {', '.join(TASKS)}."
            )
        if not facts.names:
            raise BundleError(f"'{source}' has no class names; export it again.")
        sides = (facts.stride, *facts.imgsz)
        if min(sides) < 1 or max(sides) > MOST_IMGSZ:
            raise BundleError(
                f"'{source}' has stride {facts.stride} and imgsz {list(facts.imgsz)}; expected "
                f"pixels from 1 to {MOST_IMGSZ}."
            )
        return facts


def read_onnx_facts(path: Path) -> YoloFacts:
    """Read them from an ONNX file that Ultralytics exported.

    Raises:
        BundleError: not such a file, or one whose graph does the suppression itself.
    """
    config = {name: _literal(text) for name, text in read_onnx_metadata(path).items()}
    arguments = config.get("args")
    inside = isinstance(arguments, Mapping) and arguments.get("nms") is True
    if inside or config.get("end2end") is True:
        raise BundleError(
            f"'{path}' does non-maximum suppression inside the graph; export it with nms=False and "
            "end2end=False."
        )
    return YoloFacts.from_config(config, path)


def _literal(text: str) -> Any:
    """A Python literal, or the text itself where it is none."""
    if len(text) > _LONGEST:
        return text
    try:
        return ast.literal_eval(text)
    except Exception:  # of text that somebody else wrote
        return text


def _sides(value: Any) -> tuple[int, int]:
    height, width = [value, value] if isinstance(value, int) else value
    return _whole(height), _whole(width)


def _whole(value: Any) -> int:
    """A number that is whole, also as text; nothing is rounded."""
    if isinstance(value, bool) or int(value) != float(value):
        raise ValueError(f"{shown(value)} is no whole number")
    return int(value)
