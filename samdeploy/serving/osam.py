"""osam's route, ``POST /api/generate``.

Field names and meanings are those of osam's ``types`` (0.8). An answer holds no embedding: images
are known again by their content.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from samdeploy.embedding import Embedding
from samdeploy.masks.masks import Masks
from samdeploy.prompts import Prompt
from samdeploy.serving.answers import png_text
from samdeploy.serving.endpoints import Call, Dialect, Endpoint
from samdeploy.serving.pictures import picture_of_text
from samdeploy.serving.refusals import RefusedError
from samdeploy.serving.service import Service
from samdeploy.serving.wire import Point

#: Labels of the two corners of a box; 0 and 1 are points.
_TOP_LEFT, _BOTTOM_RIGHT = 2, 3
#: What osam adds to the name of a model that has none of its own.
_DEFAULT_TAG = ":latest"


class OsamPrompt(msgspec.Struct):
    """Points with labels: 0 background, 1 foreground, 2 and 3 the corners of a box."""

    points: list[Point] | None = None
    point_labels: list[Literal[0, 1, 2, 3]] | None = None
    texts: list[str] | None = None


class OsamRequest(msgspec.Struct):
    """`image` is base64 of an image file. Without a prompt, the middle of the image is meant."""

    model: str
    image: str | None = None
    image_embedding: Any = None
    prompt: OsamPrompt | None = None


class OsamBox(msgspec.Struct):
    """First and last column and row, in pixels."""

    xmin: int
    ymin: int
    xmax: int
    ymax: int


class OsamAnnotation(msgspec.Struct):
    """`mask` is base64 of a PNG of the box alone, 255 inside."""

    bounding_box: OsamBox
    text: str | None
    score: float
    mask: str


class OsamAnswer(msgspec.Struct):
    """One annotation, or none of an empty mask; `image_embedding` stays empty."""

    model: str
    image_embedding: None
    annotations: list[OsamAnnotation]


class OsamProblem(msgspec.Struct):
    """One sentence."""

    detail: str


async def generate(service: Service, call: Call) -> OsamAnswer:
    """The mask of a prompt."""
    asked: OsamRequest = call.body
    if asked.image is None:
        raise RefusedError(422, "image is missing; send the image, embeddings are not taken.")
    model = service.model(asked.model.removesuffix(_DEFAULT_TAG))
    prompt = asked.prompt

    def prompts(embedding: Embedding) -> list[Prompt]:
        height, width = embedding.original_size
        return [Prompt([width / 2, height / 2])] if prompt is None else [_prompt(prompt)]

    def finish(masks: Masks, embedding: Embedding) -> OsamAnswer:
        found = [_annotation(mask) for mask in masks if mask.areas[0]]
        return OsamAnswer(asked.model, None, found)

    return await service.predict(model, picture_of_text(asked.image), prompts, False, finish)


def _prompt(given: OsamPrompt) -> Prompt:
    if given.points is None or given.point_labels is None:
        raise RefusedError(422, "prompt has no points and point_labels; SAM takes no texts.")
    if len(given.points) != len(given.point_labels):
        raise RefusedError(
            422,
            f"{len(given.point_labels)} point_labels for {len(given.points)} points; give one "
            "each.",
        )
    pairs = list(zip(given.points, given.point_labels, strict=True))
    inner = [(point, label) for point, label in pairs if label < _TOP_LEFT]
    corners = [[p for p, label in pairs if label == kind] for kind in (_TOP_LEFT, _BOTTOM_RIGHT)]
    if [len(corner) for corner in corners] not in ([0, 0], [1, 1]):
        raise RefusedError(
            422, "point_labels 2 and 3 are the corners of a box; expected one of each, or none."
        )
    points, labels = [list(each) for each in zip(*inner, strict=True)] or (None, None)
    box = [*corners[0][0], *corners[1][0]] if corners[0] else None
    return Prompt(points, labels, box)


def _annotation(mask: Masks) -> OsamAnnotation:
    x1, y1, x2, y2 = (int(value) for value in mask.boxes[0])
    part = next(mask.iter_data())[y1 : y2 + 1, x1 : x2 + 1]
    return OsamAnnotation(OsamBox(x1, y1, x2, y2), None, float(mask.scores[0]), png_text(part))


OSAM = Dialect("osam", OsamProblem, lambda refusal: OsamProblem(str(refusal)))

ENDPOINTS = (
    Endpoint(
        "POST", "/api/generate", "The mask of a prompt, as osam answers", generate, OsamAnswer,
        OsamRequest, dialect=OSAM,
    ),
)  # fmt: skip
