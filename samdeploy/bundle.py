"""A bundle: a folder of graphs and the manifest that says exactly what they are.

``bundle.json`` names every file with its size and SHA-256, the architecture, where the weights
came from, how the graphs were built and how far they are from the torch reference. Opening a
bundle checks all of it; nothing is inferred from a file name.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from samdeploy.errors import BundleError, InputError
from samdeploy.files import atomic_path
from samdeploy.graphs import FAMILIES

SCHEMA_VERSION = 1
MANIFEST = "bundle.json"


class TensorRecord(msgspec.Struct, frozen=True):
    name: str
    shape: tuple[int | str, ...]
    dtype: str


class FileRecord(msgspec.Struct, frozen=True):
    """``path`` is relative to the bundle, with forward slashes."""

    path: str
    bytes: int
    sha256: str


class GraphRecord(msgspec.Struct, frozen=True):
    """``files``: the artifact to open first, then its side files."""

    role: str
    files: tuple[FileRecord, ...]
    inputs: tuple[TensorRecord, ...]
    outputs: tuple[TensorRecord, ...]
    options: dict[str, Any] = {}


class SourceRecord(msgspec.Struct, frozen=True):
    """The checkpoint that the graphs were made from."""

    name: str
    sha256: str
    licence: str
    url: str = ""


class VerificationRecord(msgspec.Struct, frozen=True):
    """Distance from the torch reference; see :mod:`samdeploy.verify` for the inputs used.

    ``whole_image_kept`` of the reference's ``whole_image_masks`` were found again.
    ``mode`` is ``error``, ``warn``, ``off``, or ``not run`` with the reason in ``note`` when no
    runtime for the format works on the machine of the export.
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


class Manifest(msgspec.Struct, frozen=True):
    schema_version: int
    architecture: str
    image_size: int
    embedding_channels: int
    format: str
    runtime: str
    precision: str
    graphs: tuple[GraphRecord, ...]
    source: SourceRecord
    config: dict[str, Any]
    options: dict[str, Any]
    tools: dict[str, str]
    verification: VerificationRecord
    created: str
    whole_image: dict[str, Any] = {}
    family: str = "sam"


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
        manifest = read_manifest(folder)
        bundle = cls(folder, manifest)
        roles = [graph.role for graph in manifest.graphs]
        if manifest.family not in FAMILIES:
            raise BundleError(
                f"bundle '{folder}' holds a model of family '{manifest.family}', this samdeploy "
                f"knows {', '.join(FAMILIES)}; upgrade samdeploy."
            )
        missing = [
            [role for role in wanted if role not in roles] for wanted in FAMILIES[manifest.family]
        ]
        if all(missing):
            raise BundleError(f"bundle '{folder}' has no {missing[0][0]} graph; export it again.")
        for graph in manifest.graphs:
            for record in graph.files:
                _check_file(folder, record, check_hashes)
        return bundle

    def graphs(self) -> dict[str, Path]:
        """The artifact to open, by role."""
        return {graph.role: self.folder / graph.files[0].path for graph in self.manifest.graphs}

    @property
    def bytes(self) -> int:
        """Size of all files of the graphs."""
        return sum(record.bytes for graph in self.manifest.graphs for record in graph.files)


def read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"'{folder}' is not a bundle: it has no readable {MANIFEST}; make one with "
            "'samdeploy export'."
        ) from error
    try:
        version = msgspec.json.decode(content, type=_Version).schema_version
        if version > SCHEMA_VERSION:
            raise BundleError(
                f"'{path}' has schema version {version}, this samdeploy reads up to "
                f"{SCHEMA_VERSION}; upgrade samdeploy or export the bundle again."
            )
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise BundleError(
            f"'{path}' is not a valid manifest ({error}); export the bundle again."
        ) from error


class _Version(msgspec.Struct):
    schema_version: int


def _check_file(folder: Path, record: FileRecord, check_hash: bool) -> None:
    relative = PurePosixPath(record.path)
    inside = not relative.is_absolute() and ".." not in relative.parts and "\\" not in record.path
    path = folder / record.path
    if not inside or not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(
            f"bundle '{folder}' names '{record.path}', which is outside its folder; do not use it."
        )
    if not path.exists():
        raise BundleError(f"bundle '{folder}' lacks '{record.path}'; export or copy it again.")
    # A format may write a folder (.mlpackage) whose files are then listed one by one.
    if path.is_file() and path.stat().st_size != record.bytes:
        raise BundleError(
            f"'{path}' has {path.stat().st_size} bytes, the manifest says {record.bytes}; export "
            "or copy the bundle again."
        )
    if check_hash and sha256(path) != record.sha256:
        raise BundleError(
            f"'{path}' was changed: its SHA-256 is not the manifest's; export or copy the bundle "
            "again."
        )


def sha256(path: Path) -> str:
    """Hex digest of a file, or of the relative names and contents of a folder's files."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        if file != path:
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def file_record(folder: Path, relative: Path) -> FileRecord:
    path = folder / relative
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return FileRecord(relative.as_posix(), sum(file.stat().st_size for file in files), sha256(path))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    encoded = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    with atomic_path(folder / MANIFEST) as temporary:
        temporary.write_bytes(encoded)


@contextmanager
def new_bundle(folder: Path) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its name when the block ends without error.

    An earlier bundle of that name is replaced; anything else there is left alone.

    Raises:
        InputError: ``folder`` exists and is not a bundle, or its parent cannot be written to.
    """
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise InputError(
            f"'{folder}' exists and is not a bundle; choose another output or remove it."
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise InputError(
            f"'{folder.parent}' cannot be written to ({error.strerror}); choose another output."
        ) from error
    try:
        yield temporary
        temporary.chmod(0o755)
        _replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(new: Path, target: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    # A folder cannot be renamed over another: the old one steps aside first.
    old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
    target.rename(old / target.name)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
