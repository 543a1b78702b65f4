"""Graphs that take prompts as tokens, used like those that take points.

Sines of coordinates and comparisons of labels are what accelerators compute coarsely, or leave to
the processor. So the prompt encoder's part for points and boxes may run on the host: a few
thousand operations a prompt, whose weights are a file of the bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samdeploy.constants import ABSENT_BIAS, LABEL_ABSENT, LABEL_BOX_BOTTOM_RIGHT, LABEL_PADDING
from samdeploy.errors import BundleError, InputError
from samdeploy.graphs import HOSTED, PROMPTS_FILE
from samdeploy.limits import whole
from samdeploy.session import MOST_IMGSZ, Array, Session, TensorSpec
from samdeploy.weights_file import read_weights

Floats = NDArray[np.float32]
Specs = tuple[TensorSpec, ...]

_COORDS, _LABELS = HOSTED
_TOKENS, _BIAS = HOSTED.values()
_ASKED = {hosted: asked for asked, hosted in HOSTED.items()}
#: Labels that have an embedding of their own, in order.
_EMBEDDED = range(LABEL_PADDING, LABEL_BOX_BOTTOM_RIGHT + 1)


def hosted(specs: Specs, channels: int) -> Specs:
    """Inputs of a graph that takes tokens of ``channels`` in the place of points."""
    last = {_COORDS: (channels,), _LABELS: ()}
    return tuple(
        TensorSpec(HOSTED[spec.name], (*spec.shape[:2], *last[spec.name]), spec.dtype)
        if spec.name in HOSTED
        else spec
        for spec in specs
    )


def as_asked(specs: Specs) -> Specs:
    """The other way: inputs of a graph as its callers know them."""
    last = {_TOKENS: (2,), _BIAS: ()}
    return tuple(
        replace(spec, name=_ASKED[spec.name], shape=(*spec.shape[:2], *last[spec.name]))
        if spec.name in _ASKED
        else spec
        for spec in specs
    )


@dataclass(frozen=True)
class PromptEncoding:
    """The prompt encoder's part for points and box corners.

    Attributes:
        frequencies: ``[2, C/2]`` of the random Fourier features (arXiv:2006.10739).
        embeddings: ``[5, C]``, of labels -1 to 3.
        image_size: side of the encoder input in pixels.
    """

    frequencies: Floats
    embeddings: Floats
    image_size: int

    @property
    def channels(self) -> int:
        return int(self.embeddings.shape[-1])

    @classmethod
    def read(cls, path: Path) -> PromptEncoding:
        """Raises :class:`BundleError` where the file is none of :meth:`write`."""
        weights, told = read_weights(path)
        try:
            frequencies, embeddings = weights["frequencies"], weights["embeddings"]
            size = whole("image_size", int(told["image_size"]), 16, MOST_IMGSZ)
        except (KeyError, ValueError, InputError) as error:
            raise BundleError(
                f"'{path}' does not tell what tokens are made of ({error}); export the bundle "
                "again."
            ) from error
        channels = embeddings.shape[-1] if embeddings.ndim else 0
        shapes = (2, channels // 2), (len(_EMBEDDED), channels)
        fits = (frequencies.shape, embeddings.shape) == shapes and channels % 2 == 0
        if not fits or any(each.dtype != np.float32 for each in (frequencies, embeddings)):
            raise BundleError(
                f"'{path}' has frequencies {list(frequencies.shape)} and embeddings "
                f"{list(embeddings.shape)}; expected [2, C/2] and [{len(_EMBEDDED)}, C] in float32,"
                " export the bundle again."
            )
        return cls(frequencies, embeddings, size)

    def write(self, path: Path) -> None:
        from safetensors.numpy import save_file  # here: only exports write

        tensors = {"frequencies": self.frequencies, "embeddings": self.embeddings}
        save_file(tensors, path, {"image_size": str(self.image_size)})

    def __call__(self, coords: Floats, labels: Floats) -> tuple[Floats, Floats]:
        """Points ``[B, P, 2]`` in encoder-input pixels and labels ``[B, P]`` to tokens
        ``[B, P, C]`` and what is added to the scores of attention to each, ``[B, P]``."""
        positions = (2 * (coords + np.float32(0.5)) / np.float32(self.image_size) - 1) @ (
            self.frequencies
        )
        angles = np.float32(2 * np.pi) * positions
        tokens = np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)
        tokens *= (labels >= 0)[..., None]
        for label, embedding in zip(_EMBEDDED, self.embeddings, strict=True):
            tokens += embedding * (labels == label)[..., None]
        bias = np.where(labels == LABEL_ABSENT, np.float32(ABSENT_BIAS), np.float32(0))
        return tokens, bias


def for_points(session: Session, graph: Path) -> Session:
    """``session`` of the file ``graph``, or where that takes tokens, one over it that takes points.

    Raises:
        BundleError: the weights are not beside it, or not those of its tokens.
    """
    wanted = next((spec for spec in session.inputs if spec.name == _TOKENS), None)
    if wanted is None:
        return session
    path = graph.with_name(PROMPTS_FILE)
    encoding = PromptEncoding.read(path)
    if wanted.shape[-1] != encoding.channels:
        raise BundleError(
            f"'{path}' makes tokens of {encoding.channels} channels, '{graph.name}' takes "
            f"{wanted.shape[-1]}; export the bundle again."
        )
    return HostPrompts(session, encoding)


class HostPrompts:
    """One :class:`~samdeploy.session.Session` over another that takes prompts as tokens."""

    def __init__(self, session: Session, encoding: PromptEncoding) -> None:
        self._session, self._encoding = session, encoding
        self.inputs, self.outputs = as_asked(session.inputs), session.outputs

    @property
    def provider(self) -> str:
        return self._session.provider

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        rest = {name: array for name, array in feeds.items() if name not in HOSTED}
        tokens, bias = self._encoding(feeds[_COORDS], feeds[_LABELS])
        return self._session.run({**rest, _TOKENS: tokens, _BIAS: bias})

    def close(self) -> None:
        self._session.close()
