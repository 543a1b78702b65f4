"""Who may import whom: the hub no spoke, a spoke no sibling, torch only where it belongs.

The rules are explained in docs/architecture.md.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import resolve_name
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
    for name in ("cli", "cli_annotate", "cli_benchmark", "cli_fields", "cli_options", "console")
)


@dataclass(frozen=True)
class Import:
    """``name`` is absolute, whatever was written."""

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
        if path.stem.isidentifier()  # hook-samdeploy.py is run by PyInstaller, and no module
    )


def package_of(file: str) -> str:
    """The package that relative imports of a file start from."""
    folder = file.rpartition("/")[0].replace("/", ".")
    return folder if is_in(folder, "samdeploy") else f"samdeploy.{folder}"


def imports_of(source: str, package: str) -> Iterator[Import]:
    yield from _walk(ast.parse(source), package, lazy=False, typing_only=False)


def _walk(node: ast.AST, package: str, lazy: bool, typing_only: bool) -> Iterator[Import]:
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
            base = resolve_name("." * child.level + (child.module or ""), package)
            for alias in child.names:
                yield Import(f"{base}.{alias.name}", child.lineno, lazy, typing_only)
        else:
            yield from _walk(child, package, inside, typing)


def spoke_of(file: str) -> str | None:
    top = file.split("/")[0]
    return top if top in SPOKES else None


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def is_spoke(name: str) -> bool:
    return any(is_in(name, f"samdeploy.{spoke}") for spoke in SPOKES)


Rule = Callable[[str, Import], str | None]


def the_hub_imports_no_spoke(file: str, found: Import) -> str | None:
    return "use the registry" if not spoke_of(file) and is_spoke(found.name) else None


def a_spoke_imports_no_sibling(file: str, found: Import) -> str | None:
    spoke = spoke_of(file)
    if spoke is None:
        return None
    if any(is_in(found.name, spoke) for spoke in SPOKES):
        return f"say samdeploy.{found.name}"
    # Benchmarks are one program in many files; an exporter or a runtime is one file.
    own = package_of(file) if spoke == "benchmarks" else f"samdeploy.{file[:-3].replace('/', '.')}"
    return "a sibling" if is_spoke(found.name) and not is_in(found.name, own) else None


def torch_stays_at_home(file: str, found: Import) -> str | None:
    homes = TORCH_VISITS if found.lazy or found.typing_only else TORCH_HOMES
    away = found.name.split(".")[0] in TORCH and not file.startswith(homes)
    return "torch is not installed where bundles run" if away else None


def the_hub_reads_models_only_when_asked(file: str, found: Import) -> str | None:
    above = file.startswith(("samdeploy/models/", *SPOKES))
    at_once = not (found.lazy or found.typing_only)
    early = not above and at_once and is_in(found.name, "samdeploy.models")
    return "it needs torch: import it inside the function" if early else None


def the_hub_stands_on_few_libraries(file: str, found: Import) -> str | None:
    if spoke_of(file) or file.startswith("samdeploy/models/") or found.lazy:
        return None
    allowed = HUB_LIBRARIES | ({"typer"} if file in COMMAND_LINE else set())
    top = found.name.split(".")[0]
    own = top in sys.stdlib_module_names or top == "samdeploy" or top in allowed
    return None if own else "not a library of the hub"


def nothing_is_imported_by_computed_name(file: str, found: Import) -> str | None:
    computed = is_in(found.name, "importlib.import_module")
    return "use the registry" if computed else None


RULES: tuple[Rule, ...] = (
    the_hub_imports_no_spoke,
    a_spoke_imports_no_sibling,
    torch_stays_at_home,
    the_hub_reads_models_only_when_asked,
    the_hub_stands_on_few_libraries,
    nothing_is_imported_by_computed_name,
)


def offenders(rule: Rule, file: str, source: str) -> list[str]:
    return [
        f"{file}:{found.line} imports {found.name}; {why}"
        for found in imports_of(source, package_of(file))
        if (why := rule(file, found))
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(rule: Rule) -> None:
    files = module_files()
    assert len(files) > 100
    found = [line for file in files for line in offenders(rule, file, (ROOT / file).read_text())]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "file", "source"),
    [
        (the_hub_imports_no_spoke, "samdeploy/sam.py", "from samdeploy.exporters import onnx"),
        (the_hub_imports_no_spoke, "samdeploy/sam.py", "from .exporters.onnx import OnnxExporter"),
        (the_hub_imports_no_spoke, "samdeploy/yolo/x.py", "def f():\n    from .. import runtimes"),
        (a_spoke_imports_no_sibling, "runtimes/torch.py", "from .openvino import OpenVinoRuntime"),
        (a_spoke_imports_no_sibling, "runtimes/torch.py", "from . import openvino"),
        (a_spoke_imports_no_sibling, "benchmarks/tune.py", "import samdeploy.exporters.onnx"),
        (a_spoke_imports_no_sibling, "exporters/onnx.py", "import runtimes.torch"),
        (torch_stays_at_home, "samdeploy/sam.py", "def f():\n    import torch"),
        (torch_stays_at_home, "benchmarks/tune.py", "from torch import nn"),
        (the_hub_reads_models_only_when_asked, "samdeploy/sam.py", "from .models import load"),
        (the_hub_stands_on_few_libraries, "samdeploy/sam.py", "import scipy.ndimage"),
        (
            nothing_is_imported_by_computed_name,
            "samdeploy/sam.py",
            "import importlib.import_module",
        ),
    ],
)
def test_each_rule_finds_its_offender(rule: Rule, file: str, source: str) -> None:
    assert len(offenders(rule, file, source)) == 1
    assert not offenders(rule, file, "import sys\nfrom samdeploy import session\n")


def test_the_scanner_itself() -> None:
    source = "import a.b\nif TYPE_CHECKING:\n    from c import d\ndef f():\n    from .e import g\n"
    assert list(imports_of(source, "p.q")) == [
        Import("a.b", 1, False, False),
        Import("c.d", 3, False, True),
        Import("p.q.e.g", 5, True, False),
    ]


#: Modules that Windows does not have.
POSIX = frozenset({"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"})


def test_windows_can_import_every_module() -> None:
    """Straight at the top of a module stands nothing that only other systems have; behind a test of
    the system, or inside a function, it may."""
    for file in module_files():
        for node in ast.parse((ROOT / file).read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not POSIX.intersection(names), f"{file}:{node.lineno} cannot be on Windows"
