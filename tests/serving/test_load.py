"""Several clients at once on two models: no wrong answer, and no growing memory."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).parents[2] / "tools" / "serve_load.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("serve_load", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["serve_load"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.exporting
def test_eight_clients(tool: ModuleType, tiny_bundle: Path, small_bundle: Path) -> None:
    bundles = [tiny_bundle, small_bundle]
    cases = [case for bundle in bundles for case in tool.cases_of(bundle, tool.SIZES[:3])]
    with tool.serving(bundles) as (url, process):
        tool.run_load(url, cases, 8, 10)
        before = tool.resident(process)
        load = tool.run_load(url, cases, 8, 25)
        after = tool.resident(process)
    assert len(load.latencies) == 200
    assert load.wrong == []
    assert after < 1.15 * before


@pytest.mark.slow
@pytest.mark.exporting
def test_a_wrong_answer_is_found(tool: ModuleType, tiny_bundle: Path, small_bundle: Path) -> None:
    [case, *_] = tool.cases_of(tiny_bundle, tool.SIZES[:1])
    other = case.body.replace(tiny_bundle.name.encode(), small_bundle.name.encode())
    with tool.serving([tiny_bundle, small_bundle]) as (url, _):
        load = tool.Load()
        tool.send(url, [case, tool.Case("other", case.path, other, case.read, case.expected)], load)
    assert load.wrong == ["other (200)"]
