"""The result of one frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdeploy.errors import InputError
from samdeploy.masks.drawing import draw_masks
from samdeploy.masks.masks import Masks


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class Tracked:
    """Which objects are where in one frame. An object's id is the number of its prompt, from 0.

    Attributes:
        frame: number of the frame, from 0.
        masks: of the objects that are followed, one each; ``masks.prompt_index`` are their ids.
        lost: ids of the objects that are not: out of sight, or not told from something else.
        scores: by id, how surely an object is followed, 0 to 1, of all that were looked for. An
            object that was lost long ago is not.
        name: the file of the frame, or empty.
    """

    frame: int
    masks: Masks
    lost: tuple[int, ...]
    scores: Mapping[int, float]
    name: str = ""

    @property
    def ids(self) -> NDArray[np.int64]:
        """``[N]`` the id of each mask."""
        return self.masks.prompt_index

    def to_json(self) -> dict[str, Any]:
        """The ids, boxes and scores without the masks, as plain JSON values."""
        boxes = self.masks.boxes.tolist()
        return {
            "frame": self.frame,
            "name": self.name,
            "objects": [
                {"id": id, "box": box, "area": area, "score": round(self.scores[id], 4)}
                for id, box, area in zip(
                    self.ids.tolist(), boxes, self.masks.areas.tolist(), strict=True
                )
            ],
            "lost": list(self.lost),
        }

    def plot(self) -> NDArray[np.uint8]:
        """The frame with the masks over it, a colour and a number for each id; a new RGB array."""
        picture = self.masks.image
        if picture is None:
            raise InputError("these masks do not know their image; draw them with masks.plot.")
        ids = self.ids.tolist()
        captions = [str(id) for id in ids]
        return draw_masks(picture, self.masks.rles, captions=captions, colours=ids)
