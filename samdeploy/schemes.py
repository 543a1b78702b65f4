"""Weight schemes: how the weights of an artifact are stored, and how close it then has to be.

One row each, read by exporters' options, the gates of verification, what is tried when a gate is
missed, ``samdeploy tune`` and the table of precisions. A package adds rows of its own through the
entry-point group ``samdeploy.schemes``, an entry for each :class:`Scheme`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from samdeploy.errors import InputError
from samdeploy.libraries import added
from samdeploy.precision import ARITHMETIC, FP32


@dataclass(frozen=True)
class Scheme:
    """One way to store weights.

    Attributes:
        name: what manifests and users call it.
        options: those of an exporter that ask for it, with their values.
        mask_iou: least mean mask IoU against the torch reference, by default.
        cosine: least cosine of the embeddings.
        instead: names of the schemes to try where it misses its gate, in this order.
        calibrates: activations become integers too, which takes images.
        encoder_only: it is for an image encoder; a model without one has nothing that it fits.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    mask_iou: float = 0.97
    cosine: float = 0.98
    instead: tuple[str, ...] = ()
    calibrates: bool = False
    encoder_only: bool = False

    def asked(self, options: object) -> bool:
        """Whether ``options`` of an export ask for it; for one without options they never do."""
        asked = (getattr(options, name, None) == value for name, value in self.options.items())
        return bool(self.options) and all(asked)

    @property
    def words(self) -> str:
        """The options as users write them."""
        return " ".join(f"{name}={value}" for name, value in self.options.items())


#: The coarsest first: where options ask for several, the first is meant.
_BUILT_IN = (
    Scheme(
        "int8_weights",
        {"int8": True, "weights_only": True},
        instead=("fp16", "bf16"),
        encoder_only=True,
    ),
    Scheme(
        "integers",
        {"int8": True, "integers": True},
        instead=("int8_weights", "fp16"),
        calibrates=True,
        encoder_only=True,
    ),
    Scheme(
        "int8",
        {"int8": True},
        instead=("int8_weights", "fp16", "bf16"),
        calibrates=True,
        encoder_only=True,
    ),
    *(
        Scheme(
            f"palette{bits}",
            {"palette_bits": bits},
            instead=instead,
            encoder_only=True,
        )
        for bits, instead in (
            (4, ("palette6", "palette8", "int8", "fp16")),
            (6, ("palette8", "int8", "fp16")),
            (8, ("int8", "fp16")),
        )
    ),
    Scheme("bf16", {"bf16": True}, 0.995, 0.999, instead=("fp16",)),
    Scheme("fp16", {"half": True}, 0.995, 0.999, instead=("bf16",)),
    Scheme("tf32", {"tf32": True}, 0.998, 0.9998),
    Scheme("fp32", {}, 0.999, 0.9999),
)

#: Names in bundles before version 0.2, of which the gates were the same.
_ALSO = {"palette": "palette4"}


@lru_cache
def schemes() -> dict[str, Scheme]:
    """All of them by name, those of other packages first."""
    return {scheme.name: scheme for scheme in (*added("samdeploy.schemes"), *_BUILT_IN)}


def scheme_of(options: object) -> Scheme:
    """The coarsest that ``options`` of an export ask for; plain float32 where they ask for none."""
    asked = (scheme for scheme in schemes().values() if scheme.asked(options))
    return next(asked, schemes()[FP32])


def scheme_named(name: str) -> Scheme | None:
    """``None`` where no scheme is called so."""
    return schemes().get(_ALSO.get(name, name))


def gate(made: str, arithmetic: str = FP32, tolerance: float | None = None) -> tuple[float, float]:
    """Smallest mean IoU and smallest embedding cosine of artifacts whose precision is ``made`` in
    some arithmetic: those of the coarser of both, unless ``tolerance`` is another IoU. Arithmetic
    is as accurate as the artifacts of the same name have to be.

    Raises:
        InputError: ``tolerance`` is not from 0 to 1.
    """
    if tolerance is not None and not 0 <= tolerance <= 1:
        raise InputError(f"tolerance={tolerance}; expected a mask IoU from 0 to 1.")
    names = (made, ARITHMETIC[arithmetic].encoder)
    held = [scheme for scheme in map(scheme_named, names) if scheme is not None]
    least = min(scheme.mask_iou for scheme in held)
    return least if tolerance is None else tolerance, min(scheme.cosine for scheme in held)
