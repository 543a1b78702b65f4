"""The arithmetic that graphs compute in, as ``precision=`` names it.

``f32`` means no less than the artifact itself says. What is lower rounds more: it is asked for by
name, or chosen by ``samdeploy tune``, and has a verification of its own.
"""

from __future__ import annotations

from typing import NamedTuple

F32 = "f32"


class Arithmetic(NamedTuple):
    """What the graphs of a model compute in.

    Attributes:
        encoder, rest: of the image encoder, which takes most of the time, and of all other graphs,
            which lose most by rounding.
        made: the precision of an artifact that has to be as accurate.
    """

    encoder: str
    rest: str
    made: str

    @property
    def mixed(self) -> bool:
        return self.encoder != self.rest


ARITHMETIC = {
    F32: Arithmetic(F32, F32, "fp32"),
    "tf32": Arithmetic("tf32", "tf32", "tf32"),
    "bf16": Arithmetic("bf16", "bf16", "bf16"),
    "bf16-encoder": Arithmetic("bf16", F32, "bf16"),
    "f16": Arithmetic("f16", "f16", "fp16"),
    "f16-encoder": Arithmetic("f16", F32, "fp16"),
}
