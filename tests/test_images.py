"""Every way to name an image gives the same RGB pixels, and what is not one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from samdeploy.errors import InputError
from samdeploy.images import is_video, iter_video, list_sources, load_image

RED, GREEN = (200, 10, 30), (20, 180, 40)


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    """RGB, 6 x 9, no symmetry."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (6, 9, 3), np.uint8)


def test_sources_agree(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    bgr = cv2.imread(str(path))
    for loaded in (
        load_image(path),
        load_image(str(path)),
        load_image(Image.open(path)),
        load_image(bgr),
        load_image(picture, channel_order="rgb"),
        load_image(np.dstack([bgr, np.zeros((6, 9), np.uint8)])),
        load_image(np.asfortranarray(bgr)),
        load_image(bgr.astype(np.uint16) * 257),
        load_image((picture.astype(">u2") * 257).astype(">u2"), channel_order="rgb"),
    ):
        assert loaded.dtype == np.uint8
        assert loaded.flags.c_contiguous
        np.testing.assert_array_equal(loaded, picture)


def test_the_result_is_the_callers_own(picture: NDArray[np.uint8]) -> None:
    loaded = load_image(picture, channel_order="rgb")
    assert not np.shares_memory(loaded, picture)
    for image in (loaded, load_image(Image.fromarray(picture))):
        image[:] = 0  # writable


def test_grey_in_every_form(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    grey = picture[..., 0]
    path = tmp_path / "grey.png"
    Image.fromarray(grey).save(path)
    expected = np.repeat(grey[..., None], 3, axis=2)
    for source in (grey, grey[..., None], path, Image.fromarray(grey)):
        np.testing.assert_array_equal(load_image(source), expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr"])
def test_pillow_modes(mode: str, picture: NDArray[np.uint8]) -> None:
    image = Image.fromarray(picture).convert("L" if mode == "LA" else "RGB").convert(mode)
    np.testing.assert_array_equal(load_image(image), np.asarray(image.convert("RGB")))


def test_alpha_is_dropped_not_blended(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    path = tmp_path / "alpha.png"
    Image.fromarray(np.dstack([picture, np.zeros((6, 9), np.uint8)])).save(path)
    np.testing.assert_array_equal(load_image(path), picture)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_files_keep_their_range(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 257, 128], [32896, 65535, 300]], np.uint16)
    path = tmp_path / f"deep{suffix}"
    Image.fromarray(values).save(path)
    np.testing.assert_array_equal(load_image(path)[..., 1], [[0, 1, 0], [128, 255, 1]])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    # A camera that was turned stores the upright picture turned back.
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :24] = RED
    upright[16:, 24:] = GREEN
    stored_as = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(np.ascontiguousarray(stored_as)).save(path, exif=exif)
    np.testing.assert_array_equal(load_image(path), upright)
    np.testing.assert_array_equal(load_image(Image.open(path)), upright)


def check_message(caught: pytest.ExceptionInfo[InputError], says: str) -> None:
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert message.endswith(".")


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((4, 5, 3), np.float32), "image array of float32"),
        (np.zeros((4, 5, 3), bool), "image array of bool"),
        (np.zeros((4, 5, 3), np.int16), "expected uint8 or uint16"),
        (np.zeros((4, 5, 3), np.uint32), "expected uint8 or uint16"),
        (np.zeros((4, 5, 3), object), "expected uint8 or uint16"),
        (np.zeros((4, 5, 5), np.uint8), "shape [4, 5, 5]"),
        (np.zeros((4, 5, 2), np.uint8), "shape [4, 5, 2]"),
        (np.zeros((3, 40, 50), np.uint8), "shape [3, 40, 50]"),
        (np.zeros((1, 4, 5, 3), np.uint8), "shape [1, 4, 5, 3]"),
        (np.zeros((0, 5, 3), np.uint8), "shape [0, 5, 3]"),
        (np.zeros((4, 0), np.uint8), "shape [4, 0]"),
        (np.zeros(4, np.uint8), "shape [4]"),
    ],
)
def test_unsupported_arrays(array: NDArray[Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        load_image(array)
    check_message(caught, says)


def test_unsupported_sources() -> None:
    for source, says in (
        (torch.zeros(3, 4, 5), "type Tensor"),
        (None, "type NoneType"),
        ([[1, 2], [3, 4]], "type list"),
    ):
        with pytest.raises(InputError) as caught:
            load_image(source)
        check_message(caught, says)
    with pytest.raises(InputError, match="channel_order='grb'"):
        load_image(np.zeros((4, 5, 3), np.uint8), channel_order="grb")  # type: ignore[arg-type]


def test_deep_pillow_images_are_refused() -> None:
    for image, says in (
        (Image.new("F", (4, 5)), "floating-point"),
        (Image.new("I", (4, 5), 70000), "32-bit"),
        (Image.new("I", (4, 5), -1), "32-bit"),
    ):
        with pytest.raises(InputError) as caught:
            load_image(image)
        check_message(caught, says)


def test_unreadable_files(tmp_path: Path, picture: NDArray[np.uint8]) -> None:
    whole = tmp_path / "whole.jpg"
    Image.fromarray(np.tile(picture, (20, 20, 1))).save(whole)
    truncated = tmp_path / "truncated.jpg"
    truncated.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    for path, says in (
        (tmp_path / "missing.png", "does not exist"),
        (tmp_path, "is a folder"),
        (tmp_path / "text.png", "cannot be read"),
        (tmp_path / "empty.png", "cannot be read"),
        (truncated, "cannot be read"),
    ):
        with pytest.raises(InputError) as caught:
            load_image(path)
        check_message(caught, says)
        assert str(path) in str(caught.value)
    with Image.open(truncated) as image, pytest.raises(InputError) as caught:
        load_image(image)
    check_message(caught, "cannot be decoded")


def test_an_image_beyond_the_limit_of_pillow(
    tmp_path: Path, picture: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(picture).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(InputError) as caught:
        load_image(path)
    check_message(caught, "more than 40 pixels")


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


def test_video_frames(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48))
    for colour in (RED, GREEN):
        writer.write(np.full((48, 64, 3), colour[::-1], np.uint8))
    writer.release()

    assert is_video(path)
    frames = list(iter_video(path))
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 2
    for frame, colour in zip(frames, (RED, GREEN), strict=True):
        assert np.abs(frame.astype(int) - colour).max() < 12  # lossy


def test_unreadable_videos(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video" * 100)
    for path, says in ((broken, "no readable frame"), (tmp_path / "missing.mp4", "not exist")):
        with pytest.raises(InputError) as caught:
            list(iter_video(path))
        check_message(caught, says)
