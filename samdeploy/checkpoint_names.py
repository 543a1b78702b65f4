"""Which family a checkpoint is of, told by the names in it: without torch, and without loading
anything that is pickled."""

from __future__ import annotations

import zipfile
from pathlib import Path

#: Enough of a pickle or a header to hold the names of all weights of a model.
_MOST_BYTES = 4 << 20
#: Where the names of SAM 2's trunks begin, EdgeTAM's as well.
_SAM2 = (b"image_encoder.trunk.",)
#: HQ-SAM's token.
_HQ = (b"mask_decoder.hf_token.weight",)


def is_sam2(path: Path) -> bool:
    """Whether a file is a checkpoint of SAM 2, SAM 2.1 or EdgeTAM."""
    return mentions(path, *_SAM2)


def is_hq_sam(path: Path) -> bool:
    """Whether a file is a checkpoint of HQ-SAM or Light HQ-SAM."""
    return mentions(path, *_HQ)


def mentions(path: Path, *words: bytes) -> bool:
    """Whether the names in a file that torch or safetensors wrote have one of ``words`` in them."""
    if not path.is_file():
        return False
    try:
        names = _names(path)
    except Exception:  # no archive, or a damaged one: whoever reads it says so
        return False
    return any(word in names for word in words)


def _names(path: Path) -> bytes:
    """The pickle of an archive, or the beginning of a file, as it is."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(member) as pickled:
                return pickled.read(_MOST_BYTES)
    with path.open("rb") as file:
        return file.read(_MOST_BYTES)
