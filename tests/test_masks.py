"""The result type."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

from samdeploy import InputError, Masks, RuntimeUnavailableError
from samdeploy.errors import OutputError
from samdeploy.geometry import Transform, resize_logits
from samdeploy.masks.postprocess import mask_boxes
from samdeploy.masks.rle import Rle

SIZE = (60, 90)

# pycocotools' arrays are older than NumPy's newest protocol.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


@pytest.fixture
def logits() -> NDArray[np.float32]:
    """Three blobs and an empty mask."""
    y, x = np.mgrid[:32, :32].astype(np.float32)
    blobs = [6 - np.hypot(x - cx, y - cy) for cx, cy in ((8, 8), (20, 12), (26, 18))]
    return np.stack([*blobs, np.full((32, 32), -5, np.float32)]).astype(np.float32)


@pytest.fixture
def masks(logits: NDArray[np.float32]) -> Masks:
    image = np.full((*SIZE, 3), 90, np.uint8)
    transform = Transform.fit(SIZE, 128)
    return Masks.from_logits(logits, transform, [0.9, 0.8, 0.7, 0.1], image=image)


@pytest.fixture
def run_lengths(masks: Masks) -> Masks:
    """The same masks as whole-image mode makes them."""
    return Masks.from_rles(
        [Rle.encode(mask) for mask in masks.data],
        SIZE,
        masks.scores,
        stability=[0.99, 0.98, 0.97, np.nan],
        points=np.arange(8).reshape(4, 2),
        crop_boxes=[[0, 0, 90, 60]] * 4,
        image=masks.image,
    )


class TestPixels:
    def test_data_are_resized_logits_above_zero(
        self, masks: Masks, logits: NDArray[np.float32]
    ) -> None:
        expected = resize_logits(logits, Transform.fit(SIZE, 128)) > 0
        np.testing.assert_array_equal(masks.data, expected)
        assert masks.data.shape == (4, *SIZE)

    def test_run_lengths_are_the_same_masks(self, masks: Masks, run_lengths: Masks) -> None:
        np.testing.assert_array_equal(run_lengths.data, masks.data)
        np.testing.assert_array_equal(run_lengths.boxes, masks.boxes)
        np.testing.assert_array_equal(run_lengths.areas, masks.areas)
        assert run_lengths.to_rle() == masks.to_rle()

    def test_boxes_and_areas(self, masks: Masks) -> None:
        np.testing.assert_array_equal(masks.boxes, mask_boxes(masks.data))
        np.testing.assert_array_equal(masks.areas, masks.data.sum(axis=(1, 2)))
        assert masks.boxes[3].tolist() == [0, 0, 0, 0]

    def test_no_masks(self) -> None:
        none = Masks.from_rles([], SIZE, [])
        assert len(none) == 0
        assert none.data.shape == (0, *SIZE)
        assert none.boxes.shape == (0, 4)
        assert none.to_coco() == none.to_yolo() == none.to_rle() == []
        none.plot(np.zeros((*SIZE, 3), np.uint8))


class TestMemory:
    def test_no_format_makes_all_pixels_at_once(self, masks: Masks, run_lengths: Masks) -> None:
        expected = masks.data
        for whole in (masks[:], run_lengths[:]):
            whole.to_json()
            whole.to_coco()
            whole.to_yolo()
            whole.to_polygons()
            whole.plot()
            assert "data" not in vars(whole)
            one_by_one = list(whole.iter_data())
            np.testing.assert_array_equal(one_by_one, expected)
            np.testing.assert_array_equal(whole.data, expected)

    def test_an_image_that_is_read_when_it_is_drawn(self, masks: Masks) -> None:
        expected = masks.plot()
        image, reads = masks.image, []

        def read() -> NDArray[np.uint8]:
            reads.append(1)
            assert image is not None
            return image

        masks.image = read
        assert reads == []
        np.testing.assert_array_equal(masks.plot(), expected)
        np.testing.assert_array_equal(masks[1:].image, image)
        assert reads == [1, 1]


class TestSelection:
    @pytest.mark.parametrize(
        ("index", "wanted"),
        [
            (1, [1]),
            (-1, [3]),
            (slice(1, 3), [1, 2]),
            ([2, 0], [2, 0]),
            (np.array([True, False, False, True]), [0, 3]),
        ],
    )
    def test_every_field_follows(
        self, masks: Masks, run_lengths: Masks, index: object, wanted: list[int]
    ) -> None:
        for whole in (masks, run_lengths):
            part = whole[index]  # type: ignore[index]
            assert len(part) == len(wanted)
            np.testing.assert_array_equal(part.data, whole.data[wanted])
            np.testing.assert_array_equal(part.scores, whole.scores[wanted])
            np.testing.assert_array_equal(part.prompt_index, whole.prompt_index[wanted])
        assert run_lengths[index].points.tolist() == run_lengths.points[wanted].tolist()  # type: ignore[index, union-attr]
        assert masks[index].low_res_logits.shape == (len(wanted), 32, 32)  # type: ignore[index, union-attr]

    def test_out_of_range(self, masks: Masks) -> None:
        with pytest.raises(IndexError):
            masks[4]

    def test_iteration(self, masks: Masks) -> None:
        assert [float(one.scores[0]) for one in masks] == pytest.approx([0.9, 0.8, 0.7, 0.1])


class TestFormats:
    def test_run_lengths(self, masks: Masks) -> None:
        for rle, mask in zip(masks.to_rle(), masks.data, strict=True):
            np.testing.assert_array_equal(coco.decode(rle).astype(bool), mask)

    def test_coco(self, masks: Masks, tmp_path: Path) -> None:
        content = {
            "info": {},
            "images": [{"id": 5, "height": SIZE[0], "width": SIZE[1], "file_name": "a.png"}],
            "categories": [{"id": 2, "name": "thing"}],
            "annotations": masks.to_coco(image_id=5, category_id=2, first_id=10),
        }
        (tmp_path / "coco.json").write_text(json.dumps(content))
        loaded = COCO(tmp_path / "coco.json")
        assert loaded.getAnnIds(imgIds=[5]) == [10, 11, 12, 13]
        for annotation, mask in zip(loaded.loadAnns([10, 11, 12, 13]), masks.data, strict=True):
            np.testing.assert_array_equal(loaded.annToMask(annotation).astype(bool), mask)
            assert annotation["area"] == mask.sum()
            assert annotation["bbox"] == coco.toBbox(annotation["segmentation"]).tolist()

    def test_yolo(self, masks: Masks) -> None:
        lines = masks.to_yolo([4, 5, 6, 7])
        assert [line.split()[0] for line in lines] == ["4", "5", "6"]  # the empty one has no line
        with pytest.raises(InputError, match="2 class ids for 4 masks"):
            masks.to_yolo([1, 2])

    def test_polygons(self, masks: Masks) -> None:
        areas = [sum(part.area for part in parts) for parts in masks.to_polygons()]
        assert areas == masks.areas.tolist()

    def test_supervision(self, masks: Masks) -> None:
        detections = masks.to_supervision()
        assert len(detections) == 4
        np.testing.assert_array_equal(detections.mask, masks.data)
        x1, y1, x2, y2 = masks.boxes[0]
        assert detections.xyxy[0].tolist() == [x1, y1, x2 + 1, y2 + 1]

    def test_without_supervision(self, masks: Masks, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "supervision", None)
        with pytest.raises(RuntimeUnavailableError, match=r"pip install 'samdeploy\[plot\]'"):
            masks.to_supervision()

    def test_json(self, masks: Masks, run_lengths: Masks) -> None:
        def strict(value: object) -> object:
            return json.loads(json.dumps(value, allow_nan=False))

        assert strict(masks.to_json())["size"] == [60, 90]  # type: ignore[index]
        content = strict(run_lengths.to_json())
        assert content["masks"][0]["stability"] == pytest.approx(0.99)  # type: ignore[index]
        assert content["masks"][3]["stability"] is None  # type: ignore[index]


class TestFiles:
    def test_picture_and_record(self, masks: Masks, tmp_path: Path) -> None:
        picture = masks.save(tmp_path / "new" / "a.png", points=[[10, 10]], boxes=[2, 2, 30, 30])
        with Image.open(picture) as opened:
            assert opened.size == (90, 60)
        record = masks.save(tmp_path / "a.json")
        assert len(json.loads(record.read_text())["masks"]) == 4
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "new"]

    def test_nothing_half_written(
        self, masks: Masks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*args: object, **kwargs: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "write_bytes", fail)
        with pytest.raises(OutputError, match=r"No space left on device.*free some space"):
            masks.save(tmp_path / "a.png")
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_cannot_be_written(self, masks: Masks, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="cannot be written"):
            masks.save(tmp_path / "file" / "a.png")

    def test_plot_needs_its_image(self, run_lengths: Masks) -> None:
        run_lengths.image = None
        with pytest.raises(InputError, match="pass image="):
            run_lengths.plot()
        with pytest.raises(InputError, match=r"expected the masks' \[60, 90\]"):
            run_lengths.plot(np.zeros((10, 10, 3), np.uint8))
