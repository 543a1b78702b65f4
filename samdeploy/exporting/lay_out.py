"""A bundle's graphs as the files of another tool, compared with the checkpoint as that tool uses
them.

The comparison runs the tool's own steps (:class:`samdeploy.layouts.Adapter`). Beside it stands the
checkpoint in torch, which gets the same pixels and tokens in the ordinary way: so what is compared
is everything that the files hold, and nothing of how a tool resizes.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from samdeploy.bundle import Bundle, VerificationRecord, file_record
from samdeploy.embedding import Embedding
from samdeploy.errors import InputError, VerificationError
from samdeploy.exporting.metrics import Floats, mask_iou
from samdeploy.exporting.verify import Reference
from samdeploy.exporting.verify_sam import usual_prompts
from samdeploy.families import family_named
from samdeploy.geometry import iter_resized_logits
from samdeploy.graphs import DECODER, ENCODER, ROLES
from samdeploy.layouts import (
    SCHEMA_VERSION,
    Adapter,
    Candidates,
    Flavour,
    Layout,
    LayoutRecord,
    Tokens,
    write_record,
)
from samdeploy.preprocess import Preprocess
from samdeploy.scenes import generate_scene
from samdeploy.schemes import gate
from samdeploy.session import Session

if TYPE_CHECKING:
    from samdeploy.models.loaded import ModelFacts

#: Predicted IoUs that are as close as this are a tie: either mask is the answer.
_TIE = 0.01


def flavour_of(layout: Layout, facts: ModelFacts, model: object) -> Flavour:
    """The flavour of a layout for a model.

    Raises:
        InputError: its tool does not take such a model.
    """
    flavour = layout.flavours.get(facts.family)
    if flavour is None:
        takes = " and ".join(layout.flavours)
        raise InputError(
            f"layout={layout.name}; {layout.tool} takes models of family {takes}, and '{model}' is "
            f"a {facts.family} model: leave layout out or choose another."
        )
    if flavour.side not in (None, facts.image_size):
        raise InputError(
            f"layout={layout.name}; {layout.tool} takes models of {flavour.side} pixels, and "
            f"'{model}' is one of {facts.image_size}: pass imgsz={flavour.side} or leave layout "
            "out."
        )
    usual = family_named(facts.family, model).preprocess
    if facts.preprocess not in (None, usual):
        raise InputError(
            f"layout={layout.name}; {layout.tool} prepares images as all {facts.family} models "
            f"want it, and '{model}' has steps of its own: leave layout out."
        )
    return flavour


def lay_out(
    layout: Layout,
    flavour: Flavour,
    bundle: Bundle,
    reference: Reference,
    folder: Path,
    *,
    mode: str,
    tolerance: float | None,
    say: Callable[[str], None],
) -> None:
    """Write the files of ``layout`` into ``folder``, compare them, and record both.

    Raises:
        VerificationError: they miss their tolerance, and ``mode`` is ``error``.
    """
    manifest = bundle.manifest
    say(f"writing the files of {layout.tool}")
    before = set(folder.rglob("*"))
    flavour.write(bundle, folder)
    written = sorted(path for path in {*folder.rglob("*")} - before if path.is_file())
    record = VerificationRecord(passed=False, mode="off")
    if mode != "off":
        family = family_named(manifest.family, bundle.folder)
        sessions = reference.sessions(family.contract, ROLES)
        adapter = flavour.adapter(folder)
        try:
            record = verify_layout(
                sessions,
                adapter,
                manifest.preprocess or family.preprocess or Preprocess(),
                precision=manifest.precision,
                tolerance=tolerance,
                mode=mode,
                say=say,
            )
        finally:
            adapter.close()
            for session in sessions.values():
                session.close()
    if mode == "error" and not record.passed:
        raise VerificationError(
            f"the files of layout={layout.name} do not give the masks of the torch reference: mask "
            f"IoU mean {record.mask_iou_mean:.4f} (expected {record.tolerance:g} or more), 5th "
            f"percentile {record.mask_iou_p5:.4f}; pass verify=warn to keep them anyway."
        )
    write_record(
        folder,
        LayoutRecord(
            schema_version=SCHEMA_VERSION,
            layout=layout.name,
            tool=layout.tool,
            family=manifest.family,
            architecture=manifest.architecture,
            image_size=manifest.image_size,
            format=manifest.format,
            precision=manifest.precision,
            files=tuple(file_record(folder, path.relative_to(folder)) for path in written),
            source=manifest.source,
            options=manifest.options,
            tools=manifest.tools,
            verification=record,
            graphs=manifest.verification,
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        ),
    )


def verify_layout(
    reference: Mapping[str, Session],
    adapter: Adapter,
    steps: Preprocess,
    *,
    precision: str,
    tolerance: float | None,
    mode: str,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
) -> VerificationRecord:
    """Compare the masks that a tool has in the end with those of ``reference``, at the size of the
    image. The record's IoUs are of these masks; where a tool has several of a prompt, of each.
    Logits that are NaN are of no mask."""
    least, _ = gate(precision, tolerance=tolerance)
    overlaps, prompts = [], 0
    for index, size in enumerate(adapter.sizes):
        say(f"verifying the files on image {index + 1} of {len(adapter.sizes)}")
        scene = generate_scene(seed + index, size)
        pixels = adapter.pixels(scene.image)
        transform = steps.transform(size, pixels.shape[-1])
        embedding = Embedding(reference[ENCODER].run({"image": pixels}), transform)
        adapter.encode(scene.image)
        for prompt in usual_prompts(seed + index, scene):
            tokens = adapter.tokens(prompt)
            found = adapter.masks(prompt)
            wanted = _masks(reference[DECODER], embedding, tokens)
            for mask, candidates in zip(found, adapter.answers(len(tokens[1])), strict=True):
                overlaps.append(_overlap(wanted, mask, candidates))
            prompts += 1
    iou = np.array(overlaps)
    return VerificationRecord(
        passed=bool(iou.mean() >= least),
        mode=mode,
        images=len(adapter.sizes),
        prompts=prompts,
        seed=seed,
        mask_iou_mean=float(iou.mean()),
        mask_iou_min=float(iou.min()),
        mask_iou_p5=float(np.percentile(iou, 5)),
        tolerance=least,
        provider=adapter.provider,
    )


def _masks(decoder: Session, embedding: Embedding, tokens: Tokens) -> tuple[Floats, Floats]:
    """Logits ``[4, H, W]`` of the image and predicted IoUs ``[4]`` of one prompt."""
    points, labels = tokens
    side = embedding.low_res_side
    answer = decoder.run(
        {
            **embedding.feeds(decoder),
            "point_coords": np.float32(embedding.transform.points_to_input(points))[None],
            "point_labels": np.float32(labels)[None],
            "mask_input": np.zeros((1, 1, side, side), np.float32),
            "has_mask_input": np.zeros(1, np.float32),
        }
    )
    logits = iter_resized_logits(answer["low_res_masks"][0], embedding.transform)
    return np.stack([*logits]), answer["iou_predictions"][0]


def _overlap(wanted: tuple[Floats, Floats], found: Floats, candidates: Candidates) -> float:
    """IoU of a mask with the best of ``candidates``, or with one that ties with it."""
    logits, scores = wanted
    best = max(scores[index] for index in candidates)
    ties = [index for index in candidates if scores[index] >= best - _TIE]
    inside = np.where(found, 1.0, -1.0)
    return max(float(mask_iou(logits[index], inside)) for index in ties)
