"""Small folders of scenes, with the boxes that are right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samdeploy import SAM, auto_annotate
from samdeploy.scenes import generate_scene
from tests.cli.conftest import cli as cli


@dataclass(frozen=True)
class Folder:
    """``images/s0.png``... and ``given/s0.txt``...; ``masks`` are the true ones by image name."""

    root: Path
    masks: dict[str, np.ndarray]

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def given(self) -> Path:
        return self.root / "given"


def box_of(mask: np.ndarray) -> list[int]:
    """x1 y1 x2 y2, outer edges."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def make_folder(root: Path, count: int, size: tuple[int, int] = (90, 120)) -> Folder:
    """Object ``k`` of a scene is of class ``k % 3``. Small ones are nobody's: the fake model has
    no mask for them."""
    folder = Folder(root, {})
    folder.images.mkdir(parents=True)
    folder.given.mkdir()
    height, width = size
    for index in range(count):
        scene = generate_scene(100 + index, size)
        Image.fromarray(scene.image).save(folder.images / f"s{index}.png")
        boxes = [box_of(mask) for mask in scene.masks]
        large = [min(x2 - x1, y2 - y1) >= height / 5 for x1, y1, x2, y2 in boxes]
        folder.masks[f"s{index}.png"] = scene.masks[large]
        lines = []
        for number, mask in enumerate(scene.masks[large]):
            x1, y1, x2, y2 = np.array(box_of(mask)) / (width, height, width, height)
            lines.append(
                f"{number % 3} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}"
            )
        (folder.given / f"s{index}.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return make_folder(tmp_path, 4)


@pytest.fixture(scope="session")
def fake() -> Iterator[SAM]:
    """Answers a box with the box."""
    with SAM("anything", runtime="fake") as sam:
        yield sam


@pytest.fixture
def run(folder: Folder, fake: SAM) -> Callable[..., Any]:
    """``auto_annotate`` with the boxes that are given."""

    def call(**changes: Any) -> Any:
        arguments: dict[str, Any] = {"data": folder.images, "boxes": folder.given}
        return auto_annotate(**{**arguments, "sam_model": fake, **changes})

    return call


def tree(root: Path) -> dict[str, bytes]:
    """Every file below ``root``."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def labels(root: Path) -> dict[str, bytes]:
    """Every file below ``root`` but the journal."""
    return {name: content for name, content in tree(root).items() if "journal" not in name}
