"""Photograph-like training pictures with exact masks, in files that tools/train_tiny.py reads.

    python tools/photo_data.py --sources SOURCES --out OUT --files 60

Sources are fetched and checked (photo_sources.py). Half of the pictures are rooms (photo_rooms.py),
half collages (photo_collages.py), all as a camera gives them (photo_camera.py). Each file of 50
follows from its number alone; one that is there already is not made again. Rays are traced by
``pip install embreex``.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
from photo_camera import photograph
from photo_collages import render_collage
from photo_models import Model, read_model, read_texture
from photo_rooms import render_room
from photo_sample import Sample
from photo_sources import material

#: Larger than what the model sees, so that training can cut out and scale.
SIDE = 288
PER_FILE = 50
ROOM_SHARE = 0.5
_SEED = 3_000_000
_CUTOUTS_OF_A_FILE, _MODELS_OF_A_FILE = 150, 30


class Maker:
    """Makes samples out of the files at ``sources``."""

    def __init__(self, sources: Path) -> None:
        self.material = material(sources)
        self.photographs = [
            cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in self.material.photographs
        ]
        linear = [read_texture(path, 640) for path in self.material.photographs]
        self.backdrops = [picture for picture in linear if picture is not None]
        surfaces = [read_texture(path) for path in self.material.textures]
        self.surfaces = [s for s in surfaces if s is not None] + self.backdrops
        self.model = cache(read_model)

    def samples(self, number: int) -> list[Sample]:
        """The pictures of file ``number``, not yet photographed."""
        rng = np.random.Generator(np.random.PCG64(_SEED + number))
        chosen = rng.choice(len(self.material.cutouts), _CUTOUTS_OF_A_FILE, replace=False)
        cutouts = [_read_cutout(self.material.cutouts[i]) for i in chosen]
        chosen = rng.choice(len(self.material.models), _MODELS_OF_A_FILE, replace=False)
        models = [m for m in (self.model(self.material.models[i]) for i in chosen) if m]
        return [
            self._room(rng, models)
            if rng.random() < ROOM_SHARE
            else render_collage(rng, cutouts, self.photographs, SIDE)
            for _ in range(PER_FILE)
        ]

    def _room(self, rng: np.random.Generator, models: list[Model]) -> Sample:
        count = int(rng.integers(2, 11))
        chosen = [models[i] for i in rng.choice(len(models), count, replace=False)]
        backdrop = self.backdrops[int(rng.integers(len(self.backdrops)))]
        return render_room(rng, chosen, self.surfaces, backdrop, SIDE)


def _read_cutout(path: Path) -> np.ndarray:
    cutout = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    return np.asarray(cv2.cvtColor(cutout, cv2.COLOR_BGRA2RGBA), np.uint8)


def make_files(sources: Path, out: Path, numbers: list[int]) -> None:
    cv2.setNumThreads(1)
    maker = Maker(sources)
    for number in numbers:
        samples = maker.samples(number)
        rng = np.random.Generator(np.random.PCG64([_SEED, number]))
        path = _path(out, number)
        part = path.with_suffix(".part")
        with part.open("wb") as stream:
            np.savez(
                stream,
                images=np.stack([photograph(rng, s.image) for s in samples]),
                labels=np.stack([s.labels for s in samples]),
                parents=np.stack([s.parents for s in samples]),
            )
        part.rename(path)
        print(path, flush=True)


def _path(out: Path, number: int) -> Path:
    return out / f"photo_{number:04d}.npz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=Path, required=True, help="folder of the packages")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--files", type=int, default=60, help="of 50 pictures each")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    material(args.sources)  # fetched once, before several look for it
    missing = [n for n in range(args.files) if not _path(args.out, n).exists()]
    shares = [missing[i :: args.jobs] for i in range(args.jobs)]
    with ProcessPoolExecutor(args.jobs) as pool:
        list(pool.map(partial(make_files, args.sources, args.out), shares))


if __name__ == "__main__":
    main()
