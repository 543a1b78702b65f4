"""A site: the built page, a bundle and ONNX Runtime, in one folder that any server can offer."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from samdeploy.bundle import (
    MANIFEST,
    Bundle,
    FileRecord,
    Manifest,
    check_nothing_foreign,
    file_record,
    is_bundle,
    is_free,
)
from samdeploy.errors import InputError
from samdeploy.folders import replaced_folder
from samdeploy.json_files import UnreadableError, decode_json, encode_json, read_regular
from samdeploy.web.onnxruntime_web import runtime_files
from samdeploy.web.page import page_folder

SITE = "site.json"
SCHEMA_VERSION = 1
FORMAT = "onnx"
#: Families whose graphs the page's package runs, and weights that ONNX Runtime's WASM library has
#: kernels for.
FAMILIES = ("sam", "sam_hq", "sam2")
PRECISIONS = ("fp32", "fp16", "int8", "int8_weights")
#: Ways to resize an image that it knows.
RESAMPLINGS = ("bilinear", "bicubic", "area")

_MODEL, _RUNTIME = "model", "onnxruntime"
_LONGEST = 1 << 20


class Site(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the page reads first: ``site.json``. Addresses are relative to the page.

    Attributes:
        name: of the model, for people.
        model, onnxruntime: where the bundle and ONNX Runtime's files are, if the browser may
            compute.
        server: where the routes of ``samdeploy serve`` begin, if there is a server that computes.
        files: all files of the site but this one, as ``samdeploy web`` wrote them.
    """

    schema_version: int
    name: str
    model: str = ""
    onnxruntime: str = ""
    server: str = ""
    files: tuple[FileRecord, ...] = ()


def write_site(model: str | Path, output: str | Path, *, runtime: str | None = None) -> Path:
    """Write the page with a model into a folder, in one step; an earlier site there is replaced.

    Args:
        model: folder of an ONNX bundle; every file of it is checked.
        runtime: where ONNX Runtime's files are, see :func:`runtime_files`.

    Returns:
        The folder.

    Raises:
        InputError: the page cannot run the model, ONNX Runtime's files cannot be had, or ``output``
            is something else than a site.
        BundleError: the bundle is damaged.
        OutputError: the folder cannot be written to, or the disk is full.
    """
    output = Path(output)
    if not is_bundle(model):
        raise InputError(
            f"model={model} is no bundle; make one with 'samdeploy export model={model} "
            f"format={FORMAT}' and pass its folder."
        )
    bundle = Bundle.open(model)
    _check_runs(bundle)
    with runtime_files(runtime) as libraries, replaced_folder(output, _check_replaceable) as folder:
        shutil.copytree(page_folder(), folder, dirs_exist_ok=True)
        for name, path in libraries.items():
            _copy(path, folder / _RUNTIME / name)
        for name in (MANIFEST, *(file.path for file in bundle.manifest.files)):
            _copy(bundle.folder / name, folder / _MODEL / name)
        paths = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
        site = Site(
            SCHEMA_VERSION,
            model_name(bundle.manifest),
            model=f"{_MODEL}/",
            onnxruntime=f"{_RUNTIME}/",
            files=tuple(file_record(folder, path) for path in paths),
        )
        (folder / SITE).write_bytes(encode_json(site))
    return output


def model_name(manifest: Manifest) -> str:
    """What the page calls the model of a bundle."""
    stem = Path(manifest.source.name).stem or manifest.architecture
    return stem if manifest.precision == "fp32" else f"{stem} {manifest.precision}"


def _check_runs(bundle: Bundle) -> None:
    manifest = bundle.manifest
    for what, value, known in (
        ("format", manifest.format, (FORMAT,)),
        ("family", manifest.family, FAMILIES),
        ("precision", manifest.precision, PRECISIONS),
    ):
        if value not in known:
            raise InputError(
                f"bundle '{bundle.folder}' has {what} {value}; the page runs "
                f"{', '.join(known)}: export the model so."
            )
    if any("prompts_and_points" in graph.options for graph in manifest.graphs):
        raise InputError(
            f"bundle '{bundle.folder}' has graphs of fixed shapes, which the page does not run; "
            "export the model without profile=npu."
        )
    steps = manifest.preprocess
    if steps is not None and steps.resampling not in RESAMPLINGS:
        raise InputError(
            f"bundle '{bundle.folder}' has resampling {steps.resampling}; the page resizes images "
            f"by {', '.join(RESAMPLINGS)}: let Python compute, with 'samdeploy serve "
            f"model={bundle.folder}'."
        )


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _check_replaceable(folder: Path) -> None:
    if is_free(folder):
        return
    try:
        site = decode_json(read_regular(folder / SITE, _LONGEST), Site)
    except UnreadableError as error:
        raise InputError(
            f"'{folder}' exists and is no site of 'samdeploy web'; choose another output or remove "
            "it."
        ) from error
    check_nothing_foreign(folder, site.files, (SITE,))
