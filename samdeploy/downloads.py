"""One file from a server: resumed, limited to what it must have, and checked before it is named."""

from __future__ import annotations

import errno
import re
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

from tqdm import tqdm

from samdeploy.bundle_files import sha256
from samdeploy.errors import DownloadError
from samdeploy.locks import locked

#: Seconds without a byte.
_TIMEOUT = 30.0
_CHUNK = 1 << 20
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)


def is_whole(path: Path, size: int, digest: str) -> bool:
    """Whether ``path`` is the file with that size and SHA-256."""
    return path.is_file() and path.stat().st_size == size and sha256(path) == digest


def download(url: str, target: Path, size: int, digest: str) -> None:
    """Bring ``target`` here, unless another process just did.

    What arrives goes to ``target`` with ``.part`` at its end, which the next try continues, however
    this one ends. It is renamed when it is whole.

    Args:
        size: bytes that the file has; more are not taken from the server.
        digest: its SHA-256.

    Raises:
        DownloadError: it could not be fetched, or what came is another file.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.with_name(f".{target.name}.lock")):
            if is_whole(target, size, digest):
                return
            try:
                _continue(url, part, size)
                if not is_whole(part, size, digest):
                    part.unlink()
                    raise DownloadError(
                        f"what came from {url} is not the published file (its SHA-256 differs) and "
                        "was deleted"
                    )
                part.replace(target)
            finally:
                with suppress(OSError):
                    if not part.stat().st_size:
                        part.unlink()
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (*_DISK, errno.ENOTDIR, errno.EEXIST):
            raise DownloadError(
                f"the cache '{target.parent}' cannot be written to ({error.strerror}); free space "
                "or set SAMDEPLOY_CACHE to another folder"
            ) from error
        # A URLError is about its reason; an HTTPError says its code only as a whole.
        http = isinstance(error, urllib.error.HTTPError)
        cause = error if http else getattr(error, "reason", error)
        text = " ".join(str(cause).split()) or type(cause).__name__
        raise DownloadError(f"it could not be downloaded from {url} ({text})") from error


def _continue(url: str, part: Path, size: int) -> None:
    """Append to ``part`` until it has ``size`` bytes.

    Raises ``OSError`` when the connection ends before, or the server offers another file.
    """
    with part.open("ab") as file:
        if file.tell() > size:
            file.truncate(0)
        if file.tell() < size:
            response, start = _open(url, file.tell())
            with response:
                _append(response, start, file, size)


def _append(response: Any, start: int, file: Any, size: int) -> None:
    have = file.tell()
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and start + int(length) != size:
        raise OSError(f"it has {start + int(length)} bytes there; expected {size}")
    with tqdm(
        total=size, initial=have, unit="B", unit_scale=True, desc=Path(file.name).stem,
        disable=not sys.stderr.isatty(),
    ) as bar:  # fmt: skip
        # Whatever is there is written at once: a read of a whole chunk that fails loses it.
        while file.tell() < size and (chunk := response.read1(_CHUNK)):
            new = chunk[max(0, have - start) :][: size - file.tell()]
            start += len(chunk)
            file.write(new)
            bar.update(len(new))
    if file.tell() < size:
        raise OSError(f"the connection ended after {file.tell()} of {size} bytes")


def _open(url: str, have: int) -> tuple[Any, int]:
    """An answer that holds the bytes after ``have``, and the number of its first byte.

    A server that cannot continue sends the whole file; what is here already is skipped.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "samdeploy"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:
            return _open(url, 0)
        raise
    if response.status != 206:
        return response, 0
    begins = re.match(r"bytes (\d{1,18})-", response.headers.get("Content-Range", ""))
    if begins and int(begins[1]) <= have:
        return response, int(begins[1])
    response.close()
    if not have:
        raise OSError("it answers with a part of the file that nobody asked for")
    return _open(url, 0)
