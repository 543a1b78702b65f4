"""Sines and cosines of an ONNX graph as polynomials.

Graphics adapters may be off by 2^-11 in both (WGSL, *Accuracy of Built-in Functions*), and by
anything outside [-pi, pi]: an error of 2e-4 in the positions of a prompt moves the outline of a
mask by pixels. Multiplications and additions are as exact there as anywhere.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper

#: Two pi in two parts: the first has so few bits that its multiples up to 2^15 are exact.
_TURN = 6.28125
_REST = 2 * math.pi - _TURN
#: Taylor's series of the sine: less than 6e-8 is lost up to half of pi.
_SERIES = [(-1) ** n / math.factorial(2 * n + 1) for n in range(1, 6)]


def expand_angles(model: onnx.ModelProto) -> None:
    """Replace what is ``Sin`` and ``Cos`` in ``model``, in place; within 3e-7 for float32 angles
    up to 1000."""
    graph = model.graph
    nodes = list(graph.node)
    if not any(node.op_type in _FOLDED for node in nodes):
        return
    writer = _Writer()
    for node in nodes:
        if node.op_type in _FOLDED:
            writer.replace(node)
        else:
            writer.nodes.append(node)
    del graph.node[:]
    graph.node.extend(writer.nodes)
    graph.initializer.extend(writer.constants.values())


class _Writer:
    """The nodes of the new graph. ``constants`` by name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._reduced: dict[str, str] = {}

    def replace(self, node: onnx.NodeProto) -> None:
        (angle,) = node.input
        if angle not in self._reduced:
            self._reduced[angle] = self._reduce(angle)
        x = _FOLDED[node.op_type](self, self._reduced[angle])
        square = self("Mul", x, x)
        series = self._number(_SERIES[-1])
        for coefficient in reversed(_SERIES[:-1]):
            series = self("Add", self("Mul", series, square), coefficient)
        tail = self("Mul", self("Mul", series, square), x)
        self("Add", tail, x, output=node.output[0])

    def _reduce(self, angle: str) -> str:
        """The angle less whole turns, in [-pi, pi]."""
        turns = self("Floor", self("Add", self("Mul", angle, 1 / (2 * math.pi)), 0.5))
        part = self("Sub", angle, self("Mul", turns, _TURN))
        return self("Sub", part, self("Mul", turns, _REST))

    def sine(self, angle: str) -> str:
        """Where the sine is the same, in [-pi / 2, pi / 2]."""
        low = self("Min", angle, self("Sub", math.pi, angle))
        return self("Max", low, self("Sub", -math.pi, angle))

    def cosine(self, angle: str) -> str:
        """Where the sine is the cosine of ``angle``, in [-pi / 2, pi / 2]."""
        return self("Sub", math.pi / 2, self("Abs", angle))

    def __call__(self, kind: str, *inputs: str | float, output: str = "") -> str:
        names = [each if isinstance(each, str) else self._number(each) for each in inputs]
        name = output or f"angles_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, names, [name], f"{name}_{kind}"))
        return name

    def _number(self, value: float) -> str:
        name = f"angles_{value!r}"
        self.constants[name] = numpy_helper.from_array(np.float32(value), name)
        return name


_FOLDED = {"Sin": _Writer.sine, "Cos": _Writer.cosine}
