"""Checkpoints by name: where they come from and what they must hash to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from samdeploy.downloads import download, is_whole
from samdeploy.errors import DownloadError, InputError
from samdeploy.files import check_file
from samdeploy.notices import notice
from samdeploy.text import printable, suggestion

_META = "https://dl.fbaipublicfiles.com/segment_anything/"
_HQ = "https://huggingface.co/lkeab/hq-sam/resolve/main/"
_SAM2 = "https://dl.fbaipublicfiles.com/segment_anything_2/072824/"
_SAM2_1 = "https://dl.fbaipublicfiles.com/segment_anything_2/092824/"


@dataclass(frozen=True)
class Checkpoint:
    """A published file: ``name`` as users type it, ``url``, size, ``sha256`` and ``licence``.

    Where nobody has told us size and hash, they are 0 and empty: it is not downloaded.
    """

    name: str
    url: str
    bytes: int = 0
    sha256: str = ""
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
            375_042_383,
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        ),
        Checkpoint(
            "sam_l.pt",
            _META + "sam_vit_l_0b3195.pth",
            1_249_524_607,
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        ),
        Checkpoint(
            "sam_h.pt",
            _META + "sam_vit_h_4b8939.pth",
            2_564_550_879,
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        ),
        Checkpoint(
            "mobile_sam.pt",
            "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
            40_728_226,
            "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        ),
        Checkpoint(
            "sam2.1_t.pt",
            _SAM2_1 + "sam2.1_hiera_tiny.pt",
            156_008_466,
            "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
        ),
        Checkpoint(
            "sam2.1_s.pt",
            _SAM2_1 + "sam2.1_hiera_small.pt",
            184_416_285,
            "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
        ),
        Checkpoint(
            "sam2.1_b.pt",
            _SAM2_1 + "sam2.1_hiera_base_plus.pt",
            323_606_802,
            "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
        ),
        Checkpoint(
            "sam2.1_l.pt",
            _SAM2_1 + "sam2.1_hiera_large.pt",
            898_083_611,
            "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
        ),
        Checkpoint(
            "sam2_t.pt",
            _SAM2 + "sam2_hiera_tiny.pt",
            155_906_050,
            "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125",
        ),
        Checkpoint(
            "sam2_s.pt",
            _SAM2 + "sam2_hiera_small.pt",
            184_309_650,
            "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3",
        ),
        Checkpoint(
            "sam2_b.pt",
            _SAM2 + "sam2_hiera_base_plus.pt",
            323_493_298,
            "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
        ),
        Checkpoint(
            "sam2_l.pt",
            _SAM2 + "sam2_hiera_large.pt",
            897_952_466,
            "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b",
        ),
        Checkpoint(
            "repvit_sam.pt",
            "https://github.com/THU-MIG/RepViT/releases/download/v1.0/repvit_sam.pt",
        ),
        Checkpoint(
            "edgetam.pt",
            "https://raw.githubusercontent.com/facebookresearch/EdgeTAM/main/checkpoints/edgetam.pt",
        ),
        *(
            Checkpoint(f"sam_hq_vit_{size}.pth", f"{_HQ}sam_hq_vit_{size}.pth")
            for size in ("b", "l", "h", "tiny")
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
        InputError: neither a regular file nor a known name.
        DownloadError: it could not be fetched, or its content is not the published one.
    """
    path = Path(name)
    if _is_there(path):
        return check_file(path, "checkpoint")
    if str(name) == TINY and _TINY_PATH.is_file():
        return _TINY_PATH
    checkpoint = KNOWN.get(str(name)) or _BY_FILE_NAME.get(str(name))
    if checkpoint is None:
        names = [TINY, *KNOWN]
        hint = suggestion(path.name, names)
        raise InputError(
            f"model '{printable(name)}' is neither a file, a bundle nor a known name; {hint}"
        )
    return fetch(checkpoint)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # not reachable, or no name that can be
        return True


def cache_folder() -> Path:
    """Where downloads are kept.

    Raises:
        DownloadError: nothing says where.
    """
    given = os.environ.get("SAMDEPLOY_CACHE")
    try:
        return Path(given).expanduser() if given else Path.home() / ".cache" / "samdeploy"
    except RuntimeError as error:
        raise DownloadError(
            "there is no home folder to keep downloads in; set SAMDEPLOY_CACHE to a folder."
        ) from error


def fetch(checkpoint: Checkpoint) -> Path:
    """The cached file of ``checkpoint``, downloaded first when it is not there.

    Its hash is compared every time: a second for 400 MB, which loading takes many times over.

    Raises:
        DownloadError: it could not be fetched, or nothing tells what it must hash to.
    """
    if not checkpoint.sha256:
        raise DownloadError(
            f"'{checkpoint.name}' is published at {checkpoint.url}, whose SHA-256 samdeploy does "
            "not know, so it is not downloaded unseen; download it and pass its path."
        )
    target = cache_folder() / checkpoint.file_name
    if is_whole(target, checkpoint.bytes, checkpoint.sha256):
        return target
    if target.is_file():
        notice("'%s' is damaged (its size or SHA-256 differs) and is downloaded again", target)
    mirror = os.environ.get("SAMDEPLOY_MIRROR")
    url = f"{mirror.rstrip('/')}/{checkpoint.file_name}" if mirror else checkpoint.url
    try:
        download(url, target, checkpoint.bytes, checkpoint.sha256)
    except DownloadError as error:
        raise DownloadError(
            f"'{checkpoint.name}': {error}; or download {checkpoint.url} and put it at '{target}'."
        ) from error
    return target
