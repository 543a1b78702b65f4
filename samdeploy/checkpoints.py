"""Checkpoints by name: where they come from and what they must hash to."""

from __future__ import annotations

import difflib
import os
import sys
import tempfile
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from tqdm import tqdm

from samdeploy.bundle_files import sha256
from samdeploy.errors import DownloadError, InputError

_META = "https://dl.fbaipublicfiles.com/segment_anything/"
_TIMEOUT = 30.0
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Checkpoint:
    """A published file: ``name`` as users type it, ``url``, ``sha256`` and ``licence``."""

    name: str
    url: str
    sha256: str
    licence: str = "Apache-2.0"

    @property
    def file_name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


KNOWN = {
    checkpoint.name: checkpoint
    for checkpoint in (
        Checkpoint(
            "sam_b.pt",
            _META + "sam_vit_b_01ec64.pth",
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        ),
        Checkpoint(
            "sam_l.pt",
            _META + "sam_vit_l_0b3195.pth",
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        ),
        Checkpoint(
            "sam_h.pt",
            _META + "sam_vit_h_4b8939.pth",
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        ),
        Checkpoint(
            "mobile_sam.pt",
            "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
            "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        ),
    )
}

#: Ships inside the package.
TINY = "sam_tiny.pt"
_TINY_PATH = Path(__file__).parent / "assets" / TINY

_BY_FILE_NAME = {checkpoint.file_name: checkpoint for checkpoint in KNOWN.values()}


def resolve_checkpoint(name: str | Path) -> Path:
    """The file of a checkpoint: a local path, the shipped model, the cache, or a download.

    Environment: ``SAMDEPLOY_CACHE`` is the cache folder (default ``~/.cache/samdeploy``),
    ``SAMDEPLOY_MIRROR`` a base URL that serves the official file names.

    Raises:
        InputError: neither a file nor a known name.
        DownloadError: it could not be fetched, or its content is not the published one.
    """
    path = Path(name)
    if path.is_file():
        return path
    if str(name) == TINY and _TINY_PATH.is_file():
        return _TINY_PATH
    checkpoint = KNOWN.get(str(name)) or _BY_FILE_NAME.get(str(name))
    if checkpoint is None:
        names = [TINY, *KNOWN]
        close = difflib.get_close_matches(path.name, names, 1)
        hint = f"did you mean '{close[0]}'" if close else f"known names: {', '.join(names)}"
        raise InputError(f"model '{name}' is neither a file, a bundle nor a known name; {hint}.")
    return fetch(checkpoint)


def cache_folder() -> Path:
    return Path(os.environ.get("SAMDEPLOY_CACHE") or Path.home() / ".cache" / "samdeploy")


def fetch(checkpoint: Checkpoint) -> Path:
    """The cached file of ``checkpoint``, downloaded first when it is not there.

    A download goes to a partial file that the next try continues; it is renamed only when its hash
    is right, so a file under its final name is always whole.
    """
    target = cache_folder() / checkpoint.file_name
    if target.is_file():
        return target
    mirror = os.environ.get("SAMDEPLOY_MIRROR")
    url = f"{mirror.rstrip('/')}/{checkpoint.file_name}" if mirror else checkpoint.url
    partial = target.with_name(target.name + ".part")
    by_hand = f"download {checkpoint.url} and put it at '{target}'"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        mine = _claim(partial)
    except OSError as error:
        raise DownloadError(
            f"the cache '{target.parent}' cannot be written to ({error.strerror}); set "
            "SAMDEPLOY_CACHE to another folder."
        ) from error
    try:
        _download(url, mine, checkpoint.name)
    except (OSError, HTTPException, ValueError) as error:
        _give_back(mine, partial)
        # A URLError is about its reason; an HTTPError says its code only as a whole.
        http = isinstance(error, urllib.error.HTTPError)
        reason = error if http else getattr(error, "reason", error)
        raise DownloadError(
            f"'{checkpoint.name}' could not be downloaded from {url} ({reason}); {by_hand}."
        ) from error
    except BaseException:
        _give_back(mine, partial)
        raise
    if sha256(mine) != checkpoint.sha256:
        mine.unlink()
        raise DownloadError(
            f"'{checkpoint.name}' from {url} is not the published file (its SHA-256 differs) and "
            f"was deleted; {by_hand}."
        )
    mine.replace(target)
    return target


def _claim(partial: Path) -> Path:
    """A partial file of this process alone, holding what an earlier try left."""
    handle, name = tempfile.mkstemp(prefix=f".{partial.name}-", dir=partial.parent)
    os.close(handle)
    mine = Path(name)
    with suppress(FileNotFoundError):  # none there, or another process took it
        partial.replace(mine)
    return mine


def _give_back(mine: Path, partial: Path) -> None:
    """Leave what was fetched for the next try."""
    if mine.stat().st_size:
        mine.replace(partial)
    else:
        mine.unlink()


def _download(url: str, path: Path, name: str) -> None:
    """Append to ``path`` until it is complete; start anew where the server cannot continue.

    Raises ``OSError`` when the connection ends before the announced length.
    """
    have = path.stat().st_size
    request = urllib.request.Request(url, headers={"User-Agent": "samdeploy"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # nothing after what we have: complete, or not the same file
            return
        raise
    with response:
        continues = response.status == 206
        length = response.headers.get("Content-Length")
        start = have if continues else 0
        total = start + int(length) if length else None
        with (
            path.open("ab" if continues else "wb") as file,
            tqdm(
                total=total, initial=start, unit="B", unit_scale=True, desc=name,
                disable=not sys.stderr.isatty(),
            ) as bar,
        ):  # fmt: skip
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    size = path.stat().st_size
    if total is not None and size < total:
        raise OSError(f"the connection ended after {size} of {total} bytes")
