"""Compute everything again that states a figure of the shipped model, when its weights change.

    python tools/tiny_figures.py [WORD ...]

Words choose the lines below that contain one of them. Some write their file themselves; what the
others print is left in runs/figures, to be carried into the document that the line names. Nothing
else should run meanwhile: some of them measure time. `make test test-full` shows what was
forgotten. Formats with an environment of their own (LiteRT, RKNN) are not here: docs/embedding.md.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path("runs/figures")
BUNDLE = FOLDER / "sam_tiny_onnx"
CARD, PRECISION = "docs/model-cards/sam_tiny.md", "docs/precision.md"
FILTERS = "docs/decisions/0005-low-res-filters.md"
EXPORT = "-m samdeploy export model=sam_tiny.pt"
MARGIN = "tools/stability_margin.py --size"
#: Where a figure stands, and what computes it.
FIGURES = (
    (str(BUNDLE), f"{EXPORT} output={BUNDLE}"),
    (CARD, "tools/evaluate_tiny.py --scenes 48 --whole 8 --points 16 --conf 0.6 --stability 0.6"),
    (CARD, "tools/evaluate_photographs.py"),
    ("docs/images/photographs.jpg", "tools/photograph_sheet.py docs/images/photographs.jpg"),
    ("docs/embedding.md", "tools/embedding_example.py"),
    ("docs/images/demo.jpg", "tools/demo.py"),
    ("docs/annotate.md", "tools/zoom_table.py"),
    ("docs/annotate.md", "tools/annotate_kills.py"),
    (
        "docs/tracking.md",
        f"-m samdeploy.benchmarks.track_scores --model {BUNDLE} --threads 1 "
        "--output benchmarks/results/track_sam_tiny.json",
    ),
    ("docs/whole-image.md", f"tools/quick_modes.py --model {BUNDLE}"),
    ("docs/whole-image.md", f"tools/quick_modes.py --model {BUNDLE} --points 16"),
    ("docs/whole-image.md", "tools/quick_modes.py --scenes 12"),
    (PRECISION, "tools/precision_table.py formats=onnx,openvino,coreml"),
    (PRECISION, "tools/arithmetic_table.py format=openvino lower=bf16"),
    (PRECISION, f"{EXPORT} format=coreml palette_bits=4 verify=warn output={FOLDER}/palette4"),
    ("docs/embedding.md", f"{EXPORT} format=qnn soc=sm8650 output={FOLDER}/qnn"),
    ("docs/embedding.md", f"{EXPORT} format=qnn soc=sm8650 int8=True output={FOLDER}/qnn_int8"),
    (FILTERS, "tools/exact_masks.py"),
    (FILTERS, f"{MARGIN} 256"),
    (FILTERS, f"{MARGIN} 500 700"),
    (FILTERS, f"{MARGIN} 90"),
    (FILTERS, f"{MARGIN} 1024 --imgsz 1024 --conf 0.5"),
)


def main(words: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    failed = []
    for number, (document, command) in enumerate(FIGURES):
        if words and not any(word in f"{document} {command}" for word in words):
            continue
        start = time.monotonic()
        log = FOLDER / f"{number:02d}_{Path(document).stem}.txt"
        with log.open("w") as output:
            done = subprocess.run([sys.executable, *command.split()], stdout=output, check=False)
        print(f"{time.monotonic() - start:5.0f} s  {log}  {command}", flush=True)
        failed += [command] * (done.returncode != 0)
    if failed:
        raise SystemExit("failed: " + "; ".join(failed))


if __name__ == "__main__":
    main(sys.argv[1:])
