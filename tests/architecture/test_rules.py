"""The rules that keep the house in order; see docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import samdeploy

ROOT = Path(__file__).parents[2]
SPOKES = ("exporters", "runtimes", "benchmarks")
#: Where torch may be imported at the top of a module.
TORCH = ("samdeploy/models/", "exporters/", "runtimes/torch.py")


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path, *, top_level_only: bool = False) -> Iterator[str]:
    """Names of the modules that a file imports, without those for type checkers only."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", sources("samdeploy"), ids=str)
def test_the_hub_imports_no_spoke(path: Path) -> None:
    for name in imports(path):
        assert not name.startswith(tuple(f"samdeploy.{spoke}" for spoke in SPOKES)), name
        assert name.split(".")[0] not in SPOKES, name


@pytest.mark.parametrize("spoke", SPOKES)
def test_spokes_import_no_sibling(spoke: str) -> None:
    siblings = tuple(f"samdeploy.{other}" for other in SPOKES if other != spoke)
    for path in sources(spoke):
        found = [name for name in imports(path) if name.startswith(siblings)]
        # Within a spoke, a file may not lean on another one either: one backend, one file.
        own = [
            name
            for name in imports(path)
            if spoke != "benchmarks" and name.startswith(f"samdeploy.{spoke}.")
        ]
        assert not found + own, f"{path}: {found + own}"


def test_torch_is_imported_where_it_may_be() -> None:
    for folder in ("samdeploy", *SPOKES):
        for path in sources(folder):
            relative = path.relative_to(ROOT).as_posix()
            if relative.startswith(TORCH):
                continue
            found = {name.split(".")[0] for name in imports(path, top_level_only=True)}
            assert "torch" not in found, relative


def test_every_folder_of_python_is_in_the_wheel() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = set(project["tool"]["setuptools"]["packages"])
    for folder in ("samdeploy", *SPOKES):
        for path in sources(folder):
            name = path.parent.relative_to(ROOT).as_posix().replace("/", ".")
            assert (name if folder == "samdeploy" else f"samdeploy.{name}") in packages


def test_public_names() -> None:
    assert samdeploy.__all__ == [
        "SAM",
        "BundleError",
        "CheckpointError",
        "DownloadError",
        "Embedding",
        "ExportError",
        "InputError",
        "Masks",
        "Prompt",
        "RuntimeUnavailableError",
        "SamDeployError",
        "VerificationError",
        "__version__",
        "export",
    ]
    assert all(hasattr(samdeploy, name) for name in samdeploy.__all__)


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_full_run_on_a_bundle_needs_no_torch(small_bundle: Path, golden: Path) -> None:
    picture = golden / "sam_vit_small" / "image.png"
    out = run(f"""
import sys
sys.modules["torch"] = None  # an import would fail
import samdeploy
sam = samdeploy.SAM({str(small_bundle)!r})
picture = {str(picture)!r}
print(sam.predict(picture, points=[60, 60]).data.shape)
print(len(sam.generate(picture, points_stride=2, conf_thres=0, stability_score_thresh=0)))
sam.info()
print("onnx" in sys.modules)
""")
    lines = out.splitlines()
    assert lines[0] == "(1, 180, 240)"
    assert lines[-1] == "False"


def test_importing_is_quick() -> None:
    """Under 0.3 s of processor time beyond NumPy and OpenCV, the best of three."""
    code = """
import time
import numpy, cv2
start = time.process_time()
import samdeploy
print(time.process_time() - start)
"""
    assert min(float(run(code)) for _ in range(3)) < 0.3


def test_importing_loads_no_backend() -> None:
    out = run("import sys, samdeploy; print(sorted(sys.modules))")
    loaded = set(ast.literal_eval(out))
    assert loaded.isdisjoint({"torch", "onnxruntime", "onnx", "openvino", "supervision"})


def test_the_project_speaks_of_itself_alone() -> None:
    """No machine paths in what is published."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.toml", "Makefile"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        text = (ROOT / name).read_text()
        assert "/work" + "/" not in text, name
        assert "/root" + "/" not in text, name
