"""Labels as Ultralytics' own data set reads them, where that package is installed."""

from __future__ import annotations

import pytest

from samdeploy import SAM, auto_annotate
from samdeploy.benchmarks.stand_in import install_stand_ins
from tests.annotation.conftest import Folder

pytest.importorskip("ultralytics", reason="ultralytics is not installed")

# Ultralytics warns about torch, and pycocotools about NumPy.
pytestmark = [pytest.mark.filterwarnings("ignore")]


def test_every_object_is_read(folder: Folder, fake: SAM) -> None:
    install_stand_ins()
    from ultralytics.data.dataset import YOLODataset

    summary = auto_annotate(folder.images, boxes=folder.given, sam_model=fake)
    names = {index: f"class{index}" for index in range(3)}
    read = YOLODataset(
        img_path=str(folder.images), data={"names": names, "channels": 3}, task="segment",
        imgsz=128, augment=False, cache=False,
    )  # fmt: skip
    assert len(read.labels) == len(folder.masks) == summary.labelled
    assert sum(len(label["segments"]) for label in read.labels) == summary.objects > 4
    for label in read.labels:
        given = (folder.given / f"{label['im_file'].rsplit('/', 1)[1][:-4]}.txt").read_text()
        assert label["cls"].ravel().tolist() == [int(line[0]) for line in given.splitlines()]
