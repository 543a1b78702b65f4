"""Bundles that somebody else made: refused in one sentence, or the same model."""

from __future__ import annotations

import copy
import json
import math
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest

from samdeploy import SAM
from samdeploy.bundle import MANIFEST, Bundle, file_record, read_manifest, write_manifest
from samdeploy.bundle_files import _joined_sha256, check_file, check_references, sha256
from samdeploy.errors import BundleError, SamDeployError
from samdeploy.graphs import ENCODER
from samdeploy.onnx_file import external_files
from samdeploy.opening import open_model

Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))


def change(bundle: Path, edit: Edit) -> None:
    path = bundle / MANIFEST
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def listed(bundle: Path, role: str) -> None:
    """Record the files of a graph as they are now."""
    manifest = read_manifest(bundle)
    graphs = tuple(
        msgspec.structs.replace(
            graph, files=tuple(file_record(bundle, Path(file.path)) for file in graph.files)
        )
        if graph.role == role
        else graph
        for graph in manifest.graphs
    )
    write_manifest(bundle, msgspec.structs.replace(manifest, graphs=graphs))


@pytest.mark.parametrize(
    "edit",
    [
        lambda m: m.update(schema_version=-5),
        lambda m: m.update(image_size=10**9),
        lambda m: m.update(image_size=0),
        lambda m: m.update(image_size=10**30),
        lambda m: m.update(image_size=512),
        lambda m: m.update(embedding_channels=65),
        lambda m: m.update(embedding_channels=-1),
        lambda m: m.update(precision="fp7"),
        lambda m: m.update(format="nonsense"),
        lambda m: m.update(runtime="fake"),
        lambda m: m.update(runtime="nothing"),
        lambda m: m.update(family="unheard of"),
        lambda m: m.update(architecture="\x1b[2J"),
        lambda m: m.update(architecture="two\n"),
        lambda m: m.update(whole_image={"points_stride": "many"}),
        lambda m: m.update(whole_image={"unheard of": 1}),
        lambda m: m.update(graphs=[]),
        lambda m: m.update(graphs=m["graphs"][:1] * 1000),
        lambda m: m["graphs"].append(m["graphs"][0]),
        lambda m: m["graphs"].pop(),
        lambda m: m["graphs"][0].update(role="unheard of"),
        lambda m: m["graphs"][0].update(role="detector"),
        lambda m: m["graphs"][0].update(files=[]),
        lambda m: m["graphs"][0].update(inputs=[]),
        lambda m: m["graphs"][0]["files"][0].update(path="nul\0l"),
        lambda m: m["graphs"][0]["files"][0].update(path="x" * 250),
        lambda m: m["graphs"][0]["files"][0].update(path="x/" * 5000),
        lambda m: m["graphs"][0]["files"][0].update(path="."),
        lambda m: m["graphs"][0]["files"][0].update(bytes=-1),
        lambda m: m["graphs"][0]["files"][0].update(bytes=1 << 40),
        lambda m: m["graphs"][0]["files"][0].update(sha256="0"),
        lambda m: m["graphs"][0]["inputs"][0].update(name="picture"),
        lambda m: m["graphs"][0]["inputs"][0].update(shape=[1, 3, 10**6, 10**6]),
        lambda m: m["graphs"][0]["inputs"][0].update(shape=[1, 3, "prompts", "prompts"]),
        lambda m: m["graphs"][0]["inputs"][0].update(shape=[]),
        lambda m: m["graphs"][0]["inputs"][0].update(dtype="object"),
        lambda m: m["graphs"][1]["outputs"][0].update(shape=["prompts", 0, 64, 64]),
        lambda m: m["graphs"][1]["outputs"][0].update(shape=["prompts", "prompts", 64, 64]),
        lambda m: m["graphs"][1]["outputs"][0].update(shape=["prompts", 3, 64, 64]),
        lambda m: m["graphs"][2]["outputs"][0].update(shape=[11, "heads", 8, 256]),
    ],
)  # fmt: skip
def test_manifests_that_are_wrong(bundle: Path, edit: Edit) -> None:
    change(bundle, edit)
    with pytest.raises(BundleError) as refused:
        open_model(bundle)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    "content",
    [
        b'{"schema_version": 1, "config": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b"[" * 1_000_000,
        b" " * (5 << 20),
        b"\xff\xfe{}",
        b'{"schema_version": 1e999}',
    ],
)
def test_manifests_that_are_none(bundle: Path, content: bytes) -> None:
    (bundle / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError, match="not a valid manifest"):
        Bundle.open(bundle)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
@pytest.mark.parametrize("name", [MANIFEST, "encoder.onnx"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "loop", "link"])
def test_what_is_no_regular_file(bundle: Path, name: str, kind: str) -> None:
    path = bundle / name
    path.rename(bundle / "moved")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(name)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.symlink_to("nowhere")
    with pytest.raises(BundleError):
        Bundle.open(bundle)


def test_a_link_inside_the_folder(bundle: Path) -> None:
    (bundle / "encoder.onnx").rename(bundle / "moved")
    (bundle / "encoder.onnx").symlink_to("moved")
    with pytest.raises(BundleError, match="is a link or outside its folder"):
        Bundle.open(bundle)


class TestFilesBesideAGraph:
    @pytest.fixture
    def external(self, bundle: Path) -> Path:
        """The encoder's weights are in a file of their own, which the manifest does not list."""
        model = onnx.load(bundle / "encoder.onnx")
        onnx.save(
            model, bundle / "encoder.onnx", save_as_external_data=True, location="weights",
            size_threshold=0,
        )  # fmt: skip
        listed(bundle, ENCODER)
        return bundle

    def test_weights_that_are_not_listed(self, external: Path) -> None:
        with pytest.raises(BundleError, match="'weights', which the manifest"):
            Bundle.open(external)

    def test_weights_that_are(self, external: Path) -> None:
        record = msgspec.to_builtins(file_record(external, Path("weights")))
        change(external, lambda m: m["graphs"][0]["files"].append(record))
        Bundle.open(external)
        with (external / "weights").open("r+b") as file:
            file.write(b"changed")
        with pytest.raises(BundleError, match="weights' was changed"):
            Bundle.open(external)

    @pytest.mark.parametrize("location", ["/etc/passwd", "../outside", "*/_ORT_MEM_ADDR_/*"])
    @pytest.mark.parametrize("where", ["weight", "constant", "branch", "function"])
    def test_they_are_found_wherever_a_graph_has_tensors(
        self, tmp_path: Path, location: str, where: str
    ) -> None:
        tensor = onnx.numpy_helper.from_array(np.ones(3, np.float32), "w")
        onnx.external_data_helper.set_external_data(tensor, location)
        constant = onnx.helper.make_node("Constant", [], ["c"], value=tensor)
        inner = onnx.helper.make_graph([constant], "inner", [], [])
        branch = onnx.helper.make_node("If", ["x"], ["y"], then_branch=inner)
        nodes = {"constant": [constant], "branch": [branch]}.get(where, [])
        weights = [tensor] if where == "weight" else []
        model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "graph", [], [], weights))
        if where == "function":
            model.functions.append(onnx.helper.make_function("d", "f", [], ["c"], [constant], []))
        path = tmp_path / "encoder.onnx"
        path.write_bytes(model.SerializeToString())
        assert external_files(path) == {location}
        with pytest.raises(BundleError, match="does not list"):
            check_references(tmp_path, ["encoder.onnx"])

    def test_graphs_in_graphs_without_end(self, tmp_path: Path) -> None:
        content = b""
        for number in [6, 5, 1] * 100 + [7]:  # an attribute, its node, their graph; the model
            length = len(content)
            varint = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14])
            content = bytes([number << 3 | 2]) + varint + content
        path = tmp_path / "encoder.onnx"
        path.write_bytes(content)
        with pytest.raises(BundleError, match="not an ONNX file"):
            external_files(path)

    def test_a_key_that_libraries_cut_off(self, tmp_path: Path) -> None:
        """Protocol buffers take the lower 32 bits of a field's key: this is an external tensor."""
        content = b"\x0a\x08location\x12\x0a../outside"
        for key in (b"\xea\x80\x80\x80\x10", b"\x2a", b"\x3a"):  # in a tensor, graph and model
            content = key + bytes([len(content)]) + content
        path = tmp_path / "encoder.onnx"
        path.write_bytes(content)
        with pytest.raises(BundleError, match="not an ONNX file"):
            external_files(path)

    def test_a_graph_of_another_format_than_its_name_says(self, external: Path) -> None:
        """OpenVINO would read it as ONNX, and with it the weights that it names."""
        (external / "encoder.onnx").rename(external / "encoder.xml")
        with pytest.raises(BundleError, match="is not OpenVINO's XML"):
            check_references(external, ["encoder.xml"])
        (external / "encoder.xml").write_bytes(b"\xef\xbb\xbf\n<?xml version='1.0'?><net/>")
        check_references(external, ["encoder.xml"])

    def test_weights_beside_an_engine_of_qnn(self, external: Path) -> None:
        (external / "encoder.onnx").rename(external / "encoder.qnn")
        with pytest.raises(BundleError, match="'weights', which the manifest"):
            check_references(external, ["encoder.qnn"])

    @pytest.mark.parametrize(
        ("graph", "beside"),
        [
            ("encoder.xml", "encoder.bin"),
            ("decoder.mlpackage", "decoder_batch.mlpackage"),
            ("encoder.engine", "encoder.json"),
        ],
    )
    def test_what_is_found_by_its_name(self, tmp_path: Path, graph: str, beside: str) -> None:
        (tmp_path / graph).write_text("<net/>")
        check_references(tmp_path, [graph])
        (tmp_path / beside).touch()
        with pytest.raises(BundleError, match=f"'{beside}', which the manifest"):
            check_references(tmp_path, [graph])
        check_references(tmp_path, [graph, beside])

    def test_notes_of_others_do_no_harm(self, bundle: Path) -> None:
        (bundle / "README.md").write_text("mine")
        assert Bundle.open(bundle).manifest.image_size == 256


class TestPackages:
    @pytest.fixture
    def package(self, tmp_path: Path) -> Path:
        folder = tmp_path / "encoder.mlpackage"
        (folder / "Data").mkdir(parents=True)
        (folder / "Data" / "weights").write_bytes(b"12")
        (folder / "Manifest.json").write_bytes(b"{}")
        return folder

    def check(self, package: Path, digest: str) -> None:
        check_file(package.parent, package.name, 4, digest)

    @pytest.mark.parametrize("hashed", [sha256, _joined_sha256])
    def test_old_and_new_hashes_are_known(
        self, package: Path, hashed: Callable[[Path], str]
    ) -> None:
        digest = hashed(package)
        self.check(package, digest)
        (package / "Data" / "weights").write_bytes(b"13")
        with pytest.raises(BundleError, match="was changed"):
            self.check(package, digest)

    def test_names_and_contents_do_not_run_together(self, tmp_path: Path) -> None:
        first, second = tmp_path / "first", tmp_path / "second"
        for folder, files in ((first, {"a": b"1b\0" + b"2"}), (second, {"a": b"1", "b": b"2"})):
            folder.mkdir()
            for name, content in files.items():
                (folder / name).write_bytes(content)
        assert _joined_sha256(first) == _joined_sha256(second)
        assert sha256(first) != sha256(second)

    def test_links_in_a_package(self, package: Path) -> None:
        digest, weights = sha256(package), package / "Data" / "weights"
        weights.rename(package.parent / "outside")
        weights.symlink_to(package.parent / "outside")
        with pytest.raises(BundleError, match="weights' is a link"):
            self.check(package, digest)


class TestGraphs:
    def save(self, bundle: Path, model: onnx.ModelProto, role: str = ENCODER) -> None:
        (bundle / f"{role}.onnx").write_bytes(model.SerializeToString())
        listed(bundle, role)

    @pytest.mark.parametrize("side", [128, 10**6])
    def test_an_encoder_of_another_size(self, bundle: Path, side: int) -> None:
        model = onnx.load(bundle / "encoder.onnx")
        for axis in (2, 3):
            model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = side
        self.save(bundle, model)
        with pytest.raises(BundleError):
            open_model(bundle)

    @pytest.mark.parametrize(
        ("shape", "kind"),
        [
            ([1, 64, 16, 16], np.float64),
            ([1, 64, 16], np.float32),
            ([1, 64, 16, 17], np.float32),
            ([64, 16, 16], np.float32),
        ],
    )
    def test_an_encoder_of_other_answers(
        self, bundle: Path, shape: list[int], kind: type[np.generic]
    ) -> None:
        """Its outputs are declared as they should be where that can be: dimensions by name."""
        helper, dtype = onnx.helper, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
        value = onnx.numpy_helper.from_array(np.zeros(shape, kind), "value")
        told: list[int | str] = [1, 64, "rows", "columns"] if len(shape) == 4 else list(shape)
        graph = helper.make_graph(
            [
                helper.make_node("ReduceMin", ["image"], ["least"], keepdims=0),
                helper.make_node("CastLike", ["least", "value"], ["zero"]),
                helper.make_node("Add", ["value", "zero"], ["image_embeddings"]),
            ],
            "encoder",
            [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, 256, 256])],
            [helper.make_tensor_value_info("image_embeddings", dtype, told)],
            [value],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        self.save(bundle, model)
        with pytest.raises(BundleError), SAM(bundle) as sam:
            sam.encode(np.zeros((20, 20, 3), np.uint8))


def test_random_mutations(bundle: Path) -> None:
    """Every manifest is refused, or names the same tensors and files."""
    path = bundle / MANIFEST
    whole = Bundle.open(bundle)
    manifest, draw = json.loads(path.read_text()), random.Random(7)
    values = [
        None, True, -1, 0, 1, 64, 10**30, 0.5, "", "x", "fake", "prompts", "../x", "\0", "a" * 999,
        [], {}, [[]], [1] * 99, "encoder", "decoder.onnx", ".", MANIFEST, math.inf,
    ]  # fmt: skip
    accepted = 0
    for _ in range(150):
        changed = copy.deepcopy(manifest)
        parent, key = draw.choice(list(_places(changed)))
        if draw.random() < 0.3:
            del parent[key]
        elif isinstance(parent, list) and draw.random() < 0.3:
            parent.append(copy.deepcopy(parent[key]))
        else:
            parent[key] = draw.choice(values)
        path.write_text(json.dumps(changed))
        try:
            found = Bundle.open(bundle, check_hashes=False)
        except SamDeployError:
            continue
        accepted += 1
        assert found.specs() == whole.specs()
        assert found.graphs() == whole.graphs()
    assert 10 < accepted < 100


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in ``value`` with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])
