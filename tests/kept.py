"""What takes long to make, kept from one run of the tests to the next, until a source changes."""

from __future__ import annotations

import hashlib
import shutil
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from samdeploy.processor import cpu_flags, cpu_name

#: A folder that other sources made goes after so many seconds; a run may still use it before.
_OLD = 24 * 3600.0
_SOURCES = ("samdeploy", "exporters", "runtimes", "tests/golden")
_SUFFIXES = frozenset({".py", ".pt", ".safetensors", ".json"})


def kept_folder(root: Path) -> Path:
    """A folder in ``root / build`` for these sources, installed versions and processor."""
    parent = root / "build" / "tests"
    folder = parent / _digest(root)
    folder.mkdir(parents=True, exist_ok=True)
    for other in parent.iterdir():
        with suppress(FileNotFoundError):  # another process of this run removes them too
            if other != folder and time.time() - other.stat().st_mtime > _OLD:
                shutil.rmtree(other, ignore_errors=True)
    return folder


def _digest(root: Path) -> str:
    digest = hashlib.sha256()
    installed = sorted((d.name, d.version) for d in metadata.distributions())
    digest.update(repr((installed, cpu_name(), cpu_flags())).encode())
    files = (path for name in _SOURCES for path in (root / name).rglob("*"))
    for path in sorted(path for path in files if path.suffix in _SUFFIXES and path.is_file()):
        if "node_modules" not in path.parts:
            digest.update(str(path.relative_to(root)).encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
