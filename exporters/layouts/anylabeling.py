"""AnyLabeling (vietanhdev/anylabeling, 5c15bbf; AnyLabeling 0.4).

It shares its SAM code with X-AnyLabeling, and recognises SAM 2.1 by the name of a tensor. To SAM
2.1 it gives BGR, taking its own RGB for that; our encoder turns it round again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from samdeploy.bundle import Bundle
from samdeploy.exporters.layouts import pieces, xanylabeling
from samdeploy.exporters.layouts.adapters import MEAN, STD, padded
from samdeploy.layouts import Flavour, Layout
from samdeploy.session import Array


def _write_sam(bundle: Bundle, folder: Path) -> None:
    xanylabeling.write_sam(bundle, folder)
    xanylabeling.write_config(bundle, folder / "config.yaml", "segment_anything")


def _write_sam2(bundle: Bundle, folder: Path) -> None:
    pixels = pieces.unnormalised("input", "bgr") + pieces.reversed_channels("bgr", "image")
    xanylabeling.write_sam2(bundle, folder, pixels)
    xanylabeling.write_config(bundle, folder / "config.yaml", "segment_anything")


class Sam2Adapter(xanylabeling.Sam2Adapter):
    """``sam2_onnx.py``."""

    def resized(self, image: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(cv2.resize(image, (self.side, self.side)))

    def tensor(self, image: NDArray[Any]) -> Array:
        bgr = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        pixels = (self.resized(np.asarray(bgr)) / 255.0 - MEAN / 255) / (STD / 255)
        return padded(pixels, self.side)


LAYOUT = Layout(
    "anylabeling",
    "AnyLabeling 0.4",
    {
        "sam": Flavour(_write_sam, xanylabeling.SamAdapter, side=1024),
        "sam2": Flavour(_write_sam2, Sam2Adapter),
    },
)
