"""Choose the arithmetic of a model, and say where it was not verified in it."""

from __future__ import annotations

from dataclasses import replace

from samdeploy.bundle import Bundle
from samdeploy.notices import notice
from samdeploy.precision import ARITHMETIC, FP32, KERNELS
from samdeploy.session import RuntimeOptions
from samdeploy.tuning import Tuning


def with_arithmetic(
    options: RuntimeOptions,
    bundle: Bundle | None,
    tuning: Tuning | None = None,
    *,
    kernels: bool = False,
) -> RuntimeOptions:
    """``options`` with a ``precision``: the one asked for; else, of those in which the bundle
    passed its verification, the one that it was tuned to, that of the kernels where these can run
    (``kernels``), fp32, or the first; else fp32."""
    if options.precision is not None:
        return options
    tuned_to = [] if tuning is None else [tuning.chosen.arithmetic]
    passed = [name for name in _passed(bundle) if kernels or not ARITHMETIC[name].kernels]
    names = [name for name in (*tuned_to, KERNELS, FP32, *passed) if name in passed]
    return replace(options, precision=names[0] if names else FP32)


def notice_unless_verified(precision: str, bundle: Bundle | None) -> None:
    """Say so when ``bundle`` has not passed in ``precision``, which is not fp32."""
    passed = _passed(bundle)
    if bundle is None or precision in (FP32, *passed):
        return
    recorded = precision in bundle.manifest.verifications
    found = "misses its tolerance" if recorded else "was not verified"
    notice(
        "precision=%s; '%s' %s in it (it passed in %s), see what it costs with 'samdeploy verify "
        "precision=%s save=True'.",
        precision,
        bundle.folder,
        found,
        ", ".join(passed) or "none",
        precision,
    )


def _passed(bundle: Bundle | None) -> list[str]:
    records = {} if bundle is None else bundle.manifest.verifications
    return [name for name, record in records.items() if record.passed and name in ARITHMETIC]
