"""The contract of every exporter. The tests of a format subclass :class:`ExporterContract`."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from samdeploy.errors import InputError
from samdeploy.exporting.options import chosen_options
from samdeploy.options import options_of
from samdeploy.registry import EXPORTERS, RUNTIMES, availability, load_exporter, load_runtime
from samdeploy.session import Exporter, ExportOptions, Graph, RuntimeOptions
from samdeploy.testing.small_model import answers, feeds_of, small_graphs

ROLES = ("encoder", "decoder", "prepare", "scorer", "mask_head")


class ExporterContract:
    """Subclasses set :attr:`format`."""

    format: ClassVar[str]
    #: Options of every export here, beside the defaults.
    options: ClassVar[dict[str, Any]] = {}
    #: How far answers may be from those of torch, relative to the largest.
    tolerance: ClassVar[float] = 1e-4

    @pytest.fixture(scope="class")
    @classmethod
    def exporter(cls) -> type[Exporter]:
        state = availability(EXPORTERS, cls.format)
        if not state.usable:
            pytest.skip(f"format {cls.format}: {state.reason}")
        return load_exporter(cls.format)

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp(cls.format)

    @pytest.fixture(scope="class")
    @classmethod
    def written(cls, exporter: type[Exporter], folder: Path) -> dict[str, Graph]:
        """All graphs of a model, in one folder as in a bundle."""
        options = replace(exporter.Options(**cls.options), metadata={"source": "small"})
        write = exporter().export
        return {role: write(graph, folder, options) for role, graph in small_graphs().items()}

    def test_availability(self, exporter: type[Exporter]) -> None:
        state = exporter.availability()
        assert state.usable
        assert state.version

    def test_it_names_what_opens_its_files(self, exporter: type[Exporter]) -> None:
        assert exporter.name == self.format
        assert exporter.runtimes
        for name in exporter.runtimes:
            availability(RUNTIMES, name)  # an unknown name raises

    def test_options_are_fields_with_a_default_and_help(self, exporter: type[Exporter]) -> None:
        owner = exporter.Options
        assert is_dataclass(owner)
        assert issubclass(owner, ExportOptions)
        assert owner()
        for each in fields(owner):
            assert each.name == "metadata" or each.metadata["help"], each.name

    def test_what_it_is_not_asked_is_refused(self, exporter: type[Exporter]) -> None:
        with pytest.raises(InputError, match="unknown option 'no_such_option'"):
            chosen_options(exporter, {"no_such_option": 1})
        assert chosen_options(exporter, self.options) == exporter.Options(**self.options)
        assert all(isinstance(name, str) for name in options_of(exporter.Options))

    @pytest.mark.parametrize("role", ROLES)
    def test_the_record_is_the_graph(self, written: dict[str, Graph], role: str) -> None:
        module, graph = small_graphs()[role], written[role]
        assert graph.role == role
        assert (graph.inputs, graph.outputs) == (module.inputs, module.outputs)

    def test_every_file_is_listed_once(self, written: dict[str, Graph], folder: Path) -> None:
        listed = [path for graph in written.values() for path in graph.files]
        assert len(listed) == len(set(listed))
        assert all(not path.is_absolute() and (folder / path).exists() for path in listed)
        assert {path.parts[0] for path in listed} == {path.name for path in folder.iterdir()}

    @pytest.mark.parametrize("count", [(1, 1), (3, 4)], ids=["click", "batch"])
    @pytest.mark.parametrize("role", ROLES)
    def test_it_answers_like_torch(
        self,
        exporter: type[Exporter],
        written: dict[str, Graph],
        folder: Path,
        role: str,
        count: tuple[int, int],
    ) -> None:
        states = {name: availability(RUNTIMES, name) for name in exporter.runtimes}
        usable = [name for name, state in states.items() if state.usable]
        if not usable:
            pytest.skip(f"no runtime of {self.format} works here")
        graph = small_graphs()[role]
        feeds = feeds_of(role, *count)
        session = load_runtime(usable[0])().open(
            folder / written[role].files[0],
            role,
            device=states[usable[0]].devices[0],
            options=RuntimeOptions(precision="fp32"),
        )
        found = session.run(feeds)
        session.close()
        for name, expected in answers(graph, feeds).items():
            if "values" in next(spec.shape for spec in graph.outputs if spec.name == name):
                continue  # more of them where tokens are filled up: the mask head adds them up
            assert found[name].shape == expected.shape
            assert np.abs(found[name] - expected).max() <= self.tolerance * np.abs(expected).max()
