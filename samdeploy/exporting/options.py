"""Options that several exporters have, as groups that their ``Options`` inherit, and how the
options of a call become those of the exporter that was asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from samdeploy.errors import InputError, RuntimeUnavailableError
from samdeploy.exporting.calibration import check_data
from samdeploy.limits import whole
from samdeploy.options import from_given, option
from samdeploy.registry import exporter_names, load_exporter
from samdeploy.session import MOST_POINTS, MOST_PROMPTS, Exporter, ExportOptions

#: What accelerators of phones and boards ask for, see :mod:`samdeploy.fixed_shapes`.
NPU = "npu"


@dataclass(frozen=True)
class HalfOption(ExportOptions):
    half: bool = option(False, "float16, with float32 where float16 overflows")


@dataclass(frozen=True)
class FloatOptions(HalfOption):
    bf16: bool = option(False, "bfloat16: the range of float32, coarser than float16")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.half and self.bf16:
            raise InputError("half=True bf16=True; expected one of them, leave the other out.")


@dataclass(frozen=True)
class Int8Options(ExportOptions):
    int8: bool = option(False, "8-bit layers in SAM's image encoder")
    float_layers: tuple[str, ...] = option(
        (), "int8: layers or blocks of the encoder that stay float, as module paths"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "float_layers", tuple(self.float_layers))
        palettes = getattr(self, "palette_bits", 0)
        for name in ("data", "float_layers", "weights_only"):
            if getattr(self, name, None) and not (self.int8 or palettes):
                raise InputError(f"{name}= is for int8=True; add that or leave {name} out.")


@dataclass(frozen=True)
class CalibratedOptions(Int8Options):
    data: str = option("", "int8: folder or pattern of images to calibrate with [generated scenes]")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_data(self.data)


@dataclass(frozen=True)
class WeightsOnlyOptions(CalibratedOptions):
    weights_only: bool = option(False, "int8: weights in 8 bits, arithmetic in float")

    def __post_init__(self) -> None:
        if self.weights_only and self.data:
            raise InputError(
                f"data={self.data}; weights_only=True calibrates nothing, leave one of them out."
            )
        super().__post_init__()


@dataclass(frozen=True)
class KernelOptions(ExportOptions):
    kernels: bool = option(
        False, "weights for samdeploy's own decoder kernels too: far faster on processors"
    )


@dataclass(frozen=True)
class PromptLimits(ExportOptions):
    """For formats that fix shapes."""

    max_prompts: int = option(64, "most prompts in a decoder call")
    max_points: int = option(16, "most tokens of a prompt")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, most in (("max_prompts", MOST_PROMPTS), ("max_points", MOST_POINTS)):
            object.__setattr__(self, name, whole(name, getattr(self, name), 1, most))


@dataclass(frozen=True)
class FixedShapesOptions(PromptLimits):
    """For formats that run fixed shapes only."""

    # As many as whole-image mode asks in a call on a processor. What is for more is not used there,
    # and computes for nothing, or leaves the caches.
    max_prompts: int = option(4, "most prompts in a decoder call")
    host_prompts: bool = option(
        False, "graphs take prompts as tokens, which the app makes: no sines, no comparisons"
    )


@dataclass(frozen=True)
class ProfileOptions(ExportOptions):
    """For formats that fix shapes when they are asked to."""

    profile: str = option("", f"{NPU}: fixed shapes, for accelerators that run no others")
    max_prompts: int = option(0, f"profile={NPU}: most prompts in a decoder call [4]")
    max_points: int = option(0, f"profile={NPU}: most tokens of a prompt [16]")
    host_prompts: bool = option(False, f"profile={NPU}: graphs take prompts as tokens")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.profile not in ("", NPU):
            raise InputError(f"profile={self.profile}; expected {NPU}, or leave it out.")
        names = ("max_prompts", "max_points", "host_prompts")
        asked = {name: getattr(self, name) for name in names}
        given = {name: value for name, value in asked.items() if value}
        if self.profile:
            limits = from_given(FixedShapesOptions, given, f"profile={NPU}")
            object.__setattr__(self, "max_prompts", limits.max_prompts)
            object.__setattr__(self, "max_points", limits.max_points)
        elif given:
            name, value = next(iter(given.items()))
            raise InputError(f"{name}={value}; it is for profile={NPU}, add that or leave it out.")


def chosen_options(exporter: type[Exporter], given: Mapping[str, Any]) -> ExportOptions:
    """``given`` as the exporter's own options; see :func:`samdeploy.options.from_given`.

    Raises:
        InputError: an option that the exporter does not have, or a value out of range.
    """
    return from_given(exporter.Options, given, f"format={exporter.name}", all_options())


def all_options() -> Iterator[type[ExportOptions]]:
    """The options of every exporter whose library is installed."""
    for name in exporter_names():
        with suppress(RuntimeUnavailableError):
            yield load_exporter(name).Options
