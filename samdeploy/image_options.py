"""How image files are read, the same for every command and method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real

from samdeploy.errors import InputError
from samdeploy.text import shown


@dataclass(frozen=True)
class ImageOptions:
    """Meaning of pixels of more than 8 bits, and how large an image may be.

    8-bit images are taken as they are. Deeper ones are brought to 8 bits: with ``window`` or
    ``bit_depth`` as these say, else by the fewest of 8, 10, 12, 14 and 16 bits that hold their
    largest value, with a notice where these are fewer than 16.

    Attributes:
        bit_depth: bits that are in use, 2 to 32: 0 to 2^bit_depth - 1 is black to white.
        window: (low, high), instead: what is black and what is white; values beyond are cut off.
            The only way to read negative and floating-point values.
        max_pixels: of the largest image; by default what Pillow allows, 178,956,970.

    Raises:
        InputError: one of them is not usable, or ``bit_depth`` and ``window`` are both given.
    """

    bit_depth: int | None = None
    window: Sequence[float] | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        for name, value, most in (
            ("bit_depth", self.bit_depth, 32),
            ("max_pixels", self.max_pixels, 2**40),
        ):
            whole = isinstance(value, Integral) and not isinstance(value, bool)
            if value is not None and not (whole and 2 <= value <= most):
                raise InputError(
                    f"{name}={shown(value)}; expected a whole number from 2 to {most}."
                )
        if self.window is None:
            return
        if self.bit_depth is not None:
            raise InputError("bit_depth and window both say what is white; give one of them.")
        ends = list(self.window) if isinstance(self.window, (Sequence, tuple)) else []
        numbers = [e for e in ends if isinstance(e, Real) and not isinstance(e, bool)]
        finite = all(abs(e) < 2**53 for e in numbers)  # true of no NaN
        if len(ends) != 2 or len(numbers) != 2 or not finite or not numbers[0] < numbers[1]:
            raise InputError(
                f"window={shown(self.window)}; expected two numbers [black, white], such as "
                "[0, 4095]."
            )
        object.__setattr__(self, "window", (float(numbers[0]), float(numbers[1])))


DEFAULT_OPTIONS = ImageOptions()
