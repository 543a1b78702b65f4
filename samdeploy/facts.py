"""What ``info`` says of an opened model of any family."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from samdeploy.bundle import Bundle, Manifest
from samdeploy.graphs import ENCODER
from samdeploy.layouts import read_record
from samdeploy.session import Session
from samdeploy.table import format_table, plain


class Opened(Protocol):
    """A model as every family opens it; ``precision`` is the arithmetic that it computes in."""

    @property
    def source(self) -> Path: ...
    @property
    def runtime(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def bundle(self) -> Bundle | None: ...


def model_facts(opened: Opened, sessions: Mapping[str, Session], **own: Any) -> dict[str, Any]:
    """Plain values: what a model is, what runs it, its family's ``own`` facts, and its bundle's."""
    return {
        "source": str(opened.source),
        "runtime": opened.runtime,
        "device": opened.device,
        "providers": {role: session.provider for role, session in sessions.items()},
        "arithmetic": opened.precision,
        **own,
        **_of_bundle(opened.bundle, opened.precision),
    }


def layout_facts(folder: Path) -> dict[str, Any]:
    """What was written for another tool, and how far its masks are from torch's.

    Raises:
        BundleError: its record cannot be read.
    """
    record = read_record(folder)
    return {
        "source": str(folder),
        "layout": record.layout,
        "for": record.tool,
        "architecture": record.architecture,
        "image_size": record.image_size,
        "format": record.format,
        "precision": record.precision,
        "files": [file.path for file in record.files],
        "bytes": sum(file.bytes for file in record.files),
        "checkpoint": record.source.name,
        "licence": record.source.licence,
        "verified": record.verification.passed,
        "verification": record.verification.sentence,
        "verification_of_the_graphs": record.graphs.sentence,
    }


def show(facts: Mapping[str, Any]) -> None:
    """Print one line a fact."""
    print(format_table([], [[name, plain(value)] for name, value in facts.items()]))


def _of_bundle(bundle: Bundle | None, arithmetic: str) -> dict[str, Any]:
    """What the manifest says, and whether a model that computes in ``arithmetic`` was verified;
    empty without a bundle."""
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
        **_of_verification(manifest, arithmetic),
    }


def _of_verification(manifest: Manifest, arithmetic: str) -> dict[str, Any]:
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
