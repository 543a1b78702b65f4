"""The routes of X-AnyLabeling-Server: ``/v1/models``, ``/v1/predict``.

Shapes are those of its ``app/schemas``. It answers most errors with status 200, which its client
shows as an empty result; here a refusal has its status, so that the client shows it.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import cv2
import msgspec
import numpy as np

from samdeploy.embedding import Embedding
from samdeploy.masks.masks import Masks
from samdeploy.masks.polygons import Ring
from samdeploy.prompts import Prompt
from samdeploy.serving.endpoints import Call, Dialect, Endpoint
from samdeploy.serving.models import ServedModel
from samdeploy.serving.pictures import picture_of_text
from samdeploy.serving.refusals import RefusedError
from samdeploy.serving.service import Service
from samdeploy.serving.wire import Point

#: What the client turns into the label that is chosen.
_LABEL = "AUTOLABEL_OBJECT"
_WIDGETS = (
    "button_run", "button_add_point", "button_remove_point", "button_add_rect", "button_clear",
    "button_finish_object", "mask_fineness_slider", "mask_fineness_value_label",
)  # fmt: skip
#: The client wants a value for this one.
_VALUES: dict[str, Any] = {"mask_fineness_slider": 10}


class Mark(msgspec.Struct):
    """A point [x, y], or a rectangle [x1, y1, x2, y2]; label 1 is foreground, 0 background."""

    type: Literal["point", "rectangle"]
    data: list[float]
    label: Literal[0, 1] = 1


class MarkParams(msgspec.Struct):
    """`epsilon_factor` is how far an outline may move, as a share of its length."""

    marks: list[Mark] = []
    text_prompt: str = ""
    epsilon_factor: float = 0.001
    show_masks: bool = True
    show_boxes: bool = False


class MarkRequest(msgspec.Struct):
    """`image` is base64 or a data URL. Without marks the whole image is segmented."""

    model: str
    image: str
    params: MarkParams = msgspec.field(default_factory=MarkParams)


class MarkShape(msgspec.Struct, kw_only=True):
    """An annotation of X-AnyLabeling."""

    label: str
    shape_type: str
    points: list[Point]
    score: float
    attributes: dict[str, Any] = {}
    description: str | None = None
    difficult: bool = False
    direction: float = 0
    flags: dict[str, Any] | None = None
    group_id: int | None = None
    kie_linking: list[Any] = []


class MarkShapes(msgspec.Struct, omit_defaults=True):
    """`replace` is whether shapes that are there already go; left out, the client decides."""

    shapes: list[MarkShape]
    description: str
    replace: bool | None = None


class MarkAnswer(msgspec.Struct):
    """Shapes of the objects."""

    data: MarkShapes
    success: bool = True


class MarkModel(msgspec.Struct):
    """A model, and the tools that its user gets."""

    display_name: str
    widgets: list[dict[str, Any]]
    params: dict[str, Any]
    batch_processing_mode: str = "default"
    model_id: str | None = None


class MarkModelAnswer(msgspec.Struct):
    """One model."""

    data: MarkModel
    success: bool = True


class MarkModelsAnswer(msgspec.Struct):
    """Models by their names."""

    data: dict[str, MarkModel]
    success: bool = True


class MarkErrorDetail(msgspec.Struct):
    """A code for programs and a sentence for people."""

    code: str
    message: str


class MarkProblem(msgspec.Struct):
    """What went wrong."""

    error: MarkErrorDetail
    success: bool = False


async def list_models(service: Service, call: Call) -> MarkModelsAnswer:
    """All models."""
    return MarkModelsAnswer({name: _described(model) for name, model in service.models.items()})


async def show_model(service: Service, call: Call) -> MarkModelAnswer:
    """One model."""
    return MarkModelAnswer(_described(service.model(call.path["model_id"])))


async def predict(service: Service, call: Call) -> MarkAnswer:
    """Shapes of marks, or of everything."""
    asked: MarkRequest = call.body
    params, model = asked.params, service.model(asked.model)
    if params.text_prompt:
        raise RefusedError(422, f"model '{model.name}' takes no text; mark points or a rectangle.")
    picture = picture_of_text(asked.image)

    def finish(masks: Masks, embedding: Embedding) -> MarkAnswer:
        replace = False if params.marks else None
        return MarkAnswer(MarkShapes(_shapes(masks, params), "", replace))

    if not params.marks:
        return await service.generate(model, picture, {}, finish)
    prompts = _prompts(params.marks)
    return await service.predict(model, picture, lambda _: prompts, False, finish)


def _described(model: ServedModel) -> MarkModel:
    widgets = [{"name": name, "value": _VALUES.get(name)} for name in _WIDGETS]
    return MarkModel(model.name, widgets, {}, model_id=model.name)


def _prompts(marks: list[Mark]) -> list[Prompt]:
    """All points and a rectangle are one prompt; several rectangles are one each."""
    points = [mark for mark in marks if mark.type == "point"]
    boxes = [mark for mark in marks if mark.type == "rectangle"]
    if any(not box.label for box in boxes):
        raise RefusedError(
            422, "a rectangle of label 0; SAM has background points, but no such boxes."
        )
    if any(len(mark.data) != (2 if mark.type == "point" else 4) for mark in marks):
        raise RefusedError(422, "a mark's data; expected [x, y] or [x1, y1, x2, y2].")
    if points and len(boxes) > 1:
        raise RefusedError(
            422, f"points and {len(boxes)} rectangles; mark one rectangle, or rectangles alone."
        )
    if not points:
        return [Prompt(box=box.data) for box in boxes]
    where, labels = [mark.data for mark in points], [mark.label for mark in points]
    return [Prompt(where, labels, boxes[0].data if boxes else None)]


def _shapes(masks: Masks, params: MarkParams) -> list[MarkShape]:
    shapes = []
    for index, mask in enumerate(masks):
        score = min(1.0, max(0.0, float(mask.scores[0])))  # that of SAM may exceed 1
        shape = partial(MarkShape, label=_LABEL, score=score)
        if params.show_masks:
            [parts] = mask.to_polygons()
            # Parts of one object say that they belong together.
            number = index + 1 if len(parts) > 1 else None
            for part in parts:
                outline = _simplified(part.bridged(), params.epsilon_factor)
                shapes.append(shape(shape_type="polygon", points=outline, group_id=number))
        if params.show_boxes and mask.areas[0]:
            x1, y1, x2, y2 = (mask.boxes[0] + (0, 0, 1, 1)).tolist()
            corners = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
            shapes.append(shape(shape_type="rectangle", points=corners))
    return shapes


def _simplified(ring: Ring, factor: float) -> list[Point]:
    """A closed outline that is simplified by a share of its length, its first point repeated."""
    line = ring.astype(np.float32)[:, None]
    simple = cv2.approxPolyDP(line, max(0.0, factor) * cv2.arcLength(line, True), True)[:, 0]
    kept = simple if len(simple) > 2 else ring
    return [(float(x), float(y)) for x, y in (*kept, kept[0])]


_CODES = {404: "MODEL_NOT_FOUND", 422: "INVALID_REQUEST", 503: "QUEUE_FULL", 500: "INFERENCE_ERROR"}

XANYLABELING = Dialect(
    "X-AnyLabeling",
    MarkProblem,
    lambda refusal: MarkProblem(
        MarkErrorDetail(_CODES.get(refusal.status, "INVALID_REQUEST"), str(refusal))
    ),
)

ENDPOINTS = (
    Endpoint(
        "GET", "/v1/models", "All models, for X-AnyLabeling", list_models, MarkModelsAnswer,
        dialect=XANYLABELING,
    ),
    Endpoint(
        "GET", "/v1/models/{model_id}/info", "One model, for X-AnyLabeling", show_model,
        MarkModelAnswer, dialect=XANYLABELING,
    ),
    Endpoint(
        "POST", "/v1/predict", "Shapes, for X-AnyLabeling", predict, MarkAnswer, MarkRequest,
        dialect=XANYLABELING,
    ),
)  # fmt: skip
