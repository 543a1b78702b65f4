"""A bundle: a folder of graphs and the manifest that says exactly what they are.

``bundle.json`` names every file with its size and SHA-256, the architecture, where the weights
came from, how the graphs were built and how far they are from the torch reference. Opening a
bundle checks all of it; nothing is inferred from a file name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta

from samdeploy.bundle_files import bytes_of, check_file, check_references, sha256
from samdeploy.contracts import Specs
from samdeploy.errors import BundleError, InputError
from samdeploy.families import family_named
from samdeploy.files import UNFINISHED, atomic_path
from samdeploy.folders import put_back, replaced_folder
from samdeploy.golden import Golden
from samdeploy.graphs import KERNELS_FILE, PROMPTS_FILE
from samdeploy.host_prompts import as_asked
from samdeploy.json_files import (
    UnreadableError,
    check_version,
    decode_json,
    encode_json,
    read_regular,
)
from samdeploy.precision import FP32, arithmetic_name
from samdeploy.preprocess import Preprocess
from samdeploy.schemes import scheme_named, schemes
from samdeploy.session import MOST_IMGSZ, TensorSpec
from samdeploy.tuning import TUNING, TUNING_PAGE

SCHEMA_VERSION = 1
MANIFEST = "bundle.json"
#: Bytes; one of TensorRT, which lists layers and profiles, has some ten thousand.
_LONGEST_MANIFEST = 4 << 20

#: Text without control characters, as it may be shown on a terminal.
_SHOWN = r"^[^\x00-\x1f\x7f-\x9f]*\Z"
_Line: TypeAlias = Annotated[str, Meta(max_length=1024, pattern=_SHOWN)]
_Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, pattern=_SHOWN)]
_Digest: TypeAlias = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Path: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f:]+\Z")]
#: A file may claim any size without taking it; reading it would have no end.
_Bytes: TypeAlias = Annotated[int, Meta(ge=0, le=1 << 36)]
_Side: TypeAlias = Annotated[int, Meta(ge=1, lt=1 << 31)]
_Dimension: TypeAlias = _Side | _Name


class TensorRecord(msgspec.Struct, frozen=True):
    name: _Name
    shape: Annotated[tuple[_Dimension, ...], Meta(max_length=8)]
    dtype: _Name

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec(self.name, self.shape, self.dtype)


class FileRecord(msgspec.Struct, frozen=True):
    """``path`` is relative to the bundle, with forward slashes."""

    path: _Path
    bytes: _Bytes
    sha256: _Digest


_Tensors: TypeAlias = Annotated[tuple[TensorRecord, ...], Meta(min_length=1, max_length=16)]
_Files: TypeAlias = Annotated[tuple[FileRecord, ...], Meta(min_length=1, max_length=256)]


class GraphRecord(msgspec.Struct, frozen=True):
    """``files``: the artifact to open first, then its side files."""

    role: _Name
    files: _Files
    inputs: _Tensors
    outputs: _Tensors
    options: dict[str, Any] = {}


class SourceRecord(msgspec.Struct, frozen=True):
    """The checkpoint that the graphs were made from."""

    name: _Line
    sha256: _Digest
    licence: _Line
    url: _Line = ""


class VerificationRecord(msgspec.Struct, frozen=True):
    """Distance from the torch reference; see :mod:`samdeploy.exporting.verify` for the inputs used.

    ``whole_image_kept`` of the reference's ``whole_image_masks`` were found again.
    ``arithmetic`` is what the graphs computed in, see :mod:`samdeploy.precision`.
    ``not_finite`` values of the outputs were NaN or infinite; the metrics are of the others.
    ``mode`` is ``error``, ``warn``, ``off``, ``simulated`` where a simulator of the device ran
    instead of it, or ``not run`` with the reason in ``note`` when no runtime for the format works
    on the machine of the export.
    """

    passed: bool
    mode: str
    note: str = ""
    images: int = 0
    prompts: int = 0
    seed: int = 0
    embedding_cosine: float = 0.0
    embedding_max_error: float = 0.0
    logits_max_error: float = 0.0
    iou_prediction_max_error: float = 0.0
    mask_iou_mean: float = 0.0
    mask_iou_min: float = 0.0
    mask_iou_p5: float = 0.0
    whole_image_masks: int = 0
    whole_image_kept: int = 0
    tolerance: float = 0.0
    provider: str = ""
    detections: int = 0
    box_iou_mean: float = 0.0
    box_iou_min: float = 0.0
    score_max_error: float = 0.0
    arithmetic: str = FP32
    not_finite: int = 0

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "arithmetic", arithmetic_name(self.arithmetic))

    @property
    def ran(self) -> bool:
        """Whether anything was measured."""
        return self.mode not in ("off", "not run")

    @property
    def kind(self) -> str:
        """Kind of the overlaps: ``box`` or ``mask``."""
        return "box" if self.detections else "mask"

    @property
    def iou_mean(self) -> float:
        """Mean overlap with the reference's."""
        return self.box_iou_mean if self.detections else self.mask_iou_mean

    @property
    def verdict(self) -> str:
        return "passed" if self.passed else "MISSED"

    @property
    def sentence(self) -> str:
        """The result in one line."""
        if self.mode == "off":
            return "not verified (verify=off)"
        if not self.ran:
            return f"not verified: {self.note}"
        mean = f"mean {self.kind} IoU {self.iou_mean:.4f}"
        where = ", simulated" if self.mode == "simulated" else ""
        return f"{self.verdict}{where}, {mean} (at least {self.tolerance:g})"


class Manifest(msgspec.Struct, frozen=True):
    """``verification`` is of the artifacts themselves, in fp32; ``further_verifications`` are of
    the same artifacts in other arithmetic, one each. ``preprocess`` is how an image becomes encoder
    input, where it is not what every bundle of the family once had. ``golden`` is an answer to
    prove a device with. ``kernels`` and ``prompts`` are the weights for
    :mod:`samdeploy.runtimes.native` and :mod:`samdeploy.host_prompts`."""

    schema_version: Annotated[int, Meta(ge=1)]
    architecture: _Line
    image_size: Annotated[int, Meta(ge=1, le=MOST_IMGSZ)]
    embedding_channels: Annotated[int, Meta(ge=0, le=1 << 16)]
    format: _Name
    runtime: _Name
    precision: _Name
    graphs: Annotated[tuple[GraphRecord, ...], Meta(min_length=1, max_length=16)]
    source: SourceRecord
    config: dict[str, Any]
    options: dict[str, Any]
    tools: dict[str, str]
    verification: VerificationRecord
    created: _Line
    whole_image: dict[str, Any] = {}
    family: _Name = "sam"
    further_verifications: Annotated[tuple[VerificationRecord, ...], Meta(max_length=16)] = ()
    preprocess: Preprocess | None = None
    golden: Golden | None = None
    kernels: FileRecord | None = None
    prompts: FileRecord | None = None

    @property
    def files(self) -> tuple[FileRecord, ...]:
        """All of them but the manifest itself."""
        graphs = tuple(record for graph in self.graphs for record in graph.files)
        return (*graphs, *filter(None, self.side_files.values()))

    @property
    def side_files(self) -> dict[str, FileRecord | None]:
        """Those that no graph has for itself, by the name that each is found by."""
        return {KERNELS_FILE: self.kernels, PROMPTS_FILE: self.prompts}

    @property
    def verifications(self) -> dict[str, VerificationRecord]:
        """All of them, by arithmetic."""
        records = (self.verification, *self.further_verifications)
        return {record.arithmetic: record for record in records}

    def with_verification(self, record: VerificationRecord) -> Manifest:
        """A manifest with ``record`` instead of the one of the same arithmetic."""
        if record.arithmetic == FP32:
            return msgspec.structs.replace(self, verification=record)
        others = [
            other for other in self.further_verifications if other.arithmetic != record.arithmetic
        ]
        return msgspec.structs.replace(self, further_verifications=(*others, record))


class Bundle:
    """An opened bundle: its ``folder`` and ``manifest``."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    @classmethod
    def open(cls, folder: str | Path, *, check_hashes: bool = True) -> Bundle:
        """Read and check a bundle.

        Raises:
            BundleError: no manifest, an unreadable or newer one, a path that leaves the folder, or
                a file that is missing or changed.
        """
        folder = Path(folder)
        put_back(folder)
        manifest = read_manifest(folder)
        contract = family_named(manifest.family, folder).contract
        _check_roles(folder, manifest, contract.graphs)
        bundle = cls(folder, manifest)
        sizes = manifest.image_size, manifest.embedding_channels
        contract.check_bundle(bundle.specs(), *sizes, folder)
        for record in manifest.files:
            check_file(folder, record.path, record.bytes, record.sha256 if check_hashes else None)
        check_references(folder, [record.path for record in manifest.files])
        return bundle

    def specs(self) -> dict[str, Specs]:
        """Inputs and outputs of the graphs as their callers know them, by role."""
        return {
            graph.role: (
                as_asked(tuple(tensor.spec for tensor in graph.inputs)),
                tuple(tensor.spec for tensor in graph.outputs),
            )
            for graph in self.manifest.graphs
        }

    def graphs(self) -> dict[str, Path]:
        """The artifact to open, by role."""
        return {graph.role: self.folder / graph.files[0].path for graph in self.manifest.graphs}

    @property
    def bytes(self) -> int:
        """Size of all files but the manifest."""
        return sum(record.bytes for record in self.manifest.files)


def is_bundle(model: str | Path) -> bool:
    """Whether it is a folder, or was one before a process was killed that replaced it.

    Raises:
        InputError: it is one of the files of a bundle.
    """
    path = Path(model)
    put_back(path)
    if os.path.isfile(path.parent / MANIFEST):  # noqa: PTH113 - Path raises for some names
        with suppress(BundleError):  # what lies beside is no concern then
            if any(file.path == path.name for file in read_manifest(path.parent).files):
                raise InputError(
                    f"'{model}' is a part of the bundle '{path.parent}'; pass the bundle's folder."
                )
    return os.path.isdir(model)  # noqa: PTH112 - Path raises for names that are too long


def read_manifest(folder: Path) -> Manifest:
    """The manifest alone, whose graphs are not looked at.

    Raises:
        BundleError: there is none, or it is unreadable, out of its limits or newer.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"'{folder}' is not a bundle: it has no readable {MANIFEST}; make one with "
            "'samdeploy export'."
        )
    try:
        return _decode(path, read_regular(path, _LONGEST_MANIFEST))
    except UnreadableError as error:
        raise BundleError(
            f"'{path}' is not a valid manifest ({error}); export the bundle again."
        ) from error


def _decode(path: Path, content: bytes) -> Manifest:
    check_version(path, content, SCHEMA_VERSION, BundleError, " or export the bundle again")
    return decode_json(content, Manifest)


def _check_roles(folder: Path, manifest: Manifest, lines: tuple[tuple[str, ...], ...]) -> None:
    for name, record in manifest.side_files.items():
        # It is found by its name, so one that nobody vouches for must not lie there.
        if record is None and os.path.lexists(folder / name):
            raise BundleError(
                f"bundle '{folder}' holds a {name} that its {MANIFEST} does not list; remove it or "
                "export the bundle again."
            )
        if record is not None and record.path != name:
            raise BundleError(
                f"bundle '{folder}' has '{record.path}' where {name} is expected; export it again."
            )
    if scheme_named(manifest.precision) is None:
        raise BundleError(
            f"bundle '{folder}' has precision '{manifest.precision}', this samdeploy knows "
            f"{', '.join(schemes())}; upgrade samdeploy or export the bundle again."
        )
    roles = [graph.role for graph in manifest.graphs]
    missing = [[role for role in wanted if role not in roles] for wanted in lines]
    if all(missing):
        raise BundleError(f"bundle '{folder}' has no {missing[0][0]} graph; export it again.")
    if sorted(roles) not in [sorted(line) for line in lines]:
        raise BundleError(
            f"bundle '{folder}' has the graphs {', '.join(roles)}; expected "
            f"{' or '.join(', '.join(line) for line in lines)}, each once: export it again."
        )


def file_record(folder: Path, relative: Path) -> FileRecord:
    path = folder / relative
    return FileRecord(relative.as_posix(), bytes_of(path), sha256(path))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it, if it can be read again.

    Raises:
        BundleError: it could not be; an earlier one stays.
    """
    path = folder / MANIFEST
    try:
        encoded = encode_json(manifest)
        _decode(path, encoded)
    except (ValueError, UnreadableError) as error:
        raise BundleError(
            f"the manifest of the bundle could not be read again ({error}); check the weights and "
            "the name of the checkpoint."
        ) from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded)


def new_bundle(folder: Path) -> AbstractContextManager[Path]:
    """An empty folder that becomes the bundle ``folder`` when the block ends without error; see
    :func:`replaced_folder`. An earlier bundle is replaced, and nothing else.

    Raises:
        InputError: ``folder`` is something else than a bundle, or holds what is no part of it.
        OutputError: it cannot be written to, or the disk is full.
    """
    return replaced_folder(folder, _check_replaceable)


def _check_replaceable(folder: Path) -> None:
    if is_free(folder):
        return
    try:
        manifest = read_manifest(folder)
    except BundleError as error:
        raise InputError(
            f"'{folder}' exists and is not a bundle; choose another output or remove it."
        ) from error
    check_nothing_foreign(folder, manifest.files, (MANIFEST, TUNING, TUNING_PAGE))


def is_free(folder: Path) -> bool:
    """Whether nothing is there, or an empty folder."""
    return not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir()))


def check_nothing_foreign(
    folder: Path, records: Iterable[FileRecord], own: tuple[str, ...]
) -> None:
    """Raise :class:`InputError` where ``folder`` holds more than the files of ``records`` and
    those called as in ``own``, of which the first lists the others."""
    foreign = next(_foreign(folder, folder, {each.path: each.bytes for each in records}, own), None)
    if foreign is not None:
        raise InputError(
            f"'{folder}' holds '{foreign}', which its {own[0]} does not list; move it elsewhere "
            "or choose another output."
        )


def _foreign(
    root: Path, folder: Path, ours: Mapping[str, int], own: tuple[str, ...]
) -> Iterator[str]:
    """Names in ``folder`` that are no part of ``root``, whose files have ``ours`` bytes."""
    for path in sorted(folder.iterdir()):
        name = path.relative_to(root).as_posix()
        plain = path.is_dir() and not path.is_symlink()
        listed = name in ours and (not plain or bytes_of(path) == ours[name])
        if listed or name in own or name.startswith(UNFINISHED):
            continue
        if name not in ours and plain and any(path.iterdir()):
            yield from _foreign(root, path, ours, own)
        else:
            yield name
