"""Every way to name an image gives the same RGB pixels, and what is not one is refused."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile

from samdeploy.errors import InputError
from samdeploy.image_options import ImageOptions
from samdeploy.images import image_suffixes, load_image

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
        (truncated, "it is truncated"),
    ):
        with pytest.raises(InputError) as caught:
            load_image(path)
        check_message(caught, says)
        assert str(path) in str(caught.value)
    with Image.open(truncated) as image, pytest.raises(InputError) as caught:
        load_image(image)
    check_message(caught, "it is truncated")


def test_names_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for source, says in (
        ("", "the name of the image is empty"),
        ("a\0b.png", "cannot be opened"),
        ("x" * 300 + ".png", "cannot be opened"),
        (tmp_path / "loop.png", "cannot be opened"),
        (tmp_path / "pipe.png", "is a device or a pipe"),
        ("/dev/zero", "is a device or a pipe"),
    ):
        with pytest.raises(InputError) as caught:
            load_image(source)
        check_message(caught, says)


class TestSize:
    @pytest.fixture
    def path(self, tmp_path: Path, picture: NDArray[np.uint8]) -> Path:
        path = tmp_path / "large.png"
        Image.fromarray(picture).save(path)
        return path

    def test_beyond_the_limit_of_pillow(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
        with pytest.raises(InputError) as caught:
            load_image(path)
        check_message(caught, "9 x 6 = 54 pixels; expected at most 40, raise max_pixels=")
        assert load_image(path, options=ImageOptions(max_pixels=54)).shape == (6, 9, 3)
        assert Image.MAX_IMAGE_PIXELS == 20

    def test_between_the_limits_of_pillow_nothing_is_said(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
        load_image(path)  # a warning would be an error here

    def test_a_limit_of_ones_own(self, path: Path) -> None:
        with pytest.raises(InputError, match="expected at most 53"):
            load_image(path, options=ImageOptions(max_pixels=53))


class TestFormats:
    @pytest.mark.parametrize(
        "name",
        [
            "a.avif", "a.bmp", "a.dds", "a.dib", "a.gif", "a.ico", "a.jfif", "a.jp2", "a.jpe",
            "a.mpo", "a.pcx", "a.pgm", "a.ppm", "a.qoi", "a.rgb", "a.tga", "a.TIF", "a.webp",
        ],
    )  # fmt: skip
    def test_what_a_folder_lists_is_what_is_opened(self, tmp_path: Path, name: str) -> None:
        grey = np.full((32, 32), 90, np.uint8)
        image = Image.fromarray(grey)
        image = image if name.endswith("pgm") else image.convert("RGB")
        image.save(tmp_path / name)
        assert Path(name).suffix.lower() in image_suffixes()
        loaded = load_image(tmp_path / name)
        assert loaded.shape == (32, 32, 3)
        assert np.abs(loaded.astype(int) - 90).max() <= 3

    def test_no_other_format_is_opened(self, tmp_path: Path, picture: NDArray[np.uint8]) -> None:
        path = tmp_path / "script.png"  # PostScript is a program
        Image.fromarray(picture).save(path, "EPS")
        with pytest.raises(InputError, match="unknown format"):
            load_image(path)

    def test_a_plugin_brings_its_suffix(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert ".heic" not in image_suffixes()
        monkeypatch.setitem(Image.OPEN, "HEIF", Image.OPEN["PNG"])
        monkeypatch.setitem(Image.EXTENSION, ".heic", "HEIF")
        assert ".heic" in image_suffixes()

    def test_further_pages_are_counted(
        self, tmp_path: Path, picture: NDArray[np.uint8], caplog: pytest.LogCaptureFixture
    ) -> None:
        first, second = Image.fromarray(picture), Image.fromarray(255 - picture)
        first.save(tmp_path / "pages.tif", save_all=True, append_images=[second, second])
        np.testing.assert_array_equal(load_image(tmp_path / "pages.tif"), picture)
        assert "holds 3 pages or frames; the first is taken" in caplog.text


class TestDamage:
    def with_exif(self, path: Path, entry: bytes, picture: NDArray[np.uint8]) -> Path:
        """A JPEG whose EXIF holds orientation 6 and then ``entry``."""
        turned = struct.pack("<HHII", 0x0112, 3, 1, 6)
        exif = b"II*\0" + struct.pack("<IH", 8, 2) + turned + entry + bytes(4)
        Image.fromarray(picture).save(path, exif=b"Exif\0\0" + exif)
        return path

    @pytest.mark.parametrize(
        "entry",
        [
            struct.pack("<HHI4s", 0x0100, 2, 4, b"wide"),  # the width as text
            struct.pack("<HHI4s", 0x8825, 2, 4, b"here"),  # the place of the GPS tags as text
            struct.pack("<HHII", 0x0110, 2, 4000, 5000),  # a model that is not there
        ],
    )
    def test_a_damaged_tag_beside_the_orientation(
        self, tmp_path: Path, picture: NDArray[np.uint8], entry: bytes
    ) -> None:
        path = self.with_exif(tmp_path / "a.jpg", entry, picture)
        plain = tmp_path / "plain.jpg"
        Image.fromarray(picture).save(plain)
        np.testing.assert_array_equal(load_image(path), np.rot90(load_image(plain), -1))

    @pytest.mark.parametrize(
        "orientation",
        [
            struct.pack("<HHI4s", 0x0112, 2, 4, b"six"),
            struct.pack("<HHII", 0x0112, 3, 1, 77),
            struct.pack("<HHII", 0x0112, 3, 1000, 9000),
        ],
    )
    def test_an_orientation_that_cannot_be_read_is_said(
        self,
        tmp_path: Path,
        picture: NDArray[np.uint8],
        orientation: bytes,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        exif = b"II*\0" + struct.pack("<IH", 8, 1) + orientation + bytes(4)
        path = tmp_path / "a.jpg"
        Image.fromarray(picture).save(path, exif=b"Exif\0\0" + exif)
        assert load_image(path).shape == picture.shape
        assert "taken as upright" in caplog.text
        assert str(path) in caplog.text

    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("Failed to decode frame 0"), struct.error("wrong"), TypeError("wrong"),
            IndexError("wrong"), OverflowError("wrong"), ZeroDivisionError(), KeyError("x"),
            RecursionError("deep"), UnicodeDecodeError("utf-8", b"", 0, 1, "wrong"),
        ],
    )  # fmt: skip
    def test_whatever_a_decoder_raises(
        self,
        tmp_path: Path,
        picture: NDArray[np.uint8],
        error: Exception,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def fail(*args: object) -> None:
            raise error

        path = tmp_path / "a.png"
        Image.fromarray(picture).save(path)
        monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
        with pytest.raises(InputError) as caught:
            load_image(path)
        check_message(caught, f"image '{path}' cannot be read")

    def test_no_memory(
        self, tmp_path: Path, picture: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: object) -> None:
            raise MemoryError

        monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
        path = tmp_path / "a.png"
        Image.fromarray(picture).save(path)
        with pytest.raises(InputError, match=r"a\.png' does not fit into memory"):
            load_image(path)


class TestDepth:
    RAMP = np.array([[0, 1, 2], [3, 4, 5]])

    @pytest.mark.parametrize(
        ("most", "bits"),
        [(255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (16383, 14), (16384, 16)],
    )
    @pytest.mark.parametrize("kind", [np.uint16, np.int32])
    def test_the_fewest_bits_that_hold_the_values(
        self, tmp_path: Path, most: int, bits: int, kind: type, caplog: pytest.LogCaptureFixture
    ) -> None:
        values = np.linspace(0, most, 12).round().astype(kind).reshape(3, 4)
        path = tmp_path / "deep.tif"
        Image.fromarray(values).save(path)
        expected = np.rint(values * (255 / (2**bits - 1)))
        np.testing.assert_array_equal(load_image(path)[..., 0], expected)
        assert (f"taken as {bits}-bit" in caplog.text) == (bits < 16)
        caplog.clear()
        # The same as if it had been said, then without a notice.
        said = load_image(path, options=ImageOptions(bit_depth=bits))
        np.testing.assert_array_equal(said[..., 0], expected)
        assert not caplog.text

    def test_arrays_follow_the_same_rule(self, caplog: pytest.LogCaptureFixture) -> None:
        values = np.array([[0, 4095]], np.uint16)
        assert load_image(values)[0, :, 0].tolist() == [0, 255]
        assert "taken as 12-bit" in caplog.text

    def test_black_stays_black_without_a_notice(self, caplog: pytest.LogCaptureFixture) -> None:
        assert not load_image(np.zeros((2, 2), np.uint16)).any()
        assert not caplog.text

    @pytest.mark.parametrize("suffix", [".png", ".tif"])
    def test_colour_of_twelve_bits_in_sixteen(
        self, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        bgr = np.zeros((4, 5, 3), np.uint16)
        bgr[:] = (0, 2048, 4095)
        cv2.imwrite(str(tmp_path / f"deep{suffix}"), bgr)
        assert load_image(tmp_path / f"deep{suffix}")[0, 0].tolist() == [255, 128, 0]
        assert "taken as 12-bit" in caplog.text

    @pytest.mark.parametrize("orientation", [1, 3, 6, 8])
    def test_colour_of_sixteen_bits_is_turned_too(self, tmp_path: Path, orientation: int) -> None:
        stored = np.zeros((4, 6, 3), np.uint8)
        stored[:2, :3] = RED
        path = tmp_path / "deep.tif"
        path.write_bytes(deep_tiff(stored.astype(np.uint16) * 257, orientation))
        turns = {1: 0, 3: 2, 6: -1, 8: 1}
        np.testing.assert_array_equal(load_image(path), np.rot90(stored, turns[orientation]))

    @pytest.mark.parametrize(
        ("values", "window", "expected"),
        [
            (np.array([[-1000, 0, 500, 3000]], np.int32), [-1000, 1000], [0, 128, 191, 255]),
            (np.array([[0.0, 0.25, 1.0, 2.0]], np.float32), (0, 1), [0, 64, 255, 255]),
            (np.array([[0, 100, 150, 60000]], np.uint16), (100, 200), [0, 0, 128, 255]),
        ],
    )
    def test_a_window(
        self, tmp_path: Path, values: NDArray[Any], window: Any, expected: list[int]
    ) -> None:
        options = ImageOptions(window=window)
        Image.fromarray(values).save(tmp_path / "a.tif")
        for source in (tmp_path / "a.tif", values):
            assert load_image(source, options=options)[0, :, 0].tolist() == expected

    @pytest.mark.parametrize(
        ("values", "options", "says"),
        [
            (np.float32([[0.3, 0.8]]), {}, "floating-point values from 0.3 to 0.8"),
            (np.int32([[0, 70000]]), {}, "from 0 to 70000; expected 0 to 65535 in 16 bits"),
            (np.int32([[-1, 5]]), {}, "from -1 to 5"),
            (np.uint16([[0, 5000]]), {"bit_depth": 12}, "expected 0 to 4095 in 12 bits"),
            (np.float32([[np.nan, 1]]), {"window": [0, 1]}, "not finite"),
        ],
    )
    def test_values_without_a_meaning(
        self, tmp_path: Path, values: NDArray[Any], options: dict[str, Any], says: str
    ) -> None:
        path = tmp_path / "a.tif"
        Image.fromarray(values).save(path)
        with pytest.raises(InputError) as caught:
            load_image(path, options=ImageOptions(**options))
        check_message(caught, says)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"bit_depth": 1}, "bit_depth=1"),
            ({"bit_depth": 12.0}, "bit_depth=12.0"),
            ({"bit_depth": 12, "window": (0, 1)}, "give one of them"),
            ({"window": (1, 1)}, "two numbers"),
            ({"window": (0, float("nan"))}, "two numbers"),
            ({"window": (0, 10**400)}, "two numbers"),
            ({"window": [0]}, "two numbers"),
            ({"window": 5}, "two numbers"),
            ({"window": "ab"}, "two numbers"),
            ({"max_pixels": 0}, "max_pixels=0"),
            ({"max_pixels": True}, "max_pixels=True"),
        ],
    )
    def test_options_that_are_not_usable(self, options: dict[str, Any], says: str) -> None:
        with pytest.raises(InputError, match=says):
            ImageOptions(**options)


def deep_tiff(pixels: NDArray[np.uint16], orientation: int) -> bytes:
    """RGB ``[H, W, 3]`` of 16 bits, which Pillow cannot write."""
    height, width = pixels.shape[:2]
    content = pixels.astype("<u2").tobytes()
    place = 8 + len(content)
    depths = place + 2 + 12 * 11 + 4
    entries = (
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, depths), (259, 3, 1, 1),
        (262, 3, 1, 2), (273, 4, 1, 8), (274, 3, 1, orientation), (277, 3, 1, 3),
        (278, 4, 1, height), (279, 4, 1, len(content)), (284, 3, 1, 1),
    )  # fmt: skip
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = struct.pack("<2sHI", b"II", 42, place) + content + struct.pack("<H", len(entries))
    return head + table + bytes(4) + struct.pack("<3H", 16, 16, 16)
