"""Is an artifact what it was made from? Both are opened, and the family's verifier compares them.

A difference is a record; :func:`check` makes an error of one that misses its tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from samdeploy.bundle import Bundle, VerificationRecord, write_manifest
from samdeploy.checkpoints import resolve_checkpoint
from samdeploy.contracts import Contract, Specs
from samdeploy.errors import VerificationError
from samdeploy.families import Family, family_named, resolve
from samdeploy.opening import open_graphs, own_runtime
from samdeploy.precision import FP32, arithmetic_name
from samdeploy.preprocess import Preprocess
from samdeploy.registry import (
    CHECKPOINT,
    RUNTIMES,
    availability,
    exporter_names,
    load_exporter,
    opener_of,
)
from samdeploy.schemes import gate
from samdeploy.session import RuntimeOptions, Session

if TYPE_CHECKING:
    from samdeploy.models.loaded import LoadedModel


@dataclass(frozen=True)
class Reference:
    """The checkpoint that artifacts are made from and compared with, and how to read it."""

    checkpoint: Path
    config: Mapping[str, Any] | str | Path | None = None
    imgsz: int | None = None
    trust: bool = False

    def load(self) -> LoadedModel:
        """The model in torch."""
        # Torch is imported here and not above: running a bundle must not need it.
        from samdeploy.models.families import load_model

        return load_model(self.checkpoint, config=self.config, imgsz=self.imgsz, trust=self.trust)

    def sessions(self, contract: Contract, roles: Iterable[str]) -> Mapping[str, Session]:
        """The graphs of ``roles`` in torch, opened."""
        options = RuntimeOptions(imgsz=self.imgsz, config=self.config, trust=self.trust)
        paths = dict.fromkeys(roles, self.checkpoint)
        opened, _ = open_graphs(paths, opener_of(CHECKPOINT), "cpu", options, contract=contract)
        return opened


def usable_runtime(names: tuple[str, ...]) -> tuple[str | None, str]:
    """The first runtime that works here, or why not even the preferred one does."""
    states = {name: availability(RUNTIMES, name) for name in names}
    for name, state in states.items():
        if state.usable:
            return name, ""
    first = states[names[0]]
    return None, f"built, not executed: runtime '{names[0]}' is not usable here ({first.reason})"


def compare(
    reference: Reference,
    paths: Mapping[str, Path],
    family: Family,
    runtime: str,
    *,
    precision: str,
    device: str,
    tolerance: float | None,
    whole_image: Mapping[str, Any],
    say: Callable[[str], None] | None,
    arithmetic: str = FP32,
    mode: str = "error",
    recorded: Mapping[str, Specs] | None = None,
    preprocess: Preprocess | None = None,
) -> VerificationRecord:
    """Compare artifacts, by role, with what they were made from.

    Args:
        precision: name of the scheme of their weights.
        whole_image: settings that the model recommends.
        mode: what to call the comparison, unless a simulator ran.
        recorded: what the manifest tells of the graphs, for those of a bundle.
        preprocess: how an image becomes encoder input, in a family that has such steps.
    """
    options = RuntimeOptions(precision=arithmetic)
    contract = family.contract
    candidate, _ = open_graphs(paths, runtime, device, options, recorded, contract)
    expected = reference.sessions(contract, contract.needed(paths))
    try:
        record: VerificationRecord = resolve(family.verifier)(
            expected,
            candidate,
            precision=precision,
            arithmetic=arithmetic,
            tolerance=tolerance,
            whole_image=whole_image,
            progress=say,
            **({} if preprocess is None else {"preprocess": preprocess}),
        )
        if availability(RUNTIMES, runtime).simulated:
            mode = "simulated"
        return msgspec.structs.replace(record, mode=mode)
    finally:
        for session in (*candidate.values(), *expected.values()):
            session.close()


def verify_bundle(
    bundle: str | Path,
    reference: str | Path,
    *,
    config: Mapping[str, Any] | str | Path | None = None,
    runtime: str | None = None,
    device: str = "auto",
    precision: str = FP32,
    tolerance: float | None = None,
    trust: bool = False,
    save: bool = False,
    progress: Callable[[str], None] | None = None,
) -> VerificationRecord:
    """Compare a bundle with a checkpoint in torch; a difference is in the record, not raised.

    Args:
        runtime: by default the bundle's own, or where that cannot run, another that its exporter
            names for checking; ``progress`` and the record say which.
        precision: arithmetic to compute in; what is lower than the artifact has to reach the
            tolerance of an artifact of that precision.
        trust: for Ultralytics checkpoints, see :func:`samdeploy.export`.
        save: write the record into the bundle's manifest, in the place of an earlier one of the
            same arithmetic: an engine that was built on another machine is then known to be right
            on this one, and arithmetic that passed can be used without a warning.
    """
    precision = arithmetic_name(precision)
    opened = Bundle.open(bundle)
    manifest = opened.manifest
    gate(manifest.precision, tolerance=tolerance)
    checkpoint = resolve_checkpoint(reference)
    say = progress or (lambda line: None)
    chosen = runtime or _checking_runtime(opened, say)
    family = family_named(manifest.family, opened.folder)
    steps = manifest.preprocess or family.preprocess
    if config is None and family.configurable:
        # The manifest knows the whole architecture, also where the checkpoint does not tell it.
        config = manifest.config
        if steps is not None:
            config = {**config, "preprocess": steps}
    record = compare(
        Reference(checkpoint, config, manifest.image_size, trust),
        opened.graphs(),
        family,
        chosen,
        precision=manifest.precision,
        device=device,
        tolerance=tolerance,
        whole_image=manifest.whole_image,
        say=say,
        arithmetic=precision,
        recorded=opened.specs(),
        preprocess=steps,
    )
    if save:
        write_manifest(opened.folder, manifest.with_verification(record))
    return record


def _checking_runtime(bundle: Bundle, say: Callable[[str], None]) -> str:
    own = own_runtime(bundle)
    state = availability(RUNTIMES, own)
    if state.usable or bundle.manifest.format not in exporter_names():
        return own  # where it is not usable either, opening it says why
    other, _ = usable_runtime(load_exporter(bundle.manifest.format).runtimes)
    if other is None:
        return own
    say(f"runtime '{own}' is not usable here ({state.reason}); checking with '{other}'")
    return other


def check(record: VerificationRecord, remedy: str = "") -> None:
    """Raise when an artifact missed its tolerance; ``remedy`` says what would not miss it.

    Raises:
        VerificationError: with the numbers.
    """
    remedy = f"{remedy}, or " if remedy else ""
    if record.not_finite:
        remedy = f"{record.not_finite} values are NaN or infinite; {remedy}"
    if record.kind == "box" and not record.passed:
        masks = f", mask IoU mean {record.mask_iou_mean:.4f}" if record.mask_iou_mean else ""
        raise VerificationError(
            f"the artifact does not match the torch reference: box IoU mean "
            f"{record.box_iou_mean:.4f}{masks} (expected {record.tolerance:g} or more); {remedy}"
            "pass verify=warn to keep it anyway."
        )
    if not record.passed:
        raise VerificationError(
            f"the artifact does not match the torch reference: mask IoU mean "
            f"{record.mask_iou_mean:.4f} (expected {record.tolerance:g} or more), 5th percentile "
            f"{record.mask_iou_p5:.4f}, embedding cosine {record.embedding_cosine:.6f}; {remedy}"
            "pass verify=warn to keep it anyway."
        )
