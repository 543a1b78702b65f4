"""Choose the arithmetic of a model, and say where it was not verified in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from samdeploy.bundle import Bundle, Manifest
from samdeploy.graphs import ENCODER
from samdeploy.notices import notice
from samdeploy.precision import ARITHMETIC, FP32
from samdeploy.session import RuntimeOptions
from samdeploy.tuning import Tuning


def with_arithmetic(
    options: RuntimeOptions, bundle: Bundle | None, tuning: Tuning | None = None
) -> RuntimeOptions:
    """``options`` with a ``precision``: the one asked for; else, of those in which the bundle
    passed its verification, the one that it was tuned to, fp32, or the first; else fp32."""
    if options.precision is not None:
        return options
    tuned_to = [] if tuning is None else [tuning.chosen.arithmetic]
    passed = _passed(bundle)
    names = [name for name in (*tuned_to, FP32, *passed) if name in passed]
    return replace(options, precision=names[0] if names else FP32)


def notice_unless_verified(precision: str, bundle: Bundle | None) -> None:
    """Say so when ``bundle`` has not passed in ``precision``, which is not fp32."""
    passed = _passed(bundle)
    if bundle is None or precision in (FP32, *passed):
        return
    recorded = precision in bundle.manifest.verifications
    found = "misses its tolerance" if recorded else "was not verified"
    notice(
        "precision=%s; '%s' %s in it (it passed in %s), see what it costs with 'samdeploy verify "
        "precision=%s save=True'.",
        precision,
        bundle.folder,
        found,
        ", ".join(passed) or "none",
        precision,
    )


def bundle_facts(bundle: Bundle | None, arithmetic: str) -> dict[str, Any]:
    """For ``info`` of a model that computes in ``arithmetic``: what its manifest says, and whether
    that was verified; empty without a bundle."""
    if bundle is None:
        return {}
    manifest = bundle.manifest
    return {
        "architecture": manifest.architecture,
        "format": manifest.format,
        "precision": manifest.precision,
        "bytes": bundle.bytes,
        "checkpoint": manifest.source.name,
        "licence": manifest.source.licence,
        **_verification_facts(manifest, arithmetic),
    }


def _verification_facts(manifest: Manifest, arithmetic: str) -> dict[str, Any]:
    records = manifest.verifications
    running = records.get(arithmetic)
    mean = running.iou_mean if running is not None and running.ran else None
    encoded = any(graph.role == ENCODER for graph in manifest.graphs)
    kind = next((r.kind for r in records.values() if r.ran), "mask" if encoded else "box")
    return {
        "verified": running is not None and running.passed,
        f"{kind}_iou_against_torch": mean,
        "verifications": {name: record.sentence for name, record in records.items()},
    }


def _passed(bundle: Bundle | None) -> list[str]:
    records = {} if bundle is None else bundle.manifest.verifications
    return [name for name, record in records.items() if record.passed and name in ARITHMETIC]
