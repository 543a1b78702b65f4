"""Realistic work for whole-image mode when the weights are random.

A model with random weights finds no mask that it is sure of, so most of whole-image mode would have
nothing to do. Here the decoder really runs, then its outputs are replaced: predicted IoUs are
uniform between 0 and 1, so that with a threshold of 0.65 a good third of the masks pass, and masks
are discs with edges as soft as those of a trained model: their stability scores are spread like its
own around the usual threshold, so that some are settled at once and some only at image size. Which
disc it is follows from the grid point alone; so ours and every peer get the same, whatever their
batches, and time and memory of all that comes after the decoder are comparable.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdeploy.geometry import Transform
from samdeploy.graphs import DECODER, MASK_HEAD, SCORER
from samdeploy.session import Array, DividedSession, Session

#: Whole-image settings that go with it: about 35 % of the masks are confident, and 43 % of those
#: stable.
SETTINGS = {"conf_thres": 0.65, "stability_score_thresh": 0.95}
#: Stability scores of the shipped model's confident masks, and the share of masks below each
#: (``tools/stability_margin.py``).
_STABILITY = (0.71, 0.835, 0.916, 0.945, 0.962, 0.972, 0.98)
_SHARE_BELOW = (0.0, 0.05, 0.25, 0.5, 0.75, 0.9, 1.0)
#: Radii of the discs as shares of the image's longer side, from a click's part to a large object.
_RADII = (0.02, 0.25)
_OUTPUTS = 4


class Substitution:
    """The answers that the decoder is made to give about each of ``side * side`` grid points of an
    image.

    Args:
        transform: how the image lies in the encoder input.
        side: grid points along a side.
    """

    def __init__(self, transform: Transform, side: int) -> None:
        rng = np.random.default_rng(0)
        height, width = transform.input_size
        self._side, self._extent = side, np.array([width, height], np.float64)
        count = (side * side, _OUTPUTS)
        self._iou = rng.uniform(0, 1, count).astype(np.float32)
        low = np.array([width, height], np.float32) / 4
        self._centres = (rng.uniform(0, 1, (*count, 2)) * low).astype(np.float32)
        smallest, largest = np.log(_RADII).tolist()
        shares = np.exp(rng.uniform(smallest, largest, count))
        self._radii = (shares * transform.image_size / 4).astype(np.float32)
        scores = np.interp(rng.uniform(0, 1, count), _SHARE_BELOW, _STABILITY)
        # (1 - d²/r²) / u is 1 and -1 where d²/r² is 1 - u and 1 + u: areas of that ratio.
        softness = (1 - scores) / (1 + scores)
        self._scales = (1 / (self._radii**2 * softness)).astype(np.float32)
        self.enabled = False

    def index(self, points: NDArray[Any]) -> NDArray[np.intp]:
        """Which grid points ``[B, 2]`` (x, y) in encoder-input pixels are."""
        cells = np.floor(np.asarray(points, np.float64) / self._extent * self._side)
        column, row = np.clip(cells, 0, self._side - 1).astype(np.intp).T
        return np.asarray(row * self._side + column, np.intp)

    def replace_iou(self, index: NDArray[np.intp], iou: Array) -> None:
        """Write the predicted IoUs of the last ``iou.shape[1]`` outputs into ``iou``."""
        iou[:] = self._iou[index, _OUTPUTS - iou.shape[1] :]

    def replace_masks(self, index: NDArray[np.intp], logits: Array) -> None:
        """Write the discs of the last ``logits.shape[1]`` outputs into ``logits``
        ``[B, n, h, w]``."""
        outputs = slice(_OUTPUTS - logits.shape[1], None)
        y, x = (np.arange(side, dtype=np.float32) + 0.5 for side in logits.shape[2:])
        centres, radii = self._centres[index, outputs], self._radii[index, outputs, None]
        scales = self._scales[index, outputs, None]
        # A paraboloid needs one addition per pixel.
        across = (radii**2 - (x - centres[..., :1]) ** 2) * scales
        down = -((y - centres[..., 1:]) ** 2) * scales
        np.add(across[..., None, :], down[..., None], out=logits)


class SubstitutedSession:
    """A session of ours whose answers are replaced while ``substitution.enabled``."""

    def __init__(self, session: Session, role: str, substitution: Substitution) -> None:
        self._session, self._substitution = session, substitution
        self._replace = _REPLACE.get(role)
        self.inputs, self.outputs = session.inputs, session.outputs
        self.provider = session.provider
        self.streams = getattr(session, "streams", 1)

    def divided(self) -> SubstitutedSession:
        """See :class:`~samdeploy.session.DividedSession`."""
        assert isinstance(self._session, DividedSession)
        again = copy(self)
        again._session = self._session.divided()
        return again

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        results = self._session.run(feeds)
        if self._replace is not None and self._substitution.enabled:
            self._replace(self._substitution, feeds, results)
        return results

    def close(self) -> None:
        self._session.close()


def _decoder(chosen: Substitution, feeds: Mapping[str, Array], results: dict[str, Array]) -> None:
    index = chosen.index(feeds["point_coords"][:, 0])
    chosen.replace_iou(index, results["iou_predictions"])
    chosen.replace_masks(index, results["low_res_masks"])


def _scorer(chosen: Substitution, feeds: Mapping[str, Array], results: dict[str, Array]) -> None:
    index = chosen.index(feeds["point_coords"][:, 0])
    chosen.replace_iou(index, results["iou_predictions"])
    # The mask head does not see the points: the number travels in a value that it is fed with.
    results["mask_tokens"][:, 0, 0] = index


def _mask_head(chosen: Substitution, feeds: Mapping[str, Array], results: dict[str, Array]) -> None:
    chosen.replace_masks(feeds["mask_tokens"][:, 0, 0].astype(np.intp), results["low_res_masks"])


_REPLACE = {DECODER: _decoder, SCORER: _scorer, MASK_HEAD: _mask_head}
