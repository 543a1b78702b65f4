"""What a Label Studio project wants: which tag takes the answer, and where its images are."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

from samdeploy.serving.refusals import RefusedError
from samdeploy.text import reason

#: Kinds of tags that can take a mask, the one that keeps most of it first.
KINDS = ("BrushLabels", "PolygonLabels", "RectangleLabels")


@dataclass(frozen=True)
class Control:
    """A tag that takes labels: its ``kind`` and ``name``, that of the image, and the key of the
    image in the data of a task."""

    kind: str
    name: str
    image: str
    key: str


def control_of(label_config: str) -> Control:
    """The tag of a labelling configuration that takes masks.

    Raises:
        RefusedError: there is none, or it is no XML.
    """
    if "<!" in label_config.replace("<!--", ""):  # entities can grow without end
        raise RefusedError(422, "label_config holds a document type; expected tags alone.")
    try:
        root = ElementTree.fromstring(label_config)
    except (ElementTree.ParseError, RecursionError, ValueError) as error:
        raise RefusedError(422, f"label_config is no XML ({reason(error)}).") from error
    images = {each.get("name"): each.get("value", "") for each in root.iter("Image")}
    for kind in KINDS:
        for tag in root.iter(kind):
            image, name = tag.get("toName"), tag.get("name")
            if image in images and image and name:
                return Control(kind, name, image, images[image].removeprefix("$"))
    raise RefusedError(
        422, f"label_config has no {', '.join(KINDS[:-1])} or {KINDS[-1]} for an Image; add one."
    )
