"""Files, folders, patterns and videos as users name them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from samdeploy.errors import InputError
from samdeploy.image_options import ImageOptions
from samdeploy.sources import is_video, iter_video, list_sources

RED, GREEN = (200, 10, 30), (20, 180, 40)


def check_message(caught: pytest.ExceptionInfo[InputError], says: str) -> None:
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert message.endswith(".")


def test_list_sources(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt", "clip.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    names = ["a.JPG", "b.png"]
    assert [path.name for path in list_sources(tmp_path)] == names
    assert [path.name for path in list_sources(str(tmp_path))] == names
    assert list_sources(tmp_path / "b.png") == [tmp_path / "b.png"]
    assert list_sources(str(tmp_path / "*.png")) == [tmp_path / "b.png"]
    assert [p.name for p in list_sources(str(tmp_path / "*"))] == ["a.JPG", "b.png", "clip.mp4"]


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    path = tmp_path / "frame[1].png"
    path.touch()
    assert list_sources(str(path)) == [path]


def test_every_format_is_listed(tmp_path: Path) -> None:
    names = ["a.avif", "b.gif", "c.jfif", "d.jp2", "e.pgm", "f.tga", "g.jpe", "h.webp"]
    for name in names:
        (tmp_path / name).touch()
    for source in (str(tmp_path), f"{tmp_path}/*"):
        assert [path.name for path in list_sources(source)] == names


@pytest.mark.parametrize("pattern", ["", "/*"])
def test_what_is_passed_over_is_counted_and_named(
    tmp_path: Path, pattern: str, noticed: Callable[[], list[str]]
) -> None:
    for name in ("a.png", "b.heic", "c.txt", "d.txt", "e"):
        (tmp_path / name).touch()
    (tmp_path / "deeper.png").mkdir()
    assert [path.name for path in list_sources(f"{tmp_path}{pattern}")] == ["a.png"]
    (notice,) = noticed()
    assert str(tmp_path) in notice
    assert "2 .txt, 1 .heic, 1 folder, 1 no suffix: b.heic, c.txt, d.txt..." in notice


@pytest.mark.parametrize("name", ["a[1]", "[x]", "w*t?"])
def test_a_folder_that_is_called_like_a_pattern(tmp_path: Path, name: str) -> None:
    for folder in (name, "a1", "x", "waft"):
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "deep" / "a.png").touch()
    for pattern in (f"{name}/**/*.png", f"{name}/deep/*.png", f"{name}/d*/a.png"):
        assert list_sources(f"{tmp_path}/{pattern}") == [tmp_path / name / "deep" / "a.png"]


def test_a_relative_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a[1]").mkdir()
    (tmp_path / "a[1]" / "b.png").touch()
    monkeypatch.chdir(tmp_path)
    assert list_sources("a[1]/*.png") == [Path("a[1]/b.png")]
    assert list_sources("*/*.png") == [Path("a[1]/b.png")]


def test_names_that_are_no_source(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for source, says in (
        ("", "empty name"),
        ("x" * 300, "cannot be opened"),
        ("a\0b", "cannot be opened"),
        (tmp_path / "pipe", "is a device or a pipe"),
        ("y" * 300 + "*.png", "matches no image"),
    ):
        with pytest.raises(InputError) as caught:
            list_sources(source)
        check_message(caught, says)


def test_sources_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    for source, says in (
        (tmp_path, "holds no images"),
        (tmp_path / "missing", "does not exist"),
        (tmp_path / "*.png", "matches no image"),
    ):
        with pytest.raises(InputError) as caught:
            list_sources(source)
        check_message(caught, says)


def write_video(path: Path, *frames: object) -> Path:
    """Each of the frames is an RGB image, or a colour of one."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for frame in frames:
        writer.write(np.ascontiguousarray(np.broadcast_to(frame, (48, 64, 3))[..., ::-1], np.uint8))
    writer.release()
    return path


def test_video_frames(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", RED, GREEN)
    assert is_video(path)
    frames = list(iter_video(path))
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 2
    for frame, colour in zip(frames, (RED, GREEN), strict=True):
        assert np.abs(frame.astype(int) - colour).max() < 12  # lossy


def test_a_video_that_ends_before_its_time(
    tmp_path: Path, noticed: Callable[[], list[str]]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 48, 64, 3), np.uint8)
    path = write_video(tmp_path / "clip.avi", *noise)
    assert len(list(iter_video(path))) == 20
    assert noticed() == []
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    count = len(list(iter_video(path)))
    assert 0 < count < 15
    assert noticed() == [
        f"video '{path}': {count} of about 20 frames could be read; it may be cut off or damaged."
    ]
    next(iter_video(path))  # who wants no more is told nothing
    assert len(noticed()) == 1


def test_videos_of_too_many_pixels(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", RED)
    assert len(list(iter_video(path, ImageOptions(max_pixels=64 * 48)))) == 1
    with pytest.raises(InputError) as caught:
        list(iter_video(path, ImageOptions(max_pixels=64 * 48 - 1)))
    check_message(caught, "64 x 48 = 3072 pixels; expected at most 3071, raise max_pixels=")


def test_unreadable_videos(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video" * 100)
    for path, says in ((broken, "no readable frame"), (tmp_path / "missing.mp4", "not exist")):
        with pytest.raises(InputError) as caught:
            list(iter_video(path))
        check_message(caught, says)
