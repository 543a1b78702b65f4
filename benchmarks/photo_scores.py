"""How well a model segments photographs whose objects were outlined by hand.

A folder of them has ``polygons.json``: picture -> object -> rings of (x, y), in pixels of
``picture.jpg`` counted from its top left corner.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from samdeploy.benchmarks.scene_scores import PromptScores, score_objects
from samdeploy.images import load_image
from samdeploy.sam import SAM

_Rings = list[list[tuple[float, float]]]


def read_masks(folder: Path) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Picture -> object -> mask ``[H, W]``."""
    polygons = msgspec.json.decode(
        (folder / "polygons.json").read_bytes(), type=dict[str, dict[str, _Rings]]
    )
    masks: dict[str, dict[str, NDArray[np.bool_]]] = {}
    for picture, objects in polygons.items():
        height, width = read_picture(folder, picture).shape[:2]
        masks[picture] = {name: _fill(rings, height, width) for name, rings in objects.items()}
    return masks


def read_picture(folder: Path, name: str) -> NDArray[np.uint8]:
    """RGB."""
    return load_image(folder / f"{name}.jpg")


def _fill(rings: _Rings, height: int, width: int) -> NDArray[np.bool_]:
    mask = np.zeros((height, width), np.uint8)
    # OpenCV counts from the centre of the first pixel, the polygons from its corner.
    scaled = [np.round((np.array(ring) - 0.5) * 16).astype(np.int32) for ring in rings]
    cv2.fillPoly(mask, scaled, 1, shift=4)
    return mask.astype(bool)


def score_photographs(sam: SAM, folder: Path) -> dict[str, PromptScores]:
    """Scores of each picture's objects, in their order."""
    scores = {}
    for name, objects in read_masks(folder).items():
        scores[name] = PromptScores()
        embedding = sam.encode(read_picture(folder, name), "rgb")
        score_objects(sam, embedding, np.stack(list(objects.values())), scores[name])
    return scores


def mean_over_pictures(scores: dict[str, PromptScores]) -> dict[str, float]:
    """Each score, with every picture counting the same, however many objects it has."""
    means = [picture.means() for picture in scores.values()]
    return {name: float(np.mean([m[name] for m in means])) for name in means[0]}
