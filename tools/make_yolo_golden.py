"""Make ``tests/golden/yolo``: outputs of YOLO heads, and what Ultralytics' post-processing makes of
them.

Needs the package ultralytics (AGPL-3.0). What is stored are numbers: outputs of its architectures
with generated weights for small scenes, and the boxes and masks that it decodes from them.

    python tools/make_yolo_golden.py tests/golden/yolo
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "yolo"))
import ultralytics_models as peer

from samdeploy.scenes import generate_scene
from samdeploy.yolo.letterbox import Letterbox

OBJECT = {0: "object"}
PROMPTS: dict[str, Any] = {
    "box": {"bboxes": [[10, 12, 70, 60]]},
    "two boxes": {"bboxes": [[5, 5, 40, 40], [30, 20, 100, 70]]},
    "point": {"points": [[40, 30]], "labels": [1]},
    "points": {"points": [[40, 30], [80, 50], [20, 60]], "labels": [1, 1, 0]},
    "background": {"points": [[40, 30]], "labels": [0]},
}
CASES: dict[str, dict[str, Any]] = {
    "yolov8n": {"side": 96, "size": (67, 96), "settings": [
        {"conf": 0.25, "iou": 0.7}, {"conf": 0.1, "iou": 0.45, "max_det": 12},
        {"conf": 0.1, "iou": 0.5, "agnostic_nms": True}, {"conf": 0.2, "iou": 0.6, "classes": [3]},
    ]},
    "yolov8n-seg": {"side": 96, "size": (71, 110), "settings": [
        {"conf": 0.3, "iou": 0.7, "max_det": 40}, {"conf": 0.1, "iou": 0.4, "max_det": 12},
    ]},
    "yolo11n-seg": {"side": 64, "size": (120, 84), "settings": [
        {"conf": 0.3, "iou": 0.6, "max_det": 30},
    ]},
    "FastSAM-s": {"side": 96, "size": (72, 108), "settings": [
        {"conf": 0.3, "iou": 0.9, "max_det": 40},
    ]},
}  # fmt: skip
ARCHITECTURES = {"FastSAM-s": "yolov8s-seg"}


def make(name: str, case: dict[str, Any], folder: Path) -> None:
    fast = name in ARCHITECTURES
    model = peer.generated_model(
        f"{ARCHITECTURES.get(name, name)}.yaml", OBJECT if fast else None, seed=1
    )
    side = case["side"]
    image = generate_scene(7, case["size"]).image
    letterbox = Letterbox.fit(case["size"], (side, side))
    with torch.no_grad():
        answer = model.model(torch.from_numpy(letterbox.image_to_input(image)))[0]
    tensors = answer if isinstance(answer, tuple) else (answer,)
    # Stored in half precision; what is expected is decoded from exactly these values.
    halves = [tensor.numpy().astype(np.float16) for tensor in tensors]
    outputs = [half.astype(np.float32) for half in halves]
    arrays: dict[str, Any] = {f"output{i}": half for i, half in enumerate(halves)}
    names = {int(number): str(value) for number, value in model.names.items()}
    runs: list[dict[str, Any]] = [{"settings": settings} for settings in case["settings"]]
    if fast:
        runs += [{"settings": case["settings"][0], "prompts": p} for p in PROMPTS.values()]
    for index, run in enumerate(runs):
        found = peer.post_process(
            outputs, image, (side, side), names, model.task,
            "fastsam" if "prompts" in run else None, run.get("prompts"), **run["settings"],
        )  # fmt: skip
        arrays |= {
            f"{index}.scores": found.scores,
            f"{index}.classes": found.classes.astype(np.int16),
        }
        if "prompts" not in run:  # FastSAM moves boxes to the border of the image
            arrays[f"{index}.boxes"] = found.boxes
        if model.task == "segment":
            arrays[f"{index}.masks"] = np.packbits(found.masks.reshape(len(found.masks), -1), 1)
        print(f"{name} {run}: {len(found.scores)}")
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    facts = {
        "task": model.task, "names": names, "stride": 32, "imgsz": [side, side],
        "size": case["size"], "runs": runs,
    }  # fmt: skip
    (folder / f"{name}.json").write_text(json.dumps(facts) + "\n")


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, case in CASES.items():
        make(name, case, folder)


if __name__ == "__main__":
    main()
