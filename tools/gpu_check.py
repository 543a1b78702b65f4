"""One command for a machine with a GPU: does it answer as the contract says, and how fast.

    python tools/gpu_check.py [device=cuda] [model=sam_b.pt,mobile_sam.pt] [budget=450]
        [points=32] [rounds=3] [contract=True] [output=gpu_check.json]

It needs torch and nothing that has to be fetched: published architectures get random weights, and
the repository is used as it lies there, installed or (from Python 3.11 on) not; packages that are
missing may lie in a folder on ``PYTHONPATH``. Where pytest is, it runs the contract tests on the
device. Then it measures ours, in torch and in ONNX Runtime's CUDA provider, against SAM's own way
in eager torch: the plain decoder, the grid in batches of 64, and every mask at full size before any
filter. In whole-image mode all get the same decoder outputs (``benchmarks/substitution.py``), and
all take turns. What cannot be done, or has no time left, is named. The answer is one JSON file.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

ROOT = Path(__file__).resolve().parents[1]
#: Height and width of the picture.
SIZE = (1200, 1800)
#: Prompts of a call in SAM's own way.
BATCH = 64

Way = dict[str, Callable[[], Any]]


def make_importable(folder: Path) -> None:
    """Where samdeploy is not installed: its spokes and their entry points, from the repository."""
    if entry_points(group="samdeploy.runtimes"):
        return
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    facts = folder / f"samdeploy-{project['version']}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: samdeploy\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in points.items())]
    (facts / "entry_points.txt").write_text("\n".join(lines))
    sys.path[:0] = [str(ROOT), str(folder)]
    import samdeploy  # not before its version can be read

    samdeploy.__path__.append(str(ROOT))


def contract_tests(device: str) -> dict[str, Any]:
    """Outcomes of the runtime contract on torch."""
    if device == "cpu":
        return {"not run": "the test suite runs them on the cpu"}
    try:
        import pytest
    except ImportError:
        return {"not run": "pytest is not installed"}

    counts: dict[str, int] = {}
    failed: list[str] = []

    class Outcomes:
        def pytest_runtest_logreport(self, report: Any) -> None:
            if report.when == "call" or report.outcome != "passed":
                counts[report.outcome] = counts.get(report.outcome, 0) + 1
            if report.outcome == "failed":
                failed.append(report.nodeid)

    file = ROOT / "tests" / "contract" / "test_torch_cuda.py"
    code = pytest.main(
        ["-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}", str(file)], [Outcomes()]
    )
    return {"exit_code": int(code), **counts, "failures": failed}


class Plain:
    """SAM's own way: nothing split off the decoder, nothing left out, in eager float32."""

    def __init__(self, model: Any, device: str, image: Any, substitution: Any, points: int) -> None:
        from samdeploy.preprocess import preprocess

        self.model, self.device, self.image = model.to(device), device, image
        self.side = model.config.image_size
        self._preprocess = lambda: preprocess(image, self.side)
        self.transform = self._preprocess()[1]
        steps = (np.arange(points) + 0.5) / points
        share = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2)
        self.points = share * image.shape[1::-1]
        # What the decoder is made to say, made beforehand: it is not what is measured.
        moved = self.transform.points_to_input(self.points)
        low = self.side // 4
        masks = np.empty((len(moved), 3, low, low), np.float32)
        iou = np.empty((len(moved), 3), np.float32)
        index = substitution.index(moved)
        substitution.replace_masks(index, masks)
        substitution.replace_iou(index, iou)
        self._said = torch.from_numpy(masks).to(device), torch.from_numpy(iou).to(device)

    def encode(self) -> Tensor:
        pixels = torch.from_numpy(self._preprocess()[0]).to(self.device)
        embedding: Tensor = self.model.encode(pixels)
        self.embedding = embedding
        return embedding.cpu()

    def decode(self, points: Any) -> tuple[Tensor, Tensor]:
        count, low = len(points), self.side // 4
        coords = torch.zeros(count, 2, 2)
        coords[:, 0] = torch.from_numpy(self.transform.points_to_input(points))
        labels = torch.tensor([[1.0, -1.0]]).expand(count, 2)
        no_mask = torch.zeros(count, 1, low, low)
        given = (coords, labels, no_mask, torch.zeros(count))
        masks, iou = self.model.decode(self.embedding, *(each.to(self.device) for each in given))
        return masks, iou

    def click(self) -> Any:
        masks, _ = self.decode(self.points[:1])
        return (self._full_size(masks[:, :1]) > 0).cpu().numpy()

    def generate(self) -> int:
        from samdeploy.benchmarks.substitution import SETTINGS
        from samdeploy.masks.postprocess import nms

        self.encode()
        boxes, scores, codes = [], [], []
        for start in range(0, len(self.points), BATCH):
            rows = slice(start, start + BATCH)
            self.decode(self.points[rows])
            masks = self._full_size(self._said[0][rows]).flatten(0, 1)
            iou = self._said[1][rows].flatten()
            confident = iou > SETTINGS["conf_thres"]
            masks, iou = masks[confident], iou[confident]
            stable = _stability(masks) >= SETTINGS["stability_score_thresh"]
            inside = masks[stable] > 0
            boxes.append(_boxes(inside).cpu().numpy())
            scores.append(iou[stable].cpu().numpy())
            codes += _run_lengths(inside)
        kept = nms(np.concatenate(boxes).astype(np.float32), np.concatenate(scores), 0.7)
        return len([codes[i] for i in kept])

    def _full_size(self, masks: Tensor) -> Tensor:
        height, width = self.transform.input_size
        padded = F.interpolate(masks, (self.side, self.side), mode="bilinear", align_corners=False)
        part = padded[..., :height, :width]
        return F.interpolate(part, self.image.shape[:2], mode="bilinear", align_corners=False)


def _stability(masks: Tensor) -> Tensor:
    inner = (masks > 1).flatten(1).sum(1, dtype=torch.int32)
    outer = (masks > -1).flatten(1).sum(1, dtype=torch.int32)
    return inner / outer.clamp(min=1)


def _boxes(inside: Tensor) -> Tensor:
    """``[n, 4]`` (x1, y1, x2, y2), the last pixels inside; zeros for an empty mask."""
    edges = []
    for axis in (1, 2):
        covered = inside.any(axis)
        side = covered.shape[1]
        places = torch.arange(side, device=inside.device)
        first = torch.where(covered, places, side).amin(1)
        last = torch.where(covered, places, -1).amax(1)
        edges.append((first.clamp(max=side), last))
    box = torch.stack([edges[0][0], edges[1][0], edges[0][1], edges[1][1]], 1)
    return box * inside.flatten(1).any(1, keepdim=True)


def _run_lengths(inside: Tensor) -> list[list[int]]:
    """Column by column, of each mask."""
    flat = inside.transpose(1, 2).flatten(1)
    rows, places = (flat[:, 1:] ^ flat[:, :-1]).nonzero(as_tuple=True)
    starts = flat[:, 0].tolist()
    counts = torch.bincount(rows, minlength=len(flat)).tolist()
    coded = []
    for begins, part in zip(starts, (places + 1).split(counts), strict=True):
        ends = torch.cat([part.new_zeros(1), part, part.new_full((1,), flat.shape[1])])
        lengths = ends.diff().tolist()
        coded.append([0, *lengths] if begins else lengths)
    return coded


def ours(source: Path, image: Any, device: str, points: int, runtime: str | None = None) -> Way:
    """The same timings of our model; opening it may fail, which the caller names."""
    from samdeploy.benchmarks.jobs import Job
    from samdeploy.benchmarks.ours import Ours
    from samdeploy.benchmarks.substitution import SETTINGS

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.npy"
        np.save(path, image)
        whole = {**SETTINGS, "points_stride": points}
        job = Job(
            "samdeploy", str(source), str(path), "", device=device, runtime=runtime,
            whole_image=whole, substitute=True,
        )  # fmt: skip
        subject = Ours(job)
    first = np.array([[image.shape[1], image.shape[0]]]) / (2 * points)

    def encode() -> Any:
        subject.encode(image)
        embedding = subject._embedding
        assert embedding is not None
        return embedding.image_embeddings

    return {
        "encode": encode,
        "click": lambda: subject.click(first),
        "whole_image": lambda: subject.generate(image, whole),
        "provider": lambda: subject.provider,
    }


def measure(name: str, folder: Path, given: dict[str, str], left: Callable[[], float]) -> Any:
    """Seconds of every way, medians of rounds in which they take turns, and how far answers are
    from those of SAM's own way."""
    from samdeploy.benchmarks.substitution import Substitution
    from samdeploy.benchmarks.weights import random_checkpoint
    from samdeploy.checkpoints import TINY, resolve_checkpoint
    from samdeploy.exporting.pipeline import export
    from samdeploy.geometry import Transform
    from samdeploy.models.load import load_sam
    from samdeploy.scenes import generate_scene

    device, points = given["device"], int(given["points"])
    size = SIZE if name != TINY else (SIZE[0] // 4, SIZE[1] // 4)
    image = generate_scene(0, size).image
    path = resolve_checkpoint(name) if name == TINY else random_checkpoint(name, folder)
    model = load_sam(path).eval()
    chosen = Substitution(Transform.fit(size, model.config.image_size), points)
    plain = Plain(model, device, image, chosen, points)
    ways: dict[str, Way] = {
        "plain": {"encode": plain.encode, "click": plain.click, "whole_image": plain.generate}
    }
    not_run = {}
    accelerator = "cpu" if device == "cpu" else "cuda"
    openers: dict[str, Callable[[], Way]] = {
        "torch": lambda: ours(path, image, device, points),
        "onnxruntime": lambda: ours(
            export(path, "onnx", output=folder / f"{path.stem}_onnx", verify="off"),
            image, accelerator, points,
        ),
    }  # fmt: skip
    for title, opener in openers.items():
        if left() <= 0:
            not_run[title] = "no time left"
            continue
        try:
            ways[title] = opener()
        except Exception as error:  # an export or a provider that is not there
            not_run[title] = f"{type(error).__name__}: {error}"
    providers = {t: way.pop("provider")() for t, way in ways.items() if "provider" in way}
    found: dict[str, Any] = {"model": name, "providers": providers, "not_run": not_run}
    for step in ("encode", "click", "whole_image"):
        seconds: dict[str, list[float]] = {title: [] for title in ways}
        answers: dict[str, Any] = {}
        for round_ in range(int(given["rounds"]) + 1):  # the first warms up
            for title, way in ways.items():
                if left() <= 0:
                    not_run[f"{step} of {title}, round {round_}"] = "no time left"
                    continue
                started = time.perf_counter()
                answers[title] = way[step]()
                taken = time.perf_counter() - started
                if round_:
                    seconds[title].append(taken)
        found[step] = {t: statistics.median(values) for t, values in seconds.items() if values}
        found[f"{step}_answers"] = {
            title: _distance(step, answer, answers.get("plain"))
            for title, answer in answers.items()
        }
    return found


def _distance(step: str, answer: Any, plain: Any) -> Any:
    """Embedding: largest difference relative to the largest value; click: share of pixels that
    differ; whole image: number of masks."""
    if step == "whole_image" or plain is None:
        return answer if step == "whole_image" else None
    found, expected = np.asarray(answer), np.asarray(plain)
    if step == "click":
        return float((found.squeeze() != expected.squeeze()).mean())
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def check(given: dict[str, str], folder: Path) -> dict[str, Any]:
    started = time.monotonic()

    def left() -> float:
        return float(given["budget"]) - (time.monotonic() - started)

    # As our torch runtime computes: without TF32.
    torch.backends.cudnn.allow_tf32 = False
    device = given["device"]
    report: dict[str, Any] = {
        "given": given,
        "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else "",
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
        "contract": (
            contract_tests(device) if given["contract"] == "True" else {"not run": "contract=False"}
        ),
        "models": [],
    }
    for name in given["model"].split(","):
        with torch.inference_mode():
            report["models"].append(measure(name, folder, given, left))
        if device.startswith("cuda"):
            torch.cuda.empty_cache()
    report["took"] = time.monotonic() - started
    return report


DEFAULTS = {
    "device": "cuda", "model": "sam_b.pt,mobile_sam.pt", "budget": "450", "points": "32",
    "rounds": "3", "contract": "True", "output": "gpu_check.json",
}  # fmt: skip


def main(arguments: list[str]) -> int:
    given = DEFAULTS | dict(argument.split("=", 1) for argument in arguments)
    unknown = set(given) - set(DEFAULTS)
    if unknown:
        print(f"unknown {sorted(unknown)}; expected {', '.join(DEFAULTS)}.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as work:
        make_importable(Path(work))
        report = check(given, Path(work))
    text = json.dumps(report, indent=2)
    Path(given["output"]).write_text(text, encoding="utf-8")
    print(text)
    return int(report["contract"].get("exit_code", 0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
