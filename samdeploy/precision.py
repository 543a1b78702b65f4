"""The arithmetic that graphs compute in, as ``precision=`` names it.

``fp32`` means no less than the artifact itself says. What is lower rounds more: it is asked for by
name, or chosen by ``samdeploy tune``, and has a verification of its own.
"""

from __future__ import annotations

from typing import NamedTuple

FP32, KERNELS = "fp32", "kernels"


class Arithmetic(NamedTuple):
    """Arithmetic of the graphs of a model: of the image ``encoder``, which takes most of the time,
    and of the ``rest``, all other graphs, which lose most by rounding. An artifact whose weights
    have the precision of the encoder has to be as accurate (:mod:`samdeploy.schemes`). With
    ``kernels``, our own take the place of the two graphs that prompts go through
    (:mod:`samdeploy.runtimes.native`)."""

    encoder: str
    rest: str
    kernels: bool = False

    @property
    def mixed(self) -> bool:
        return self.encoder != self.rest


ARITHMETIC = {
    FP32: Arithmetic(FP32, FP32),
    "tf32": Arithmetic("tf32", "tf32"),
    "bf16": Arithmetic("bf16", "bf16"),
    "bf16-encoder": Arithmetic("bf16", FP32),
    "fp16": Arithmetic("fp16", "fp16"),
    "fp16-encoder": Arithmetic("fp16", FP32),
    KERNELS: Arithmetic(FP32, FP32, kernels=True),
    "bf16-kernels": Arithmetic("bf16", FP32, kernels=True),
}

#: What OpenVINO's and PyTorch's users write, and bundles before version 0.2 hold.
_ALSO = {"f32": FP32, "f16": "fp16", "f16-encoder": "fp16-encoder"}


def arithmetic_name(name: str) -> str:
    """``name``, or the one that it is another spelling of."""
    return _ALSO.get(name, name)


def element_type(name: str) -> str:
    """The name that libraries have for the type of the numbers: ``f32``, ``f16``, ``bf16``."""
    return name.replace("fp", "f")
