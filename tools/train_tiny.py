"""Train the tiny SAM that the package ships. The recipe is in docs/model-cards/sam_tiny.md.

    python tools/train_tiny.py --minutes 75 --out OUT --photographs PICTURES

PICTURES are of tools/photo_data.py; files that appear there during the run are used from then on.
The same command goes on with a run that was cut off. The learning rate follows the wall clock, so
that a run of any length ends annealed. On a CPU about twice as fast with glibc's allocator told to
keep its memory (see the model card); with a GPU, ``--device cuda --workers 12 --images 32``.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from photo_sample import UNKNOWN
from tiny_data import (
    FIRST_CLICK_SLOT,
    SIZE,
    Batch,
    Pictures,
    coarse,
    load_photographs,
    load_scenes,
    random_pixel,
    sample_batch,
)
from tiny_losses import PixelGrouping, prompt_loss
from tiny_optim import HAS_BFLOAT16, make_optimisers
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from samdeploy.constants import LABEL_PADDING
from samdeploy.models import Sam, SamConfig, TinyVitConfig
from samdeploy.models.config import MaskDecoderConfig, PromptEncoderConfig, TransformerConfig

CONFIG = SamConfig(
    TinyVitConfig(
        img_size=SIZE,
        embed_dims=(32, 64, 128, 192),
        depths=(1, 2, 4, 2),
        num_heads=(1, 2, 4, 6),
        window_sizes=(7, 8, 16, 16),
        mbconv_expand_ratio=3.0,
        out_chans=128,
        num_classes=0,
        norm_head=False,
    ),
    PromptEncoderConfig(),
    MaskDecoderConfig(
        iou_head_hidden_dim=128, transformer=TransformerConfig(num_heads=8, mlp_dim=512)
    ),
)
ROUNDS = (0.3, 0.25, 0.25, 0.2)  # how often a batch has 1, 2, 3 or 4 rounds of clicks
ANCHORS = 48
#: Side at which masks are compared with the truth: that of the logits, and twice it for the last
#: part of the run, when outlines are what is left to learn.
COARSE, FINE, COARSE_SHARE = 64, 128, 0.15
WARM_UP_STEPS = 60
GROUPING_ALONE_STEPS = 40
SAVE_EVERY_S = 240
REPORT_EVERY = 50


def new_model() -> Sam:
    sam = Sam(CONFIG)
    for module in sam.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=min(0.08, module.in_features**-0.5))
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.3)
    return sam.to(memory_format=torch.channels_last)


class Prompts:
    """The decoder's prompt arrays, growing by one click a round in fixed slots."""

    def __init__(self, batch: Batch, device: torch.device) -> None:
        self.coords = torch.from_numpy(batch.coords).to(device)
        self.labels = torch.from_numpy(batch.point_labels).to(device)
        self.masks = torch.from_numpy(batch.masks).to(device)
        self.has_mask = torch.from_numpy(batch.has_mask).to(device)
        self.on_object = batch.on_object
        self.slot = FIRST_CLICK_SLOT

    def decoder_inputs(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        used = self.slot
        return self.coords[:, :used], self.labels[:, :used], self.masks, self.has_mask

    @torch.no_grad()
    def add_click(
        self, rng: np.random.Generator, low_res: Tensor, chosen: Tensor, target: Tensor
    ) -> None:
        """A click where the chosen output is wrong, and that output as the mask prompt."""
        previous = low_res[torch.arange(len(low_res)), chosen].float().unsqueeze(1)
        fine = target.shape[-1]
        logits = F.interpolate(previous, (fine, fine), mode="bilinear", align_corners=False)
        wrong = ((logits > 0) != (target > 0.5))[:, 0].cpu().numpy()
        truth = (target > 0.5)[:, 0].cpu().numpy()
        device = self.labels.device
        labels, coords = self.labels.cpu().clone(), self.coords.cpu().clone()
        scale = SIZE // fine
        for row in np.flatnonzero(self.on_object):
            region = wrong[row] if wrong[row].any() else truth[row]
            if not region.any():
                continue
            x, y = random_pixel(rng, region)
            inside = rng.integers(0, scale, 2)
            coords[row, self.slot, 0] = x * scale + int(inside[0])
            coords[row, self.slot, 1] = y * scale + int(inside[1])
            labels[row, self.slot] = float(truth[row, y, x])
        # Points without a box carry one padding token; slot 2 is kept for it.
        no_box = (labels[:, 0] != 2) & ~(labels == LABEL_PADDING).any(1)
        labels[:, 2] = torch.where(no_box, float(LABEL_PADDING), labels[:, 2])
        self.coords, self.labels = coords.to(device), labels.to(device)
        self.masks = previous.clamp(-32, 32)
        self.has_mask = torch.from_numpy(self.on_object.astype(np.float32)).to(device)
        self.slot += 1


def train_step(
    sam: Sam,
    grouping: PixelGrouping,
    batch: Batch,
    rng: np.random.Generator,
    group_weight: float,
    fine: int,
    alone: bool,
) -> tuple[Tensor, dict[str, float]]:
    """Loss of one batch over all its rounds, compared at ``fine`` pixels a side, and figures to
    watch.

    With ``alone`` the grouping head learns without touching the model: its first gradients are
    noise, which a model that was trained before should not see.
    """
    device = next(sam.parameters()).device
    repeat = len(batch.on_object) // len(batch.images)
    images = torch.from_numpy(batch.images).to(device, memory_format=torch.channels_last)
    masks = torch.from_numpy(batch.targets).to(device)
    target = F.avg_pool2d(masks.float().unsqueeze(1), SIZE // fine)
    on_object = torch.from_numpy(batch.on_object).to(device)
    coarse_labels = coarse(batch.labels).reshape(len(images), -1).astype(np.int64)
    anchors = torch.from_numpy(sample_anchors(rng, coarse_labels)).to(device)
    labels = torch.from_numpy(coarse_labels).to(device)

    half = HAS_BFLOAT16 or device.type == "cuda"
    # On a CPU a step with fused attention takes 1.22 times as long: its backward pass is slow.
    attention = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
    with torch.autocast(device.type, torch.bfloat16, enabled=half), attention:
        embedding = sam.encode(images)
        group_loss = grouping(embedding.detach() if alone else embedding, labels, anchors)
        embedding = embedding.repeat_interleave(repeat, 0)
        prompts = Prompts(batch, device)
        loss = group_weight * group_loss
        rounds = 1 + int(rng.choice(len(ROUNDS), p=ROUNDS))
        for i in range(rounds):
            low_res, predicted = sam.decode(embedding, *prompts.decoder_inputs())
            part, iou = prompt_loss(low_res, predicted, target, on_object)
            loss = loss + part * (1.0 if i == 0 else 0.6)
            if i == 0:
                first_iou, first_predicted = iou, predicted.detach().float()
                kinds = prompts.labels[:, 0]
            if i + 1 < rounds:
                best = predicted[:, 1:].float().argmax(1) + 1 if i == 0 else torch.zeros_like(kinds)
                prompts.add_click(rng, low_res, best.long(), target)
    click, box = on_object & (kinds == 1), kinds == 2
    confidence = first_predicted.amax(1)
    return loss, {
        "loss": float(loss.detach()),
        "group": float(group_loss.detach()),
        "click": _mean(first_iou[click, 1:].amax(1)),
        "box": _mean(first_iou[box, 0]),
        "last": _mean(iou[on_object, 0]) if rounds > 1 else math.nan,
        "off": _mean(confidence[~on_object]),
        "miss": _mean((first_predicted - first_iou).abs()[on_object]),
    }


def sample_anchors(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Positions ``[B, ANCHORS]`` in ``labels`` ``[B, N]``: every instance about equally often,
    what nobody marked never."""
    anchors = np.empty((len(labels), ANCHORS), np.int64)
    for i, row in enumerate(labels):
        weights = (row != UNKNOWN) / np.sqrt(np.bincount(row)[row])
        anchors[i] = rng.choice(len(row), ANCHORS, p=weights / weights.sum())
    return anchors


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else math.nan


@torch.no_grad()
def update_average(average: Sam, sam: Sam, step: int) -> None:
    weight = 1 - min(0.998, (step + 1) / (step + 30))
    pairs = list(zip(average.state_dict().values(), sam.state_dict().values(), strict=True))
    floats = [(a, b) for a, b in pairs if a.is_floating_point()]
    torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], weight)
    for a, b in pairs:
        if not a.is_floating_point():
            a.copy_(b)


def save(sam: Sam, grouping: PixelGrouping, path: Path) -> None:
    temporary = path.with_suffix(".part")
    content = {
        "model": {k: v.cpu() for k, v in sam.state_dict().items()},
        "config": sam.config.to_mapping(),
        "grouping": {k: v.cpu() for k, v in grouping.state_dict().items()},
    }
    torch.save(content, temporary)
    temporary.replace(path)


@dataclass
class Run:
    """What a run that was cut off needs to go on; ``seconds`` and ``step`` are those behind it."""

    sam: Sam
    average: Sam
    grouping: PixelGrouping
    optimisers: list[torch.optim.Optimizer]
    step: int = 0
    seconds: float = 0.0

    def _parts(self) -> list[Any]:
        return [self.sam, self.average, self.grouping, *self.optimisers]

    def save(self, path: Path) -> None:
        temporary = path.with_suffix(".part")
        states = [part.state_dict() for part in self._parts()]
        torch.save({"states": states, "step": self.step, "seconds": self.seconds}, temporary)
        temporary.replace(path)

    def restore(self, path: Path) -> None:
        content = torch.load(path, weights_only=True, map_location="cpu")
        for part, state in zip(self._parts(), content["states"], strict=True):
            part.load_state_dict(state)
        self.step, self.seconds = content["step"], content["seconds"]


class Batches(IterableDataset[Batch]):
    """Random batches without end, of scenes and of the photographs that there are by then."""

    def __init__(self, args: argparse.Namespace, step: int) -> None:
        self.args, self.step = args, step

    def __iter__(self) -> Iterator[Batch]:
        args, worker = self.args, get_worker_info()
        seeds = [args.seed, self.step, 1 + (worker.id if worker else 0)]
        rng = np.random.Generator(np.random.PCG64(seeds))
        scenes = [load_scenes(args.cache or args.out, args.scenes)]
        photographs = dict[Path, Pictures]()
        for i in count():
            groups = [(1.0, scenes)]
            if args.photographs:
                if i % REPORT_EVERY == 0:
                    load_photographs(args.photographs, photographs)
                shown = [*photographs.values()]
                groups = [(1 - args.photo_share, scenes), (args.photo_share, shown)]
            yield sample_batch(rng, groups, args.images, args.prompts, args.strength)


def _as_it_is(batch: Batch) -> Batch:
    return batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=75)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="folder of generated scenes; default: OUT")
    parser.add_argument("--scenes", type=int, default=8000)
    parser.add_argument("--photographs", type=Path, help="folder that photo_data.py fills")
    parser.add_argument("--photo-share", type=float, default=0.65, help="of the pictures")
    parser.add_argument("--images", type=int, default=8, help="images in a batch")
    parser.add_argument("--prompts", type=int, default=8, help="prompts for each image")
    parser.add_argument("--lr", type=float, default=1.2e-3, help="of AdamW")
    parser.add_argument("--matrix-lr", type=float, default=3e-3, help="of Muon")
    parser.add_argument("--init", type=Path, help="checkpoint to start from")
    parser.add_argument("--coarse", type=float, default=COARSE_SHARE, help="share of the run")
    parser.add_argument("--grouping", type=float, default=1.0, help="its weight at the start")
    parser.add_argument("--strength", type=float, default=1.0, help="of augmentation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(0)  # its threads and those of torch get in each other's way
    if args.photographs and not list(args.photographs.glob("photo_*.npz")):
        raise SystemExit(f"'{args.photographs}' has no photo_*.npz: run tools/photo_data.py first.")
    sam = new_model().to(args.device).train()
    grouping = PixelGrouping(CONFIG.image_encoder.out_chans).to(args.device)
    if args.init:
        start_from = torch.load(args.init, weights_only=True)
        sam.load_state_dict(start_from["model"])
        if "grouping" in start_from:
            grouping.load_state_dict(start_from["grouping"])
    average = copy.deepcopy(sam).eval()
    optimisers = make_optimisers(sam, args.matrix_lr, args.lr, grouping)
    peaks = [[group["lr"] for group in optimiser.param_groups] for optimiser in optimisers]
    parameters = [*sam.parameters(), *grouping.parameters()]
    run = Run(sam, average, grouping, optimisers)
    state = args.out / "state.pt"
    if state.exists():
        run.restore(state)
    rng = np.random.Generator(np.random.PCG64([args.seed, run.step]))
    load_scenes(args.cache or args.out, args.scenes)  # once, not in every worker
    batches = iter(
        DataLoader(
            Batches(args, run.step), batch_size=None, num_workers=args.workers, collate_fn=_as_it_is
        )
    )
    before, saved, figures = time.monotonic(), run.seconds, []
    while (done := run.seconds / (60 * args.minutes)) < 1:
        pace = min(1.0, (run.step + 1) / WARM_UP_STEPS) * (0.5 + 0.5 * math.cos(math.pi * done))
        for optimiser, peak in zip(optimisers, peaks, strict=True):
            for group, lr in zip(optimiser.param_groups, peak, strict=True):
                group["lr"] = lr * pace
        batch = next(batches)
        fine = COARSE if done < args.coarse else FINE
        loss, numbers = train_step(
            sam,
            grouping,
            batch,
            rng,
            args.grouping * (1 - 0.8 * done),
            fine,
            alone=run.step < GROUPING_ALONE_STEPS,
        )
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(parameters, 3.0))
        if math.isfinite(norm):
            for optimiser in optimisers:
                optimiser.step()
        run.step += 1
        update_average(average, sam, run.step)
        now = time.monotonic()
        run.seconds, before = run.seconds + now - before, now
        figures.append({**numbers, "norm": norm})
        if run.step % REPORT_EVERY == 0:
            recent = figures[-REPORT_EVERY:]
            means = {k: float(np.nanmean([f[k] for f in recent])) for k in recent[0]}
            pace_s = run.seconds / run.step
            text = " ".join(f"{k} {v:.3f}" for k, v in means.items())
            line = f"{run.seconds / 60:6.1f} min step {run.step:5d} {pace_s:.2f} s {text}"
            print(line, flush=True)
        if run.seconds - saved > SAVE_EVERY_S:
            saved = run.seconds
            run.save(state)
            save(average, grouping, args.out / "average.pt")
    save(average, grouping, args.out / "final.pt")
    save(sam, grouping, args.out / "raw.pt")


if __name__ == "__main__":
    main()
