"""The contract on an NVIDIA GPU, through torch; ``tools/gpu_check.py`` runs it as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from samdeploy.graphs import ALL_ROLES, ENCODER
from samdeploy.session import RuntimeOptions
from samdeploy.testing.runtime_contract import Model, RuntimeContract

if not torch.cuda.is_available():
    pytest.skip("no GPU that torch can use", allow_module_level=True)


class TestTorchCuda(RuntimeContract):
    runtime = "torch"
    device = "cuda"
    # Other kernels for another number of prompts, which sum in another order.
    tolerance = 1e-4

    @classmethod
    def find_graphs(cls, fixture: Callable[[str], Any]) -> dict[str, Path]:
        return dict.fromkeys(ALL_ROLES, fixture("small_checkpoint"))

    @classmethod
    def find_options(cls, fixture: Callable[[str], Any]) -> RuntimeOptions:
        return RuntimeOptions(config=fixture("small_config"))

    def test_provider_names_the_arithmetic(self, model: Model) -> None:
        assert model[ENCODER].provider == "torch cuda fp32"
