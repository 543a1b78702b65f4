"""The manifest's record of an export: where it comes from, what made it, what it consists of."""

from __future__ import annotations

import datetime
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from samdeploy.bundle import (
    SCHEMA_VERSION,
    FileRecord,
    GraphRecord,
    Manifest,
    SourceRecord,
    TensorRecord,
    file_record,
)
from samdeploy.checkpoints import KNOWN, TINY
from samdeploy.exporting.int8_repair import Attempt
from samdeploy.graphs import KERNELS_FILE, PROMPTS_FILE
from samdeploy.options import options_of
from samdeploy.session import Exporter, TensorSpec

if TYPE_CHECKING:
    from samdeploy.models.loaded import ModelFacts

#: Distributions whose versions are recorded, beside those that the exporter and the model's family
#: name.
_TOOLS = ("samdeploy", "torch", "numpy")


def source_record(model: str | Path, checkpoint: Path, digest: str, licence: str) -> SourceRecord:
    """The manifest's entry for the ``checkpoint`` that was asked for as ``model``."""
    for known in KNOWN.values():
        if digest == known.sha256:
            return SourceRecord(known.name, digest, known.licence, known.url)
    own = "Apache-2.0" if str(model) == TINY else "unknown"
    return SourceRecord(checkpoint.name, digest, licence or own)


def artifact_metadata(facts: ModelFacts, source: SourceRecord) -> dict[str, str]:
    """Facts that are written into the artifacts themselves."""
    return {
        **facts.metadata,
        "version": _version("samdeploy"),
        "architecture": facts.architecture,
        "image_size": str(facts.image_size),
        "source": source.name,
        "source_sha256": source.sha256,
        "licence": source.licence,
    }


def manifest_of(folder: Path, exporter: type[Exporter], attempt: Attempt) -> Manifest:
    """The manifest of what ``exporter`` wrote into ``folder``."""
    facts, options = attempt.facts, attempt.options
    tools = (*_TOOLS, *facts.tools, *exporter.tools)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        family=facts.family,
        architecture=facts.architecture,
        image_size=facts.image_size,
        embedding_channels=facts.embedding_channels,
        format=exporter.name,
        runtime=exporter.runtimes[0],
        precision=options.precision,
        graphs=tuple(
            GraphRecord(
                graph.role,
                tuple(file_record(folder, path) for path in graph.files),
                _tensors(graph.inputs),
                _tensors(graph.outputs),
                dict(graph.options),
            )
            for graph in attempt.graphs
        ),
        source=attempt.source,
        config=facts.config,
        options={name: getattr(options, name) for name in sorted(options_of(type(options)))},
        tools={
            "python": platform.python_version(),
            **{name: found for name in tools if (found := _version(name))},
        },
        verification=attempt.record,
        further_verifications=attempt.further,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        whole_image=facts.whole_image,
        preprocess=facts.preprocess,
        golden=facts.golden,
        kernels=_side_file(folder, KERNELS_FILE),
        prompts=_side_file(folder, PROMPTS_FILE),
    )


def _side_file(folder: Path, name: str) -> FileRecord | None:
    return file_record(folder, Path(name)) if (folder / name).exists() else None


def _tensors(specs: tuple[TensorSpec, ...]) -> tuple[TensorRecord, ...]:
    return tuple(TensorRecord(spec.name, spec.shape, spec.dtype) for spec in specs)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
