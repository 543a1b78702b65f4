"""Who may import whom: the table of docs/architecture.md, and torch only where it belongs."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPOKES = ("exporters", "runtimes", "benchmarks")

#: Where torch may stand at the top of a module.
TORCH_HOMES = (
    "samdeploy/models/", "exporters/", "runtimes/torch.py", "runtimes/mil.py",
    "runtimes/executorch.py",
)  # fmt: skip
#: Where it may also be imported inside a function, to measure or test against it.
TORCH_VISITS = (*TORCH_HOMES, "benchmarks/", "samdeploy/testing/")

TORCH = frozenset({"torch", "torchvision"})
#: What the hub may import at the top beside the standard library; rooms add
#: their own.
HUB_LIBRARIES = frozenset({"cv2", "msgspec", "numpy", "PIL", "threadpoolctl", "tqdm"})
#: In the table of rooms: everything under samdeploy/.
HUB = "the hub"


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


@cache
def imports_of(source: str, package: str) -> tuple[Import, ...]:
    return tuple(_walk(ast.parse(source), package, lazy=False, typing_only=False))


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


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@dataclass(frozen=True)
class Room:
    """A row of the table in docs/architecture.md: what its files import, at the top and beside that
    inside functions, as paths of files and folders."""

    path: str
    imports: tuple[str, ...]
    inside: tuple[str, ...]


@cache
def rooms() -> dict[str, Room]:
    text = (ROOT / "docs/architecture.md").read_text()
    table = re.search(r"^\| files \|[^\n]*\n\|[-|]+\n(.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    assert table is not None
    found: dict[str, Room] = {}
    for line in table[1].splitlines():
        files, _, imports, inside = (cell.strip() for cell in line.strip("|").split("|"))
        [path] = _paths(files)
        named = _paths(imports)
        if "the hub" in imports:
            named += (HUB,)
        if "the same" in imports:
            named += found[path.rpartition("/")[0] + "/"].imports
        found[path] = Room(path, named, _paths(inside))
    return found


def _paths(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([\w/]+(?:\.py|/))`", cell))


@cache
def file_of(name: str) -> str | None:
    """The file that defines an imported name of ours; ``None`` where it is not ours."""
    top, *rest = name.split(".")
    if top != "samdeploy":
        return None
    base = "" if rest and rest[0] in SPOKES else "samdeploy/"
    for count in range(len(rest), -1, -1):
        path = base + "/".join(rest[:count])
        for file in (f"{path}.py", f"{path.rstrip('/')}/__init__.py"):
            if (ROOT / file).is_file():
                return file
    return None


def lies_in(file: str, path: str) -> bool:
    """Whether ``path`` of the table means ``file``; the hub's folder means its flat files alone."""
    if path == HUB:
        return file.startswith("samdeploy/")
    if path == "samdeploy/":
        flat = file.startswith(path) and file.count("/") == 1
        return flat and not any(file == room for room in rooms())
    return file == path or (path.endswith("/") and file.startswith(path))


@cache
def room_of(file: str) -> Room:
    fitting = [path for path in rooms() if path.endswith("/") and file.startswith(path)]
    return rooms().get(file) or rooms()[max(fitting, key=len)]


Rule = Callable[[str, Import], str | None]


def a_room_keeps_to_its_row(file: str, found: Import) -> str | None:
    if found.name.split(".")[0] in SPOKES:
        return f"say samdeploy.{found.name}"
    other = file_of(found.name)
    if other is None or other == file:
        return None
    room = room_of(file)
    allowed = room.imports + (room.inside if found.lazy or found.typing_only else ())
    fits = any(lies_in(other, path) for path in allowed)
    return None if fits else f"not in the row of {room.path} in docs/architecture.md"


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
    if file.startswith(("samdeploy/models/", *SPOKES)) or found.lazy:
        return None
    extra = {
        "samdeploy/cli/": {"typer"},
        "samdeploy/serving/": {"starlette", "uvicorn"},
        "samdeploy/testing/": {"pytest"},
    }
    rooms_own = (libraries for room, libraries in extra.items() if file.startswith(room))
    allowed = HUB_LIBRARIES.union(*rooms_own)
    top = found.name.split(".")[0]
    own = top in sys.stdlib_module_names or top == "samdeploy" or top in allowed
    return None if own else "not a library of the hub"


def nothing_is_imported_by_computed_name(file: str, found: Import) -> str | None:
    computed = is_in(found.name, "importlib.import_module")
    return "use the registry" if computed else None


RULES: tuple[Rule, ...] = (
    a_room_keeps_to_its_row,
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
        (a_room_keeps_to_its_row, "samdeploy/sam.py", "from samdeploy.exporters import onnx"),
        (a_room_keeps_to_its_row, "samdeploy/sam.py", "from .exporters.onnx import OnnxExporter"),
        (a_room_keeps_to_its_row, "samdeploy/sam.py", "from .exporting import pipeline"),
        (a_room_keeps_to_its_row, "samdeploy/engine.py", "from samdeploy import sam"),
        (a_room_keeps_to_its_row, "samdeploy/engine.py", "def f():\n    from .masks import rle"),
        (a_room_keeps_to_its_row, "samdeploy/yolo/x.py", "def f():\n    from .. import runtimes"),
        (a_room_keeps_to_its_row, "runtimes/torch.py", "from .openvino import OpenVinoRuntime"),
        (a_room_keeps_to_its_row, "runtimes/torch.py", "from . import openvino"),
        (a_room_keeps_to_its_row, "runtimes/openvino.py", "import samdeploy.models.load"),
        (a_room_keeps_to_its_row, "benchmarks/tune.py", "import samdeploy.exporters.onnx"),
        (a_room_keeps_to_its_row, "exporters/onnx.py", "import runtimes.torch"),
        (a_room_keeps_to_its_row, "exporters/onnx.py", "import samdeploy.exporters.coreml"),
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


def test_there_is_no_circle() -> None:
    """Neither at import nor in typing; what a function imports when it is called may come back."""
    graph: dict[str, set[str]] = {}
    for file in module_files():
        found = imports_of((ROOT / file).read_text(), package_of(file))
        others = {file_of(each.name) for each in found if not each.lazy} - {None, file}
        graph[file] = {str(other) for other in others}
    try:
        assert list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_the_table_names_what_is_there() -> None:
    named = {path for room in rooms().values() for path in (room.path, *room.imports, *room.inside)}
    missing = [path for path in named - {HUB} if not (ROOT / path).exists()]
    assert not missing


def test_the_scanner_itself() -> None:
    source = "import a.b\nif TYPE_CHECKING:\n    from c import d\ndef f():\n    from .e import g\n"
    assert imports_of(source, "p.q") == (
        Import("a.b", 1, False, False),
        Import("c.d", 3, False, True),
        Import("p.q.e.g", 5, True, False),
    )


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
