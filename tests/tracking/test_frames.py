"""What can be tracked in, and in which order frames come."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from samdeploy.errors import InputError
from samdeploy.image_options import DEFAULT_OPTIONS, ImageOptions
from samdeploy.tracking.frames import Frame, iter_frames


def frames(source: Any, channel_order: Any = "rgb") -> list[Frame]:
    return list(iter_frames(source, channel_order, DEFAULT_OPTIONS))


def grey(value: int, size: tuple[int, int] = (8, 12)) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, value: int, size: tuple[int, int] = (8, 12)) -> Path:
        Image.fromarray(grey(value, size)).save(tmp_path / name)
        return tmp_path / name

    return make


def video(path: Path, count: int, size: tuple[int, int] = (48, 64)) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, size[::-1])
    for index in range(count):
        writer.write(grey(40 * index, size))
    writer.release()
    return path


def test_numbers_in_names_count(save: Callable[..., Path], tmp_path: Path) -> None:
    for value, name in enumerate(("f10.png", "f2.png", "f1.png", "a 7b11.png", "a 7b2.png")):
        save(name, value)
    names = ["a 7b2.png", "a 7b11.png", "f1.png", "f2.png", "f10.png"]
    assert [frame.name for frame in frames(tmp_path)] == names
    assert [frame.name for frame in frames(str(tmp_path / "f*.png"))] == names[2:]
    assert [int(frame.pixels[0, 0, 0]) for frame in frames(tmp_path)] == [4, 3, 2, 1, 0]


def test_a_video(tmp_path: Path) -> None:
    found = frames(video(tmp_path / "clip.avi", 3))
    assert [frame.name for frame in found] == ["clip.avi 1", "clip.avi 2", "clip.avi 3"]
    assert {frame.pixels.shape for frame in found} == {(48, 64, 3)}
    with pytest.raises(InputError, match="raise max_pixels="):
        list(iter_frames(tmp_path / "clip.avi", "rgb", ImageOptions(max_pixels=99)))


def test_images_one_after_the_other(save: Callable[..., Path]) -> None:
    path = save("one.png", 9)
    array = grey(5)
    array[..., 0] = 1
    mixed = [path, str(path), array, Image.fromarray(grey(7))]
    found = frames(mixed, "bgr")
    assert [frame.name for frame in found] == ["one.png", "one.png", "", ""]
    assert found[2].pixels[0, 0].tolist() == [5, 5, 1]
    assert [frame.pixels[0, 0, 1] for frame in found] == [9, 9, 5, 7]
    assert len(frames(np.stack([array] * 4))) == 4
    assert len(frames(grey(index) for index in range(3))) == 3


def test_sizes_must_agree(save: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"frame 1 has 9 x 8 pixels; expected the 12 x 8 of"):
        frames([grey(0), grey(0, (8, 9))])
    save("a.png", 0)
    save("b.png", 0, (12, 8))
    with pytest.raises(InputError, match=r"frame 1 \(b\.png\) has 8 x 12 pixels"):
        frames(tmp_path)


@pytest.mark.parametrize("source", [grey(0), grey(0)[..., 0], Image.fromarray(grey(0)), 3, None])
def test_one_picture_is_no_clip(source: Any) -> None:
    with pytest.raises(InputError, match=r"expected (a video|frames)"):
        frames(source)


def test_nothing_to_track_in() -> None:
    with pytest.raises(InputError, match="no frames to track in"):
        frames([])


def test_several_videos(tmp_path: Path, save: Callable[..., Path]) -> None:
    video(tmp_path / "a.avi", 1)
    video(tmp_path / "b.avi", 1)
    with pytest.raises(InputError, match="names 2 files, of which 2 are videos; expected one"):
        frames(str(tmp_path / "*.avi"))
    save("c.png", 1, (48, 64))
    with pytest.raises(InputError, match="names 3 files, of which 2 are videos; expected one"):
        frames(str(tmp_path / "*.*"))


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"source '.*none.mp4'"):
        frames(tmp_path / "none.mp4")
