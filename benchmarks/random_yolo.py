"""Bundles of the YOLO family with random weights, by the package ultralytics (AGPL-3.0).

In a process of its own, ``python -m samdeploy.benchmarks.random_yolo NAME FORMAT OUTPUT``, because
the package may need stand-ins that must not get into the caller's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from samdeploy.benchmarks.environment import installed
from samdeploy.benchmarks.stand_in import install_stand_ins
from samdeploy.benchmarks.weights import SEED
from samdeploy.errors import RuntimeUnavailableError
from samdeploy.exporting.pipeline import export


def random_yolo(name: str, format: str, output: Path) -> Path:
    """Write the bundle ``output`` of an untrained model, called like the checkpoint ``name``.

    Raises:
        RuntimeUnavailableError: the package is not installed, or has no such model.
    """
    reason = "it is not installed; run: pip install 'samdeploy[yolo]'"
    if installed("ultralytics"):
        done = subprocess.run(
            [sys.executable, "-m", "samdeploy.benchmarks.random_yolo", name, format, str(output)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not done.returncode:
            return output
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1] if lines else f"its process ended with code {done.returncode}"
    raise RuntimeUnavailableError(
        f"random weights of '{name}' need the package ultralytics (AGPL-3.0): {reason}."
    )


def main(name: str, format: str, output: str) -> None:
    folder = Path(output).parent
    install_stand_ins()
    os.environ |= {"YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false", "YOLO_AUTOINSTALL": "false"}
    os.environ.setdefault("YOLO_CONFIG_DIR", str(folder))
    import torch
    import ultralytics

    path = folder / Path(name).name
    # FastSAM is YOLOv8-seg of the same size with one class.
    fast = path.stem.lower().startswith("fastsam")
    architecture = f"yolov8{path.stem[-1].lower()}-seg" if fast else path.stem
    torch.manual_seed(SEED)
    model = ultralytics.YOLO(f"{architecture}.yaml", verbose=False)
    if fast:
        from ultralytics.nn.tasks import SegmentationModel

        one_class = SegmentationModel(f"{architecture}.yaml", nc=1, verbose=False)
        one_class.names, one_class.task, one_class.args = {0: "object"}, "segment", model.model.args
        model.model = one_class
    model.save(path)
    export(path, format, output=output, verify="off", trust=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
