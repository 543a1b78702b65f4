"""What the processor can do, from what the system tells."""

from __future__ import annotations

import pytest

from samdeploy import processor


def pretend(monkeypatch: pytest.MonkeyPatch, flags: str) -> None:
    facts = {"flags": flags, "model name": "Some CPU"}
    monkeypatch.setattr(processor, "_cpu_info", lambda field: facts.get(field, ""))


def test_a_processor_with_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "fpu avx2 avx512f avx512_vnni avx512_bf16 avx512_fp16")
    found = processor.arithmetic()
    assert found["int8"].devices == ("avx512_vnni",)
    assert found["fp32"].devices == ("avx512f", "avx2")
    assert all(state.usable and state.version == "Some CPU" for state in found.values())


def test_one_without_says_what_to_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "fpu avx2 fma")
    found = processor.arithmetic()
    assert found["fp32"].usable
    assert found["int8"].reason.endswith("int8=True shrinks the files and is hardly faster")
    assert "avx512_bf16" in found["bf16"].reason


def test_apple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_cpu_info", lambda field: "")
    monkeypatch.setattr(processor.platform, "system", lambda: "Darwin")
    lines = ["hw.optional.arm.FEAT_BF16: 1", "hw.optional.arm.FEAT_DotProd: 1",
             "hw.optional.arm.FEAT_SME: 0", "hw.optional.AdvSIMD: 1"]  # fmt: skip
    monkeypatch.setattr(processor, "_sysctl_lines", lambda name: lines)
    assert set(processor.cpu_flags()) == {"bf16", "dotprod", "advsimd"}
    assert processor.arithmetic()["int8"].usable
