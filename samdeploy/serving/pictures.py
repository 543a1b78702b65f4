"""Images as requests bring them: bytes, base64 or a data URL; never a path, never an address."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from functools import cached_property

from samdeploy.serving.refusals import RefusedError
from samdeploy.text import shortened


@dataclass(frozen=True)
class Picture:
    """The ``content`` of an image file."""

    content: bytes

    @cached_property
    def id(self) -> str:
        """SHA-256 of the file: the same image is the same id."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class Kept:
    """An image that was sent before, by its ``id``."""

    id: str


def picture_of(content: bytes) -> Picture:
    """A picture of bytes as they came.

    Raises:
        RefusedError: there are none.
    """
    if not content:
        raise RefusedError(422, "the image is empty; expected the bytes of an image file.")
    return Picture(content)


def picture_of_text(text: str) -> Picture:
    """A picture of base64, or of a ``data:`` URL that holds base64.

    Raises:
        RefusedError: it is something else, such as a path.
    """
    written = text
    if text[:5].lower() == "data:":
        head, comma, written = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise RefusedError(
                422, f"image is {_shown(text)}; expected data:image/png;base64,... with base64."
            )
    try:
        content = base64.b64decode("".join(written.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RefusedError(
            422,
            f"image is {_shown(text)}, which is no base64; expected the content of an image file, "
            "not a path or an address.",
        ) from error
    return picture_of(content)


def _shown(text: str) -> str:
    return repr(shortened(text[:200]))
