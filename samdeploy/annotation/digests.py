"""Digests: 32 characters that tell one content from another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

_BYTES = 16
_CHUNK = 1 << 20


def digest_of(parts: Iterable[bytes]) -> str:
    """Digest of the parts in a row."""
    digest = hashlib.blake2b(digest_size=_BYTES)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Digest of a file's content; raises :class:`OSError`."""
    with path.open("rb") as file:
        return digest_of(iter(lambda: file.read(_CHUNK), b""))
