"""Who may import whom: the hub no spoke, a spoke no sibling, torch only where it belongs.

The rules are explained in docs/architecture.md.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPOKES = ("exporters", "runtimes", "benchmarks")

#: Where torch may stand at the top of a module.
TORCH_HOMES = ("samdeploy/models/", "exporters/", "runtimes/torch.py", "runtimes/mil.py")
#: Where it may also be imported inside a function: benchmarks measure against torch.
TORCH_VISITS = (*TORCH_HOMES, "benchmarks/")

TORCH = frozenset({"torch", "torchvision", "safetensors"})
#: What the hub may import at the top beside the standard library; the command line adds Typer.
HUB_LIBRARIES = frozenset({"cv2", "msgspec", "numpy", "PIL", "threadpoolctl", "tqdm"})
COMMAND_LINE = frozenset(
    f"samdeploy/{name}.py"
    for name in ("cli", "cli_annotate", "cli_benchmark", "cli_options", "console")
)


@dataclass(frozen=True)
class Import:
    name: str
    line: int
    lazy: bool
    typing_only: bool


def module_files() -> list[str]:
    folders = ["samdeploy", *SPOKES]
    return sorted(
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
    )


def imports_of(source: str) -> Iterator[Import]:
    yield from _walk(ast.parse(source), lazy=False, typing_only=False)


def _walk(node: ast.AST, lazy: bool, typing_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = lazy or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        typing = typing_only or (
            isinstance(child, ast.If)
            and isinstance(child.test, ast.Name)
            and child.test.id == "TYPE_CHECKING"
        )
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, lazy, typing_only)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0 or child.module, "from . import hides what is imported"
            base = ("." * child.level) + (child.module or "")
            for alias in child.names:
                yield Import(f"{base}.{alias.name}", child.lineno, lazy, typing_only)
        else:
            yield from _walk(child, inside, typing)


def test_the_scanner_itself() -> None:
    source = "import a.b\nif TYPE_CHECKING:\n    from c import d\ndef f():\n    import e\n"
    assert list(imports_of(source)) == [
        Import("a.b", 1, False, False),
        Import("c.d", 3, False, True),
        Import("e", 5, True, False),
    ]


def spoke_of(file: str) -> str | None:
    top = file.split("/")[0]
    return top if top in SPOKES else None


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("file", module_files())
class TestModule:
    def test_the_hub_imports_no_spoke(self, file: str) -> None:
        if spoke_of(file):
            pytest.skip("a spoke")
        for found in imports_of((ROOT / file).read_text()):
            spokes = [spoke for spoke in SPOKES if is_in(found.name, f"samdeploy.{spoke}")]
            assert not spokes, f"{file}:{found.line} imports {found.name}; use the registry"

    def test_a_spoke_imports_no_sibling(self, file: str) -> None:
        if not spoke_of(file):
            pytest.skip("the hub")
        own = "samdeploy." + file.removesuffix(".py").replace("/", ".")
        for found in imports_of((ROOT / file).read_text()):
            if any(is_in(found.name, f"samdeploy.{spoke}") for spoke in SPOKES):
                assert is_in(found.name, own), f"{file}:{found.line} imports {found.name}"
            assert not any(is_in(found.name, spoke) for spoke in SPOKES), (
                f"{file}:{found.line}: say samdeploy.{found.name}"
            )

    def test_torch_stays_at_home(self, file: str) -> None:
        for found in imports_of((ROOT / file).read_text()):
            if found.name.split(".")[0] in TORCH:
                homes = TORCH_VISITS if found.lazy or found.typing_only else TORCH_HOMES
                assert file.startswith(homes), f"{file}:{found.line} imports {found.name}"

    def test_the_hub_reads_models_only_when_asked(self, file: str) -> None:
        if file.startswith(("samdeploy/models/", *SPOKES)):
            pytest.skip("lives above torch")
        for found in imports_of((ROOT / file).read_text()):
            if is_in(found.name, "samdeploy.models"):
                assert found.lazy or found.typing_only, f"{file}:{found.line} needs torch"

    def test_the_hub_stands_on_few_libraries(self, file: str) -> None:
        if spoke_of(file) or file.startswith("samdeploy/models/"):
            pytest.skip("has its own library")
        allowed = HUB_LIBRARIES | ({"typer"} if file in COMMAND_LINE else set())
        for found in imports_of((ROOT / file).read_text()):
            top = found.name.split(".")[0]
            if top in sys.stdlib_module_names or top == "samdeploy" or found.lazy:
                continue
            assert top in allowed, f"{file}:{found.line} imports {found.name}"

    def test_nothing_is_imported_by_computed_name(self, file: str) -> None:
        for found in imports_of((ROOT / file).read_text()):
            assert not is_in(found.name, "importlib.import_module"), f"{file}:{found.line}"
