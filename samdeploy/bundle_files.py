"""The files of a bundle: what they must be, their hashes, and what else a library reads for them.

A library that opens a graph reads more than the file that it is given: weights beside it, which the
graph names or which are found by their name. All of it has to be in the manifest.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from samdeploy.errors import BundleError
from samdeploy.fixed_shapes import variant_paths
from samdeploy.onnx_file import external_files
from samdeploy.sidecars import sidecar_path

_CHUNK = 1 << 20


def check_file(folder: Path, name: str, size: int, digest: str | None) -> None:
    """Check a file of a bundle, or a folder (``.mlpackage``) with all that is in it.

    Args:
        name: relative to ``folder``, with forward slashes.
        size, digest: bytes and SHA-256 that it must have; ``None`` is not compared.

    Raises:
        BundleError: it is missing, not as recorded, or reaches out of the bundle.
    """
    relative = PurePosixPath(name)
    path = folder / name
    inside = not relative.is_absolute() and ".." not in relative.parts and "\\" not in name
    if not inside or Path(os.path.realpath(path)) != Path(os.path.realpath(folder)) / name:
        raise BundleError(
            f"bundle '{folder}' names '{name}', which is a link or outside its folder; do not use "
            "it."
        )
    if not os.path.lexists(path):
        raise BundleError(f"bundle '{folder}' lacks '{name}'; export or copy it again.")
    try:
        found = bytes_of(path)
        if found != size:
            raise BundleError(
                f"'{path}' has {found} bytes, the manifest says {size}; export or copy the bundle "
                "again."
            )
        same = digest is None or sha256(path) == digest
        # Folders were hashed in another way once.
        same = same or (path.is_dir() and _joined_sha256(path) == digest)
    except OSError as error:
        raise BundleError(f"'{path}' cannot be read ({error.strerror}); check the path.") from error
    if not same:
        raise BundleError(
            f"'{path}' was changed: its SHA-256 is not the manifest's; export or copy the bundle "
            "again."
        )


def check_references(folder: Path, names: Collection[str]) -> None:
    """Check that the files ``names`` of a bundle make a library read none but these.

    Raises:
        BundleError: one does; it is named.
    """
    listed = {folder / name for name in names}
    for path in sorted(listed):
        beside = _BESIDE.get(path.suffix)
        for other in beside(path) if beside else ():
            if other not in listed:
                raise BundleError(
                    f"'{path}' makes a library read '{other.name}', which the manifest of the "
                    "bundle does not list; do not use it, or export it again."
                )


def _nothing_but_xml(graph: Path) -> Iterable[Path]:
    """OpenVINO goes by what a file holds, not by its name: another format could name files."""
    with graph.open("rb") as file:
        start = file.read(_CHUNK).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith(b"<"):
        raise BundleError(f"'{graph}' is not OpenVINO's XML; export or copy the bundle again.")
    return ()


def _external_weights(graph: Path) -> Iterator[Path]:
    for location in external_files(graph):
        yield graph.parent / location


_Beside: TypeAlias = Callable[[Path], Iterable[Path]]


def _if_there(other: Callable[[Path], Path]) -> _Beside:
    return lambda graph: (path for path in [other(graph)] if os.path.lexists(path))


def _all(*each: _Beside) -> _Beside:
    return lambda graph: (path for beside in each for path in beside(graph))


#: By suffix of a graph, what else is read when it is opened.
_BESIDE: Mapping[str, _Beside] = {
    ".onnx": _all(_external_weights, variant_paths),
    ".xml": _all(
        _nothing_but_xml, _if_there(lambda graph: graph.with_suffix(".bin")), variant_paths
    ),
    ".engine": _if_there(sidecar_path),
    ".mlpackage": variant_paths,
    ".pte": variant_paths,
    ".tflite": variant_paths,
    ".qnn": _all(_external_weights, variant_paths),
    ".rknn": _all(
        _if_there(sidecar_path), _if_there(lambda graph: graph.with_suffix(".onnx")), variant_paths
    ),
    ".mnn": _if_there(lambda graph: graph.with_name(f"{graph.name}.weight")),
}


def bytes_of(path: Path) -> int:
    """Size of a file, or of all files in a folder."""
    return sum(file.lstat().st_size for _, file in _files(path))


def sha256(path: Path) -> str:
    """Hex digest of a file; of a folder, that of the relative names and contents of its files, each
    after its length."""
    digest = hashlib.sha256()
    if path.is_dir():
        digest.update(b"\0")  # no file name begins so: never what _joined_sha256 hashes
    for name, file in sorted(_files(path)):
        if name:
            _update(digest, len(name).to_bytes(8, "big"), name)
            _update(digest, file.stat().st_size.to_bytes(8, "big"))
        _update_with_file(digest, file)
    return digest.hexdigest()


def _joined_sha256(folder: Path) -> str:
    """As it was once: the same without lengths, in the order of paths."""
    digest = hashlib.sha256()
    for name, file in _files(folder):
        _update(digest, name, b"\0")
        _update_with_file(digest, file)
    return digest.hexdigest()


def _files(path: Path) -> Iterator[tuple[bytes, Path]]:
    """A file without a name, or the files in a folder with their relative names.

    Raises:
        BundleError: something is neither a file nor a folder.
    """
    if not path.is_dir():
        if not stat.S_ISREG(path.stat().st_mode):
            raise BundleError(f"'{path}' is no regular file; export or copy the bundle again.")
        yield b"", path
        return
    for inner in sorted(path.rglob("*")):
        mode = inner.lstat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise BundleError(
                f"'{inner}' is a link or no regular file; export or copy the bundle again."
            )
        if stat.S_ISREG(mode):
            yield os.fsencode(inner.relative_to(path).as_posix()), inner


def _update(digest: hashlib._Hash, *parts: bytes) -> None:
    for part in parts:
        digest.update(part)


def _update_with_file(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
