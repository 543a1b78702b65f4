"""``samdeploy web``: what is in a site, where ONNX Runtime comes from, and what is refused."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from samdeploy.bundle import MANIFEST, Bundle, read_manifest
from samdeploy.errors import BundleError, InputError
from samdeploy.preprocess import MEDSAM_STEPS
from samdeploy.web import onnxruntime_web, site
from samdeploy.web.onnxruntime_web import VERSION, runtime_files
from samdeploy.web.page import page_folder
from samdeploy.web.site import SITE, write_site

pytestmark = pytest.mark.exporting

ROOT = Path(__file__).parents[2]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An unpacked npm package whose files are those that are known, though short."""
    folder = tmp_path / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    digests = {}
    for name in onnxruntime_web.FILES:
        content = f"// {name}".encode()
        (folder / "dist" / name).write_bytes(content)
        digests[name] = hashlib.sha256(content).hexdigest()
    (folder / "dist" / "other.js").write_bytes(b"not needed")
    monkeypatch.setattr(onnxruntime_web, "FILES", digests)
    return folder


@pytest.fixture
def archive(package: Path, tmp_path: Path) -> Path:
    path = tmp_path / f"onnxruntime-web-{VERSION}.tgz"
    with tarfile.open(path, "w:gz") as packed:
        packed.add(package, "package")
    return path


def test_the_built_page_is_small_and_asks_for_nothing_foreign() -> None:
    files = [path for path in page_folder().rglob("*") if path.is_file()]
    names = {path.relative_to(page_folder()).as_posix() for path in files}
    assert {"index.html", "sw.js", "sample.jpg"} <= names
    assert sum(path.stat().st_size for path in files) < 2 << 20
    html = (page_folder() / "index.html").read_text()
    addresses = re.findall(r'(?:src|href)="([^"#]+)"', html)
    assert addresses
    assert all(address.startswith("./") for address in addresses), addresses
    assert all((page_folder() / address).is_file() for address in addresses)
    (policy,) = re.findall(r'"Content-Security-Policy"\s+content="([^"]+)"', html)
    assert "connect-src 'self'" in policy
    for name in ("_headers", "sw.js"):  # the page's worker heeds headers alone
        assert policy in (page_folder() / name).read_text(), name


def test_a_site_has_all_that_it_names(small_bundle: Path, package: Path, tmp_path: Path) -> None:
    folder = write_site(small_bundle, tmp_path / "site", runtime=str(package))
    told = json.loads((folder / SITE).read_text())
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {file["path"] for file in told["files"]} == present - {SITE}
    for name in onnxruntime_web.FILES:
        assert (folder / told["onnxruntime"] / name).read_bytes() == f"// {name}".encode()
    graphs = [file.path for graph in read_manifest(small_bundle).graphs for file in graph.files]
    for name in (MANIFEST, *graphs):
        copied = folder / told["model"] / name
        assert copied.read_bytes() == (small_bundle / name).read_bytes()
    assert not (folder / told["onnxruntime"] / "other.js").exists()


def test_the_command(
    done: Callable[..., Any], small_bundle: Path, archive: Path, tmp_path: Path
) -> None:
    outcome = done("web", f"model={small_bundle}", "output=out/site", f"runtime={archive}")
    assert "wrote out/site" in outcome.out
    assert (tmp_path / "out" / "site" / "index.html").is_file()
    outcome = done("web", f"model={small_bundle}", "output=site", f"runtime={archive}", "--json")
    assert outcome.json["site"] == "site"


def test_a_site_is_replaced_and_nothing_else(
    small_bundle: Path, package: Path, tmp_path: Path
) -> None:
    output = tmp_path / "site"
    write_site(small_bundle, output, runtime=str(package))
    write_site(small_bundle, output, runtime=str(package))
    (output / "mine.txt").write_text("kept")
    with pytest.raises(InputError, match=r"holds 'mine\.txt'"):
        write_site(small_bundle, output, runtime=str(package))
    assert (output / "mine.txt").read_text() == "kept"
    other = tmp_path / "other"
    other.mkdir()
    (other / "index.html").write_text("a home page")
    with pytest.raises(InputError, match="is no site"):
        write_site(small_bundle, other, runtime=str(package))
    assert [path.name for path in other.iterdir()] == ["index.html"]


def test_nothing_half_written_is_left(small_bundle: Path, package: Path, tmp_path: Path) -> None:
    broken = tmp_path / "bundle"
    shutil.copytree(small_bundle, broken)
    (broken / "decoder.onnx").write_bytes(b"")
    with pytest.raises(BundleError):
        write_site(broken, tmp_path / "site", runtime=str(package))
    (package / "dist" / next(iter(onnxruntime_web.FILES))).unlink()
    with pytest.raises(InputError, match="npm pack onnxruntime-web@"):
        write_site(small_bundle, tmp_path / "site", runtime=str(package))
    assert not (tmp_path / "site").exists()
    assert not list(tmp_path.glob(".samdeploy-*"))


@pytest.mark.parametrize(
    ("field", "value", "known"),
    [
        ("format", "openvino", "onnx"),
        ("precision", "bf16", "fp32, fp16"),
        ("family", "yolo", "sam"),
    ],
)
def test_what_the_page_cannot_run_is_refused(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str, value: str,
    known: str,
) -> None:  # fmt: skip
    _change(small_bundle, monkeypatch, **{field: value})
    with pytest.raises(InputError, match=f"has {field} {value}; the page runs {known}"):
        write_site(small_bundle, tmp_path / "site", runtime="nowhere")


def test_graphs_of_fixed_shapes_are_refused(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, decoder, *others = read_manifest(small_bundle).graphs
    options = {**decoder.options, "prompts_and_points": {"decoder": [1, 16]}}
    fixed = msgspec.structs.replace(decoder, options=options)
    _change(small_bundle, monkeypatch, graphs=(encoder, fixed, *others))
    with pytest.raises(InputError, match=r"fixed shapes.*export the model without profile=npu"):
        write_site(small_bundle, tmp_path / "site", runtime="nowhere")


def test_images_that_the_page_cannot_resize_are_refused(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _change(small_bundle, monkeypatch, preprocess=MEDSAM_STEPS)
    with pytest.raises(InputError, match=r"has resampling spline; .*'samdeploy serve model="):
        write_site(small_bundle, tmp_path / "site", runtime="nowhere")


def _change(bundle: Path, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Let the manifest of ``bundle`` tell other ``fields``."""
    manifest = msgspec.structs.replace(read_manifest(bundle), **fields)
    monkeypatch.setattr(site.Bundle, "open", lambda folder: Bundle(Path(folder), manifest))


def test_a_checkpoint_is_told_how_to_become_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"samdeploy export model=sam_tiny\.pt format=onnx"):
        write_site("sam_tiny.pt", tmp_path / "site")


def test_another_version_of_onnx_runtime_is_refused(package: Path, archive: Path) -> None:
    with runtime_files(str(archive)) as files:
        assert set(files) == set(onnxruntime_web.FILES)
        assert all(path.is_file() for path in files.values())
    with runtime_files(str(package / "dist")) as files:
        assert set(files) == set(onnxruntime_web.FILES)
    name = next(iter(onnxruntime_web.FILES))
    (package / "dist" / name).write_bytes(b"newer")
    with pytest.raises(InputError, match="is another file; expected onnxruntime-web"):
        runtime_files(str(package)).__enter__()


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08truncated"])
def test_a_file_that_is_no_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tgz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="onnxruntime-web"):
        runtime_files(str(path)).__enter__()


def test_an_archive_that_is_damaged_or_far_too_large(
    package: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "dist" / next(iter(onnxruntime_web.FILES))).write_bytes(bytes(1_000_000))
    for mode in ("w", "w:gz"):
        with tarfile.open(archive, mode) as packed:
            packed.add(package, "package")
        if mode == "w":  # what follows the half of a file is no block of a gzip stream
            packer = zlib.compressobj(wbits=31)
            half = packer.compress(archive.read_bytes()[:600_000])
            archive.write_bytes(half + packer.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 100)
            says = "invalid block type"
        else:
            monkeypatch.setattr(onnxruntime_web, "_LARGEST", 999_999)
            says = "of 1000000 bytes"
        with pytest.raises(InputError, match=f"cannot be unpacked .*{says}.*npm pack"):
            runtime_files(str(archive)).__enter__()


def test_without_npm_or_network_the_way_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"npm is not installed; .*runtime=FILE"):
        runtime_files(None).__enter__()
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error network request failed' >&2\nexit 1\n")
    npm.chmod(0o755)
    with pytest.raises(InputError, match=r"network request failed\); .*runtime=FILE"):
        runtime_files(None).__enter__()


def test_npm_brings_the_version_that_is_known(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    npm = folder / "npm"
    npm.write_text(f'#!/bin/sh\ntest "$2" = onnxruntime-web@{VERSION} && cp "{archive}" "$5"\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    with runtime_files(None) as files:
        assert set(files) == set(onnxruntime_web.FILES)


def test_the_page_is_tested_with_the_version_that_sites_have() -> None:
    locked = json.loads((ROOT / "runtimes" / "web" / "package-lock.json").read_text())
    assert locked["packages"]["node_modules/onnxruntime-web"]["version"] == VERSION
