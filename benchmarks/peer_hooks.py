"""The common part of peers that run torch modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from samdeploy.benchmarks.jobs import Job
from samdeploy.benchmarks.measure import Pixels
from samdeploy.benchmarks.substitution import Substitution
from samdeploy.preprocess import SAM2_STEPS, SAM_STEPS

if TYPE_CHECKING:
    from torch import Tensor, nn


def as_prompts(points: Any) -> tuple[Tensor, Tensor]:
    """Points ``[N, 2]`` as ``N`` prompts of one foreground point: coordinates and labels."""
    import torch

    coordinates = torch.as_tensor(np.asarray(points), dtype=torch.float32)[:, None]
    return coordinates, torch.ones(coordinates.shape[:2], dtype=torch.int)


def all_masks(
    make_generator: Callable[..., Any],
    substitution: Substitution | None,
    image: Pixels,
    settings: Mapping[str, Any],
) -> int:
    """The number of masks that one of Meta's automatic mask generators finds."""
    names = {"points_stride": "points_per_side", "conf_thres": "pred_iou_thresh"}
    chosen = {names.get(name, name): value for name, value in settings.items()}
    # Run lengths: pictures of all masks at once would cost it time and memory.
    generator = make_generator(points_per_batch=64, output_mode="uncompressed_rle", **chosen)
    if substitution:
        substitution.enabled = True
    try:
        return len(generator.generate(image))
    finally:
        if substitution:
            substitution.enabled = False


def substitute(job: Job, prompt_encoder: nn.Module, mask_decoder: nn.Module) -> Substitution | None:
    """Replace what the modules of a SAM in torch say while the result is ``enabled``; ``None`` when
    the job wants the model's own answers.

    The prompt encoder is given ``points`` or ``input_points`` (all peers do so by name, the points
    of a prompt second to last), and the mask decoder returns masks and predicted IoUs.
    """
    if not job.substitute or job.whole_image is None:
        return None
    shape = np.load(job.image, mmap_mode="r").shape[:2]
    steps = SAM2_STEPS if job.architecture.startswith("sam2") else SAM_STEPS
    chosen = Substitution(steps.transform(shape, 1024), job.whole_image["points_stride"])
    asked: list[Any] = []

    def note_points(module: Any, arguments: Any, named: dict[str, Any]) -> None:
        points = named["points"][0] if "points" in named else named["input_points"]
        asked[:] = [chosen.index(points.reshape(-1, 2).numpy())]

    def replace(module: Any, arguments: Any, results: Any) -> None:
        if chosen.enabled:
            masks, iou = results[:2]
            index = asked[0]
            # Views of the tensors' own memory; some peers have one dimension more.
            chosen.replace_masks(index, masks.numpy().reshape(len(index), -1, *masks.shape[-2:]))
            chosen.replace_iou(index, iou.numpy().reshape(len(index), -1))

    prompt_encoder.register_forward_pre_hook(note_points, with_kwargs=True)
    mask_decoder.register_forward_hook(replace)
    return chosen
