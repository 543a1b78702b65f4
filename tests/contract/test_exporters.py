"""The contract of exporters, one subclass per format."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from samdeploy.testing import ExporterContract

pytestmark = pytest.mark.exporting


class TestOnnx(ExporterContract):
    format = "onnx"


@pytest.mark.slow
class TestOnnxOfFixedShapes(ExporterContract):
    format = "onnx"
    options: ClassVar[dict[str, Any]] = {"profile": "npu", "max_prompts": 2, "max_points": 4}


@pytest.mark.slow
class TestOpenVino(ExporterContract):
    format = "openvino"


@pytest.mark.overnight
@pytest.mark.slow
# coremltools announces its own and NumPy's deprecations while it reads a program.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestCoreMl(ExporterContract):
    format = "coreml"
    options: ClassVar[dict[str, Any]] = {"max_prompts": 3, "max_points": 4}


@pytest.mark.slow
class TestMnn(ExporterContract):
    format = "mnn"


@pytest.mark.slow
class TestTensorRt(ExporterContract):
    format = "tensorrt"
    options: ClassVar[dict[str, Any]] = {"max_prompts": 3, "max_points": 4}
