"""The packages that the evaluator reads, on Core ML itself."""

from __future__ import annotations

import sys

import pytest

from tests.contract import test_runtimes

pytestmark = pytest.mark.exporting

if sys.platform != "darwin":
    pytest.skip("Core ML predicts on macOS only", allow_module_level=True)


class TestCoreMl(test_runtimes.TestMil):
    runtime = "coreml"
    tolerance = 1e-3
