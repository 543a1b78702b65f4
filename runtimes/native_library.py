"""The compiled kernels of runtimes/cpp/kernels, called through their C interface."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping
from ctypes import POINTER, c_char_p, c_int, c_longlong, c_size_t, c_void_p
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdeploy.errors import BundleError, RuntimeUnavailableError

Floats = NDArray[np.float32]

#: Positions that are computed at a time, ``TILE`` of the kernels.
TILE = 64
#: Floats of a cache line.
_LINE = 16


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("name", c_char_p),
        ("data", c_void_p),
        ("shape", POINTER(c_longlong)),
        ("rank", c_int),
    )


class Sizes(ctypes.Structure):
    """Of a decoder: channels, width of its attentions to the image, heads, masks, tokens of its
    own, and whether it says if the object is there at all (SAM 2)."""

    _fields_ = tuple(
        (name, c_int) for name in ("channels", "inner", "heads", "masks", "own", "score")
    )
    channels: int
    inner: int
    heads: int
    masks: int
    own: int
    score: int


@cache
def library() -> ctypes.CDLL:
    """The library, which the installation built where it found a C++ compiler.

    Raises:
        OSError: there is none, or it cannot be loaded.
    """
    found = [
        path for end in EXTENSION_SUFFIXES for path in Path(__file__).parent.glob(f"_kernels{end}")
    ]
    if not found:
        raise OSError("they were not built when samdeploy was installed")
    loaded = ctypes.CDLL(str(found[0]))
    floats = c_void_p
    signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "samk_instructions": (c_char_p, ()),
        "samk_lanes": (c_int, ()),
        "samk_open": (c_void_p, (POINTER(_Tensor), c_int, c_int, c_int, c_char_p, c_size_t)),
        "samk_close": (None, (c_void_p,)),
        "samk_size": (Sizes, (c_void_p,)),
        "samk_values": (c_int, (c_void_p, c_int)),
        "samk_score": (
            c_int,
            (c_void_p, *[floats] * 3, c_longlong, *[floats] * 2, c_int, c_int, *[floats] * 6),
        ),
        "samk_masks": (
            c_int,
            (c_void_p, *[floats] * 3, c_int, c_int, *[floats] * 4, c_int, c_int, floats),
        ),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def instructions() -> str:
    """Name of the instruction set that the kernels use here; empty where they know none."""
    name: bytes = library().samk_instructions()
    return name.decode()


class Kernels:
    """The scorer and the mask head of one decoder. Safe for threads; every call computes on the
    thread that makes it, without Python's lock.

    Args:
        weights: parameters by their names in a checkpoint.
        image_size: side of the encoder's input in pixels.
        heads: of the decoder's attentions.
        source: what an error names.

    Raises:
        BundleError: ``weights`` are not those of a decoder like SAM's.
    """

    def __init__(
        self, weights: Mapping[str, Floats], image_size: int, heads: int, source: Path
    ) -> None:
        self._library, self.image_size = library(), image_size
        kept = [
            (name.encode(), np.ascontiguousarray(array, np.float32))
            for name, array in weights.items()
        ]
        tensors = (_Tensor * len(kept))(
            *(
                _Tensor(
                    name, array.ctypes.data, (c_longlong * array.ndim)(*array.shape), array.ndim
                )
                for name, array in kept
            )
        )
        why = ctypes.create_string_buffer(512)
        model = self._library.samk_open(tensors, len(kept), image_size, heads, why, len(why))
        if not model:
            raise BundleError(
                f"'{source}' holds no decoder that the kernels know ({why.value.decode()}); export "
                "the bundle again."
            )
        self._model = c_void_p(model)
        weakref.finalize(self, self._library.samk_close, self._model)
        self.sizes: Sizes = self._library.samk_size(self._model)

    def pack(self, name: str, array: Floats) -> Floats:
        """An input of a graph that is the image's, in the tiles that the kernels read."""
        if name == "image_values":
            lanes = self._library.samk_lanes()
            rows = array.reshape(-1, *array.shape[-2:])  # [3 h, N, d]
            padded = _padded(_padded(rows, 2, lanes), 1, TILE)
            tiles = padded.reshape(len(rows), -1, TILE, padded.shape[2]).transpose(1, 0, 2, 3)
        elif name in ("image_keys", "image_norms"):
            tiles = _tiles(array.reshape(-1, array.shape[-1]))
        else:
            tiles = _tiles(array.reshape(-1, array.shape[-1]).T)
        return _aligned(tiles)

    def score(
        self, image: list[Floats], positions: int, coords: Floats, labels: Floats
    ) -> dict[str, Floats]:
        """The answers of the scorer. ``image`` are ``image_keys``, ``image_values`` and
        ``image_norms``, as :meth:`pack` gave them, of so many ``positions``; ``coords``
        ``[B, P, 2]`` and ``labels`` ``[B, P]``."""
        sizes, (prompts, points) = self.sizes, labels.shape
        count = self._library.samk_values(self._model, points)
        answer = {
            name: np.empty((prompts, *shape), np.float32)
            for name, shape in {
                "iou_predictions": (sizes.masks,),
                "object_score_logits": (1,),
                "mask_tokens": (sizes.masks, sizes.channels),
                "mask_scale": (1, positions),
                "mask_weights": (count, positions),
                "mask_values": (count, sizes.channels),
            }.items()
        }
        shared, asked, told = (
            [each.ctypes.data for each in part]
            for part in (image, [coords, labels], answer.values())
        )
        self._check(
            self._library.samk_score(
                self._model, *shared, positions, *asked, prompts, points, *told
            )
        )
        if not sizes.score:
            del answer["object_score_logits"]
        return answer

    def masks(self, image: list[Floats], rows: int, columns: int, prompts: list[Floats]) -> Floats:
        """``low_res_masks``. ``image`` are ``image_features``, and of SAM 2 also
        ``high_res_tokens_1`` and ``high_res_tokens_0``, as :meth:`pack` gave them; ``prompts`` are
        ``mask_tokens``, ``mask_scale``, ``mask_weights`` and ``mask_values``."""
        count, values = prompts[2].shape[:2]
        masks = np.empty((count, self.sizes.masks, 4 * rows, 4 * columns), np.float32)
        given: list[int | None] = [array.ctypes.data for array in image]
        given += [None] * (3 - len(given))
        asked = [array.ctypes.data for array in prompts]
        self._check(
            self._library.samk_masks(
                self._model, *given, rows, columns, *asked, count, values, masks.ctypes.data
            )
        )
        return masks

    def _check(self, status: int) -> None:
        if status:
            raise RuntimeUnavailableError(
                "there is too little memory for the kernels; ask fewer prompts at once."
            )


def _tiles(rows: Floats) -> Floats:
    """``[n, N]`` -> ``[tiles, n, TILE]``."""
    tiles: Floats = _padded(rows, 1, TILE).reshape(len(rows), -1, TILE).transpose(1, 0, 2)
    return tiles


def _aligned(array: Floats) -> Floats:
    """A copy, row by row, at the begin of a cache line."""
    room = np.empty(array.size + _LINE, np.float32)
    skipped = -(room.ctypes.data // room.itemsize) % _LINE
    copy = room[skipped : skipped + array.size].reshape(array.shape)
    copy[...] = array
    return copy


def _padded(array: Floats, axis: int, step: int) -> Floats:
    """Zeros behind, up to a multiple of ``step``."""
    behind = [(0, -side % step if i == axis else 0) for i, side in enumerate(array.shape)]
    padded: Floats = np.pad(array, behind)
    return padded
