"""Every format, read back by somebody else's code."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from samdeploy import SAM, Masks, auto_annotate
from samdeploy.annotation.boxes import DetectorBoxes, WholeImage
from samdeploy.annotation.dataset import Dataset
from samdeploy.annotation.instances import AnnotatedImage, Instance, ReadImage
from samdeploy.annotation.journal import Record
from samdeploy.annotation.steps import Steps
from samdeploy.annotation.store import Store
from samdeploy.annotation.worker import Worker
from samdeploy.annotation.writers import BUILT_IN, find_writer
from samdeploy.annotation.writers.options import chosen_options
from samdeploy.detections import Detections
from samdeploy.errors import InputError
from samdeploy.masks.rle import Rle
from tests.annotation.conftest import Folder, tree

# pycocotools of some versions hands NumPy an array-like that it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

SIZE = (60, 80)
NAMES = {0: "ring", 1: "two parts", 2: 'a "quoted" näme'}


@pytest.fixture
def masks() -> np.ndarray:
    """A ring with an island in it, two parts, and a single pixel."""
    masks = np.zeros((3, *SIZE), bool)
    masks[0, 5:35, 5:35] = True
    masks[0, 10:30, 10:30] = False
    masks[0, 15:20, 15:20] = True
    masks[1, 40:50, 40:50] = True
    masks[1, 40:50, 55:58] = True
    masks[2, 3, 70] = True
    return masks


@pytest.fixture
def item(masks: np.ndarray, tmp_path: Path) -> AnnotatedImage:
    instances = tuple(Instance(Rle.encode(m), i, 0.9, 0.5) for i, m in enumerate(masks))
    path = tmp_path / "images" / "a.jpg"
    path.parent.mkdir()
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(path)
    return AnnotatedImage(ReadImage(path, np.zeros((*SIZE, 3), np.uint8)), instances)


def write(
    name: str, item: AnnotatedImage, root: Path, simplify: float = 0.0, **options: object
) -> Path:
    store = Store(root)
    store.create()
    dataset = Dataset(store, NAMES, images={item.path.name: item.path}, simplify=simplify)
    writer = find_writer(name)(dataset, chosen_options(name, options))
    outputs = tuple(writer.write(item))
    writer.finish([Record(item.path.name, outputs, tuple(i.class_id for i in item.instances))])
    return root


class TestYolo:
    def test_lines(self, item: AnnotatedImage, masks: np.ndarray, tmp_path: Path) -> None:
        root = write("yolo", item, tmp_path / "labels")
        lines = (root / "a.txt").read_text().splitlines()
        assert [line.split()[0] for line in lines] == ["0", "1", "2"]
        for line, mask in zip(lines, masks, strict=True):
            points = np.array(line.split()[1:], np.float32).reshape(-1, 2) * SIZE[::-1]
            found = np.zeros(SIZE, np.uint8)
            cv2.fillPoly(found, [points.astype(np.int32)], 1)
            assert found[mask].all()
            assert np.count_nonzero(found) - mask.sum() <= 8  # the cuts between parts

    def test_data_yaml(self, item: AnnotatedImage, tmp_path: Path) -> None:
        yaml = pytest.importorskip("yaml")
        root = write("yolo", item, tmp_path / "labels")
        content = yaml.safe_load((root / "data.yaml").read_text())
        assert content == {"train": ["../images"], "val": ["../images"], "names": NAMES}
        assert (root / content["train"][0] / "a.jpg").is_file()


@pytest.mark.parametrize("segmentation", ["rle", "polygon"])
def test_coco(item: AnnotatedImage, masks: np.ndarray, tmp_path: Path, segmentation: str) -> None:
    root = write("coco", item, tmp_path / "out", segmentation=segmentation)
    coco = COCO(root / "annotations.json")
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(NAMES.values())
    (image,) = coco.loadImgs(coco.getImgIds())
    assert (image["file_name"], image["height"], image["width"]) == ("a.jpg", *SIZE)
    annotations = coco.loadAnns(coco.getAnnIds())
    assert [a["category_id"] for a in annotations] == [1, 2, 3]
    for annotation, mask in zip(annotations, masks, strict=True):
        assert isinstance(annotation["segmentation"], list) == (segmentation == "polygon")
        np.testing.assert_array_equal(coco.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
        assert annotation["bbox"] == coco_masks.toBbox(Rle.encode(mask).to_coco()).tolist()
        assert (annotation["predicted_iou"], annotation["confidence"]) == (0.9, 0.5)


def test_category_ids_differ(tmp_path: Path) -> None:
    """A names file may name more classes than the COCO file that the boxes are from."""
    dataset = Dataset(Store(tmp_path), NAMES, category_ids={0: 3, 1: 5})
    assert [dataset.category_id(index) for index in range(4)] == [3, 5, 8, 9]
    assert [Dataset(Store(tmp_path), {}).category_id(index) for index in range(2)] == [1, 2]


def test_labelme(item: AnnotatedImage, masks: np.ndarray, tmp_path: Path) -> None:
    root = write("labelme", item, tmp_path / "labels")
    content = json.loads((root / "a.json").read_text())
    assert (root / content["imagePath"]).resolve() == item.path
    assert (content["imageHeight"], content["imageWidth"]) == SIZE
    found = np.zeros_like(masks)
    for shape in content["shapes"]:
        assert shape["shape_type"] == "polygon"
        number = shape["group_id"] - 1
        assert shape["label"] == NAMES[number]
        # Drawn four times as large and looked at near the pixels' centres.
        points = np.array(shape["points"]) * 4
        picture = Image.new("1", (SIZE[1] * 4, SIZE[0] * 4))
        ImageDraw.Draw(picture).polygon([tuple(p) for p in points], fill=1)
        found[number] |= np.asarray(picture)[2::4, 2::4]
    assert len(content["shapes"]) == 2 + 2 + 1
    np.testing.assert_array_equal(found, masks)


def test_png(item: AnnotatedImage, masks: np.ndarray, tmp_path: Path) -> None:
    root = write("png", item, tmp_path / "out")
    for kind in ("classes", "objects"):
        with Image.open(root / kind / "a.png") as picture:
            assert picture.mode == "P"
            indices = np.asarray(picture)
            colours = np.asarray(picture.convert("RGB"))
        for index, mask in enumerate(masks):
            np.testing.assert_array_equal(indices == index + 1, mask)
        assert colours[masks[0]][0].tolist() == [128, 0, 0]  # Pascal VOC's first three colours
        assert colours[masks[1]][0].tolist() == [0, 128, 0]
        assert colours[masks[2]][0].tolist() == [128, 128, 0]
    assert (root / "classes.txt").read_text().splitlines() == list(NAMES.values())


def test_png_has_room_for_255(item: AnnotatedImage, tmp_path: Path) -> None:
    many = AnnotatedImage(item.source, item.instances * 86)
    with pytest.raises(InputError, match="258 objects"):
        write("png", many, tmp_path / "out")


def test_small_objects_lie_over_large_ones(item: AnnotatedImage, tmp_path: Path) -> None:
    large, small = np.zeros((2, *SIZE), bool)
    large[5:30, 5:30] = small[10:12, 10:12] = True
    pair = tuple(Instance(Rle.encode(m), 0, 1.0) for m in (small, large))
    root = write("png", AnnotatedImage(item.source, pair), tmp_path / "out")
    with Image.open(root / "objects" / "a.png") as picture:
        assert (np.asarray(picture)[small] == 1).all()


@pytest.mark.parametrize("name", BUILT_IN)
def test_simplification_never_drops_an_object(
    item: AnnotatedImage, tmp_path: Path, name: str
) -> None:
    polygons = {"segmentation": "polygon"} if name == "coco" else {}
    root = write(name, item, tmp_path / "out", simplify=30.0, **polygons)
    files = tree(root)
    if name == "yolo":
        assert files["a.txt"].count(b"\n") == 3
    if name == "labelme":
        assert {s["group_id"] for s in json.loads(files["a.json"])["shapes"]} == {1, 2, 3}
    if name == "coco":
        found = json.loads(files["annotations.json"])["annotations"]
        assert all(len(ring) >= 6 for one in found for ring in one["segmentation"])
        assert len(found) == 3


class _Boxes:
    """A detector that finds the same everywhere."""

    names = {5: "small", 7: "first", 8: "nothing", 9: "last"}  # noqa: RUF012
    boxes = ([5, 5, 45, 45], [50, 5, 53, 8], [55, 5, 75, 25], [20, 20, 75, 55])
    classes = (7, 8, 5, 9)

    def __call__(self, image_rgb: np.ndarray) -> Detections:
        scores = np.array([0.9, 0.8, 0.7, 0.6], np.float32)
        return Detections(np.array(self.boxes, np.float32), scores, np.array(self.classes))


@pytest.mark.parametrize(("min_area", "kept"), [(0, [0, 2, 3]), (1000, [0, 3])])
def test_classes_stay_with_their_masks(
    fake: SAM, tmp_path: Path, min_area: int, kept: list[int]
) -> None:
    """The second box gets an empty mask, the third a small one. A mask that is dropped takes its
    class along, instead of shifting those that follow."""
    picture = np.full((*SIZE, 3), 90, np.uint8)
    steps = Steps(min_area=min_area)
    worker = Worker(fake, DetectorBoxes(_Boxes()), Dataset(Store(tmp_path), {}), steps)
    found = worker.annotate(ReadImage(Path("a.png"), picture)).instances
    assert [one.class_id for one in found] == [_Boxes.classes[i] for i in kept]
    assert [one.confidence for one in found] == pytest.approx([0.9 - i / 10 for i in kept])
    for one, index in zip(found, kept, strict=True):
        x1, y1, x2, y2 = _Boxes.boxes[index]
        asked = np.zeros(SIZE, bool)
        asked[y1:y2, x1:x2] = True
        mask = one.rle.decode()
        assert np.count_nonzero(mask & asked) / np.count_nonzero(mask | asked) > 0.7


def test_min_area_cleans_masks(fake: SAM, tmp_path: Path) -> None:
    mask = np.zeros(SIZE, bool)
    mask[10:40, 10:40] = True
    mask[20:22, 20:22] = False
    mask[50:52, 70:72] = True
    clean = mask.copy()
    clean[20:22, 20:22] = True
    clean[50:52] = False
    masks = Masks.from_rles([Rle.encode(mask)], SIZE, [0.9])
    sam = type("Sam", (), {"generate": lambda self, image, **settings: masks})()
    worker = Worker(sam, WholeImage(), Dataset(Store(tmp_path), {}), Steps(min_area=5))
    (one,) = worker.annotate(ReadImage(Path("a.png"), np.zeros((*SIZE, 3), np.uint8))).instances
    np.testing.assert_array_equal(one.rle.decode(), clean)
    assert (one.class_id, one.confidence) == (0, None)


class TestSplit:
    @pytest.mark.parametrize("name", BUILT_IN)
    def test_a_data_set_of_its_own(
        self, folder: Folder, fake: SAM, tmp_path: Path, name: str
    ) -> None:
        out = tmp_path / "set"
        summary = auto_annotate(
            folder.images, "none", fake, output_dir=out, format=name, val=0.25,
            conf_thres=0.0, stability_score_thresh=0.0, points_stride=2,
        )  # fmt: skip
        assert summary.objects > 0
        files = tree(out)
        images = sorted(file for file in files if file.startswith("images/"))
        assert len(images) == 4
        assert sum(file.startswith("images/val/") for file in images) == 1
        for file in images:
            assert files[file] == (folder.images / Path(file).name).read_bytes()
        kinds = {"yolo": "labels", "labelme": "labels", "png": "objects"}
        suffix = {"yolo": ".txt", "labelme": ".json", "png": ".png"}
        if name == "coco":
            parts = {s: COCO(out / f"annotations/instances_{s}.json") for s in ("train", "val")}
            for split, coco in parts.items():
                own = [Path(file).name for file in images if f"/{split}/" in file]
                assert [i["file_name"] for i in coco.loadImgs(coco.getImgIds())] == own
        else:
            for file in images:
                label = file.replace("images", kinds[name]).replace(".png", suffix[name])
                assert label in files
        if name == "labelme":
            one = out / images[0].replace("images", "labels").replace(".png", ".json")
            assert (one.parent / json.loads(one.read_text())["imagePath"]).resolve() == (
                out / images[0]
            ).resolve()
        if name == "yolo":
            assert files["data.yaml"].startswith(b"train: images/train\nval: images/val\n")


def test_previews(folder: Folder, fake: SAM, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    auto_annotate(folder.images, boxes=folder.given, sam_model=fake, previews=True)
    for name in folder.masks:
        with Image.open(out / "previews" / Path(name).with_suffix(".jpg")) as picture:
            assert picture.size == (120, 90)
            drawn = np.asarray(picture, int)
        with Image.open(folder.images / name) as picture:
            assert np.abs(drawn - np.asarray(picture, int)).mean() > 5
    with Image.open(out / "contact_sheet.jpg") as sheet:
        assert sheet.size == (4 * 240, 240)
