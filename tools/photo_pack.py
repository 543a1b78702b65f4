"""Pack what training pictures are made of for a machine that can fetch nothing.

    python tools/photo_pack.py SOURCES pack.zip
    python -m zipfile -e pack.zip SOURCES       # there

Photographs and textures are shrunk and large models left out, so that it has 28 MB; pictures made
of it are others than those made of the packages.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

import cv2
from photo_sources import PACKED, material

_PHOTOGRAPH_SIDE, _TEXTURE_SIDE = 1600, 256
_LARGEST_MODEL = 300_000  # bytes
_PICTURES = {".jpg", ".jpeg", ".png"}


def _shrunk(path: Path, side: int) -> bytes:
    """The picture as JPEG, or as it is if that is no larger."""
    raw = path.read_bytes()
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        return raw
    scale = min(1.0, side / max(picture.shape[:2]))
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, packed = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return min(raw, packed.tobytes(), key=len)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path)
    parser.add_argument("pack", type=Path)
    args = parser.parse_args()
    found = material(args.sources)
    with zipfile.ZipFile(args.pack, "w", zipfile.ZIP_LZMA) as pack:
        pack.writestr(PACKED, "made by tools/photo_pack.py\n")

        def put(path: Path, content: bytes) -> None:
            pack.writestr(str(path.relative_to(args.sources)), content)

        for path in found.photographs:
            put(path, _shrunk(path, _PHOTOGRAPH_SIDE))
        for path in found.cutouts:
            put(path, path.read_bytes())
        for model in found.models:
            if model.stat().st_size > _LARGEST_MODEL:
                continue
            put(model, model.read_bytes())
            for beside in sorted(model.parent.iterdir()):
                if beside.suffix == ".mtl":
                    put(beside, beside.read_bytes())
                elif beside.suffix.lower() in _PICTURES:
                    put(beside, _shrunk(beside, _TEXTURE_SIDE))
    print(f"{args.pack}: {args.pack.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
