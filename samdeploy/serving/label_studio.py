"""The routes of a Label Studio ML backend: ``/predict``, ``/setup``, ``/versions``, ``/webhook``.

A user clicks with a smart keypoint or draws a smart rectangle; Label Studio sends these regions, in
percent of the image, as the context of a task, and gets regions back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np

from samdeploy.embedding import Embedding
from samdeploy.masks.masks import Masks
from samdeploy.prompts import Prompt
from samdeploy.serving.brush import brush_rle
from samdeploy.serving.endpoints import Call, Endpoint
from samdeploy.serving.label_config import Control, control_of
from samdeploy.serving.models import ServedModel
from samdeploy.serving.pictures import Kept, Picture, picture_of_text
from samdeploy.serving.refusals import GoneError, RefusedError
from samdeploy.serving.service import Service
from samdeploy.text import shortened

#: Pixels that an outline may move: annotators drag its corners.
_SIMPLIFY = 1.0


class Region(msgspec.Struct):
    """A region of a task; `value` is in percent."""

    type: str
    value: dict[str, Any]
    is_positive: bool | int | None = None


class Context(msgspec.Struct):
    """What the user has done."""

    result: list[Region] = []


class StudioParams(msgspec.Struct):
    """Beside the tasks."""

    context: Context | None = None


class Task(msgspec.Struct):
    """A task; `data` holds the address of its image."""

    data: dict[str, Any]


class StudioRequest(msgspec.Struct):
    """Tasks to predict; without a context nothing is predicted."""

    tasks: list[Task]
    label_config: str | None = None
    model_version: str | None = None
    params: StudioParams | None = None


class StudioPrediction(msgspec.Struct):
    """Regions of a task, and the model they are of."""

    result: list[dict[str, Any]]
    model_version: str
    score: float


class StudioAnswer(msgspec.Struct):
    """A prediction for every task."""

    results: list[StudioPrediction]


class SetupRequest(msgspec.Struct):
    """A project that is about to use this server."""

    project: Any = None
    schema: str | None = None
    extra_params: Any = None


class SetupAnswer(msgspec.Struct):
    """The model that answers unless another is asked for."""

    model_version: str


class VersionsAnswer(msgspec.Struct):
    """Models."""

    versions: list[str]


class Webhook(msgspec.Struct):
    """An event of a project."""

    action: str | None = None


class WebhookAnswer(msgspec.Struct):
    """Nothing is trained here."""

    status: str


async def predict(service: Service, call: Call) -> StudioAnswer:
    """Regions of what the user has clicked."""
    asked: StudioRequest = call.body
    model = service.models.get(asked.model_version or "") or service.model()
    context = None if asked.params is None else asked.params.context
    regions = [] if context is None else context.result
    if not regions or not asked.tasks:
        return StudioAnswer([])
    if len(asked.tasks) > 1:
        raise RefusedError(422, f"{len(asked.tasks)} tasks with one context; expected one task.")
    control = control_of(asked.label_config or "")

    def prompts(embedding: Embedding) -> list[Prompt]:
        return [_prompt(regions, embedding.original_size)]

    def finish(masks: Masks, embedding: Embedding) -> StudioAnswer:
        score = float(masks.scores[0])
        result = _RESULTS[control.kind](masks, control, _label(regions))
        return StudioAnswer([StudioPrediction(result, model.name, score)])

    async def answer() -> StudioAnswer:
        image = await _image(service, model, asked.tasks[0], control)
        return await service.predict(model, image, prompts, False, finish)

    try:
        return await answer()
    except GoneError:  # it was kept, but not until this request had its turn: fetch it again
        return await answer()


async def set_up(service: Service, call: Call) -> SetupAnswer:
    """The name of the default model."""
    asked: SetupRequest = call.body
    if asked.schema:
        control_of(asked.schema)
    return SetupAnswer(service.model().name)


async def versions(service: Service, call: Call) -> VersionsAnswer:
    """The names of all models."""
    return VersionsAnswer(list(service.models))


async def webhook(service: Service, call: Call) -> WebhookAnswer:
    """Events need nothing to be done."""
    return WebhookAnswer("ok")


async def _image(
    service: Service, model: ServedModel, task: Task, control: Control
) -> Picture | Kept:
    written = task.data.get(control.key)
    if not isinstance(written, str) or not written:
        raise RefusedError(422, f"the task has no '{shortened(control.key)}' with an image.")
    if written[:5].lower() == "data:":
        return picture_of_text(written)
    return await service.fetched(model, written)


def _prompt(regions: list[Region], size: tuple[int, int]) -> Prompt:
    """One prompt of all points and the last rectangle."""
    height, width = size
    scale = np.array([width, height]) / 100
    points, labels, box = [], [], None
    for region in regions:
        kind = region.type.removesuffix("labels")
        if kind not in ("keypoint", "rectangle"):
            raise RefusedError(
                422,
                f"a region of type {shortened(region.type)!r}; expected smart keypoints and "
                "rectangles.",
            )
        corner = np.array([_percent(region, "x"), _percent(region, "y")]) * scale
        if kind == "keypoint":
            points.append(corner.tolist())
            labels.append(int(region.is_positive is None or bool(region.is_positive)))
        else:
            sides = np.array([_percent(region, "width"), _percent(region, "height")]) * scale
            box = [*corner.tolist(), *(corner + sides).tolist()]
    return Prompt(points or None, labels or None, box)


def _percent(region: Region, name: str) -> float:
    value = region.value.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise RefusedError(
            422, f"a region's {name} is {value!r:.80}; expected a number in percent."
        )
    return float(value)


def _label(regions: list[Region]) -> list[str]:
    """The labels that the user has chosen: those of the last region."""
    last = regions[-1]
    labels = last.value.get(last.type) or last.value.get("labels") or []
    return [str(label) for label in labels] if isinstance(labels, list) else []


def _brush(masks: Masks, control: Control, labels: list[str]) -> list[dict[str, Any]]:
    return [
        _region(masks, index, control, {"format": "rle", "rle": brush_rle(mask)}, labels)
        for index, mask in enumerate(masks.iter_data())
    ]


def _polygons(masks: Masks, control: Control, labels: list[str]) -> list[dict[str, Any]]:
    height, width = masks.orig_shape
    found = []
    for index, parts in enumerate(masks.to_polygons(_SIMPLIFY)):
        for part in parts:
            points = (part.bridged() * 100 / (width, height)).tolist()
            found.append(_region(masks, index, control, {"points": points, "closed": True}, labels))
    return found


def _rectangles(masks: Masks, control: Control, labels: list[str]) -> list[dict[str, Any]]:
    height, width = masks.orig_shape
    found = []
    for index in np.flatnonzero(masks.areas).tolist():
        x1, y1, x2, y2 = masks.boxes[index].tolist()
        value = {
            "x": x1 * 100 / width,
            "y": y1 * 100 / height,
            "width": (x2 + 1 - x1) * 100 / width,
            "height": (y2 + 1 - y1) * 100 / height,
            "rotation": 0,
        }
        found.append(_region(masks, index, control, value, labels))
    return found


def _region(
    masks: Masks, index: int, control: Control, value: dict[str, Any], labels: list[str]
) -> dict[str, Any]:
    height, width = masks.orig_shape
    kind = control.kind.lower()
    return {
        "id": uuid4().hex[:10],
        "from_name": control.name,
        "to_name": control.image,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**value, kind: labels},
        "score": float(masks.scores[index]),
        "type": kind,
        "readonly": False,
    }


#: By the kind of tag that takes the answer.
_RESULTS: Mapping[str, Callable[[Masks, Control, list[str]], list[dict[str, Any]]]] = {
    "BrushLabels": _brush,
    "PolygonLabels": _polygons,
    "RectangleLabels": _rectangles,
}

ENDPOINTS = (
    Endpoint("POST", "/predict", "Regions, for Label Studio", predict, StudioAnswer, StudioRequest),
    Endpoint("POST", "/setup", "A project begins", set_up, SetupAnswer, SetupRequest),
    Endpoint("GET", "/versions", "All models, for Label Studio", versions, VersionsAnswer),
    Endpoint("POST", "/webhook", "An event", webhook, WebhookAnswer, Webhook, status=201),
)
