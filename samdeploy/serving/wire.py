"""What our own routes take and give. The OpenAPI document is made of these structs."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

Count: TypeAlias = Annotated[int, Meta(ge=0, le=2**40)]
Side: TypeAlias = Annotated[int, Meta(ge=1, le=2**31)]
#: (x, y) in pixels of the image.
Point: TypeAlias = tuple[float, float]
#: First and last column and row: x1 y1 x2 y2.
Box: TypeAlias = tuple[int, int, int, int]

MaskForm: TypeAlias = Literal["rle", "polygons", "png"]
LabelForm: TypeAlias = Literal["coco", "yolo"]


class Request(msgspec.Struct, forbid_unknown_fields=True):
    """Names that are not known are refused: they would be ignored otherwise."""


class RunLengths(msgspec.Struct):
    """A mask in the COCO format: `size` is height and width, `counts` compressed or a list."""

    size: tuple[Side, Side]
    counts: Annotated[str, Meta(max_length=2_000_000)] | list[Count]


class WirePrompt(Request, kw_only=True):
    """A request for one mask (three with `multimask`): any mixture of points, a box and a mask."""

    points: list[Point] | None = None
    labels: list[Literal[0, 1]] | None = None
    box: tuple[float, float, float, float] | None = None
    mask: RunLengths | None = None


class WithImage(Request, kw_only=True):
    """`image` is base64 or a data URL of an image file; `image_id` is one that was sent before."""

    model: str | None = None
    image: str | None = None
    image_id: str | None = None


class EncodeRequest(WithImage, kw_only=True):
    """An image to keep. The bytes of the file themselves are taken as well."""


class WithAnswer(WithImage, kw_only=True):
    """How masks are wanted, and whether labels come with them.

    `simplify` is how far in pixels an outline may move; `file_name` and `category` stand in labels.
    """

    masks: MaskForm = "rle"
    labels: LabelForm | None = None
    simplify: Annotated[float, Meta(ge=0, le=1000)] = 0.0
    file_name: str = "image"
    category: str = "object"


class PredictRequest(WithAnswer, kw_only=True):
    """Masks of prompts."""

    prompts: list[WirePrompt]
    multimask: bool = False


class GenerateRequest(WithAnswer, kw_only=True):
    """Masks of the whole image; `settings` are those of `samdeploy predict`."""

    settings: dict[str, Any] = {}


class WirePolygon(msgspec.Struct):
    """One connected part: its outline and its holes, along the edges of pixels."""

    exterior: list[Point]
    holes: list[list[Point]]


class WireMask(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A mask in the form that was asked for. `box` is its first and last column and row; `prompt`
    is which one it answers; `png` is base64."""

    score: float
    box: Box
    area: int
    prompt: int
    stability: float | None = None
    rle: RunLengths | None = None
    polygons: list[WirePolygon] | None = None
    png: str | None = None


class Coco(msgspec.Struct):
    """A COCO file of one image."""

    images: list[dict[str, Any]]
    annotations: list[dict[str, Any]]
    categories: list[dict[str, Any]]


class MasksAnswer(msgspec.Struct, omit_defaults=True, kw_only=True):
    """`size` is height and width; `coco` and `yolo` are there when they were asked for."""

    model: str
    image_id: str
    size: tuple[int, int]
    masks: list[WireMask]
    coco: Coco | None = None
    yolo: str | None = None


class ImageAnswer(msgspec.Struct, kw_only=True):
    """An image that prompts may name from now on; `known` if it was here already."""

    model: str
    image_id: str
    size: tuple[int, int]
    known: bool


class WireModel(msgspec.Struct, kw_only=True):
    """A model that can be named; `whole_image` are the settings that it recommends."""

    name: str
    architecture: str
    image_size: int
    format: str
    runtime: str
    device: str
    whole_image: dict[str, Any]


class Limits(msgspec.Struct, kw_only=True):
    """What requests may not exceed."""

    bytes: int
    pixels: int
    prompts: int
    points: int
    crops: int


class ModelsAnswer(msgspec.Struct, kw_only=True):
    """Models, of which the first is the default, and limits."""

    version: str
    models: list[WireModel]
    limits: Limits


class Problem(msgspec.Struct):
    """One sentence: the value, what was expected, and what to do."""

    error: str
