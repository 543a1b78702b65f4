"""What a file for Rockchip's NPUs is for, and which tensors it has, in a JSON file beside it: the
library on the board does not tell."""

from __future__ import annotations

from pathlib import Path

import msgspec

from samdeploy.bundle_files import sidecar_path
from samdeploy.errors import BundleError
from samdeploy.json_files import UnreadableError, decode_json, encode_json, read_regular
from samdeploy.session import TensorSpec

#: Chips that the toolkit builds for and that have memory enough.
CHIPS = ("rk3562", "rk3566", "rk3568", "rk3576", "rk3588")

_LONGEST = 1 << 16  # bytes


class Tensor(msgspec.Struct, frozen=True):
    name: str
    shape: tuple[int, ...]

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec(self.name, self.shape)


class Record(msgspec.Struct, frozen=True):
    chip: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def write_record(rknn: Path, record: Record) -> None:
    sidecar_path(rknn).write_bytes(encode_json(record))


def read_record(rknn: Path) -> Record:
    """Raises :class:`BundleError` when it is missing or not one."""
    path = sidecar_path(rknn)
    try:
        return decode_json(read_regular(path, _LONGEST), Record)
    except UnreadableError as error:
        raise BundleError(
            f"'{path}' does not say what '{rknn.name}' was built for ({error}); export the bundle "
            "again."
        ) from error
