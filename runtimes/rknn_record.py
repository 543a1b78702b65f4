"""What a file for Rockchip's NPUs is for, and which tensors it has, in a JSON file beside it: the
library on the board does not tell."""

from __future__ import annotations

from pathlib import Path

import msgspec

from samdeploy.session import TensorSpec
from samdeploy.sidecars import read_beside, write_beside

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
    write_beside(rknn, record)


def read_record(rknn: Path) -> Record:
    """Raises :class:`~samdeploy.errors.BundleError` when it is missing or not one."""
    return read_beside(rknn, Record, _LONGEST)
