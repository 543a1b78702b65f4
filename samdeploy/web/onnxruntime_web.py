"""ONNX Runtime's files for browsers: from a folder, from an archive, or from npm.

They come with the npm package ``onnxruntime-web`` and are several times as large as everything
else here, so they are not in the wheel. One version is known by hash, and no other is taken: what
is put on a site runs in its visitors' browsers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from samdeploy.bundle_files import sha256
from samdeploy.errors import InputError
from samdeploy.text import as_utf8, reason

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
#: Of ``dist`` in the package, what the page loads: one script and one library for each way to
#: compute, with the SHA-256 of each.
FILES = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": (
        "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
    ),
    "ort-wasm-simd-threaded.wasm": (
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
    ),
    "ort.webgpu.min.mjs": "3dffff71811bc13a3a3d9591c57ca5ee5735b8f5f3eaf789510b02bb040ae3a0",
    "ort-wasm-simd-threaded.asyncify.mjs": (
        "3d1c85995364bb643302fc6fd877a0c3ba5ae72401815e0f24828a53d9191e28"
    ),
    "ort-wasm-simd-threaded.asyncify.wasm": (
        "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da"
    ),
}
#: Bytes of a file; the largest is a library of some 25 million.
_LARGEST = 1 << 27
_NPM_SECONDS = 600


@contextmanager
def runtime_files(source: str | None) -> Iterator[dict[str, Path]]:
    """The files by name, each as it was published; they are there until the block ends.

    Args:
        source: the unpacked package, its ``dist``, or the archive that ``npm pack`` makes; without
            one npm is asked.

    Raises:
        InputError: they cannot be had, or one of them is another file.
    """
    with tempfile.TemporaryDirectory(prefix="samdeploy-web-") as temporary:
        own = Path(temporary)
        given = Path(source) if source is not None else _pack(own)
        if given.is_dir():
            folder = given / "dist" if (given / "dist").is_dir() else given
        elif given.is_file():
            folder = own / "dist"
            folder.mkdir()
            _unpack(given, folder)
        else:
            raise InputError(
                f"runtime={as_utf8(given)} does not exist; expected the package "
                f"{PACKAGE}@{VERSION}, as a folder or as the .tgz of 'npm pack'."
            )
        yield {name: _checked(folder / name, given) for name in FILES}


def _checked(path: Path, given: Path) -> Path:
    expected = f"expected {PACKAGE} {VERSION}: 'npm pack {PACKAGE}@{VERSION}' brings it"
    if not path.is_file():
        raise InputError(f"'{as_utf8(given)}' has no '{path.name}'; {expected}.")
    if sha256(path) != FILES[path.name]:
        raise InputError(f"'{path.name}' in '{as_utf8(given)}' is another file; {expected}.")
    return path


def _pack(folder: Path) -> Path:
    """The archive of the package, fetched by npm into ``folder``."""
    wanted = f"{PACKAGE}@{VERSION}"
    elsewhere = (
        f"where there is a network, run 'npm pack {wanted}' and pass the file that it writes as "
        "runtime=FILE"
    )
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(f"{PACKAGE} is needed and npm is not installed; {elsewhere}.")
    command = [npm, "pack", wanted, "--silent", "--pack-destination", os.fspath(folder)]
    try:
        subprocess.run(
            command, cwd=folder, check=True, capture_output=True, text=True, timeout=_NPM_SECONDS
        )
        return next(folder.glob("*.tgz"))
    except (OSError, subprocess.SubprocessError, StopIteration) as error:
        said = (getattr(error, "stderr", None) or "").strip().splitlines()
        why = said[-1] if said else reason(error)
        raise InputError(f"npm could not fetch {wanted} ({why}); {elsewhere}.") from error


def _unpack(archive: Path, folder: Path) -> None:
    """Write the files that are needed, and no other, from ``archive`` into ``folder``."""
    try:
        with tarfile.open(archive) as packed:
            for member in packed:
                path, _, name = member.name.rpartition("/")
                if path == "package/dist" and name in FILES and member.isreg():
                    if member.size > _LARGEST:
                        raise tarfile.TarError(f"'{name}' of {member.size} bytes")
                    content = packed.extractfile(member)
                    assert content is not None  # it is a regular file
                    with content, (folder / name).open("wb") as file:
                        shutil.copyfileobj(content, file)
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(
            f"'{as_utf8(archive)}' cannot be unpacked ({reason(error)}); expected the .tgz of 'npm "
            f"pack {PACKAGE}@{VERSION}'."
        ) from error
