"""How to add a label format: a class in any module, and an entry point that names it.

Nothing of the repository is edited. The module below stands for a package, and its entry point for
what the package's ``pyproject.toml`` says::

    [project.entry-points."samdeploy.writers"]
    throwaway = "throwaway_labels:ThrowawayWriter"
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from samdeploy import InputError, RuntimeUnavailableError
from samdeploy.annotation import writers
from tests.annotation.conftest import Folder, tree

PACKAGE = '''
from dataclasses import dataclass

from samdeploy.errors import InputError
from samdeploy.options import option


@dataclass(frozen=True)
class ThrowawayOptions:
    decimals: int = option(1, "throwaway: digits after the point")
    units: tuple[int, ...] = option((1,), "throwaway: divisors of the area")

    def __post_init__(self):
        if self.decimals < 0:
            raise InputError(f"decimals={self.decimals}; expected a number of digits.")


class ThrowawayWriter:
    """A line per object: its class, and its area in each of the units."""

    Options = ThrowawayOptions

    def __init__(self, dataset, options):
        self.dataset, self.options = dataset, options

    def write(self, item):
        lines = [f"{one.class_id} {self._areas(one.rle.area)}" for one in item.instances]
        place = self.dataset.place(item.path.name, ".area", "areas")
        return [self.dataset.store.write(place, "\\n".join(lines).encode())]

    def finish(self, records):
        self.dataset.store.write("total.txt", str(sum(len(r.classes) for r in records)).encode())

    def _areas(self, area):
        options = self.options
        return " ".join(f"{area / unit:.{options.decimals}f}" for unit in options.units)
'''


@pytest.fixture
def installed(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., None]]:
    """Puts a module where Python finds it, and names its writers as an installer would."""
    site = tmp_path_factory.mktemp("site")
    monkeypatch.syspath_prepend(site)

    def install(source: str = PACKAGE, *names: str) -> None:
        (site / "throwaway_labels.py").write_text(source)
        group = "samdeploy.writers"
        points = [
            EntryPoint(name, "throwaway_labels:ThrowawayWriter", group)
            for name in names or ("throwaway",)
        ]
        monkeypatch.setattr(writers, "entry_points", lambda group: points)
        writers._added.cache_clear()

    yield install
    writers._added.cache_clear()
    sys.modules.pop("throwaway_labels", None)


@pytest.fixture
def throwaway(installed: Callable[..., None]) -> None:
    installed()


def areas(root: Path) -> list[list[str]]:
    """The lines of the first image, in words."""
    return [line.split() for line in (root / "areas" / "s0.area").read_text().splitlines()]


@pytest.mark.usefixtures("throwaway")
class TestFormatOfAnotherPackage:
    def test_from_python(self, run: Callable[..., Any], folder: Folder) -> None:
        summary = run(format="throwaway", decimals=3)
        found = areas(summary.output_dir)
        assert [line[0] for line in found] == [
            str(i % 3) for i in range(len(folder.masks["s0.png"]))
        ]
        assert all(len(line[1].partition(".")[2]) == 3 for line in found)
        assert (summary.output_dir / "total.txt").read_text() == str(summary.objects)

    def test_from_the_command_line(self, cli: Callable[..., Any], folder: Folder) -> None:
        given = ("data=images", "boxes=given", "sam_model=any", "runtime=fake")
        done = cli("annotate", *given, "format=throwaway", "decimals=2", "--units", "1,4")
        assert done.code == 0, done.err
        for line in areas(folder.root / "labels"):
            assert float(line[1]) == pytest.approx(4 * float(line[2]), abs=0.02)
        told = " ".join(cli("annotate", "--help").out.split())
        assert "--decimals <int> throwaway: digits after the point [default: 1]" in told
        for refused, sentence in (
            ("segmentation=polygon", "segmentation=polygon; format=throwaway has no use for it"),
            ("decimals=-1", "decimals=-1; expected a number of digits."),
        ):
            outcome = cli("annotate", *given, "format=throwaway", "output_dir=o", refused)
            assert (outcome.code, outcome.err.count("\n")) == (2, 1)
            assert sentence in outcome.err

    def test_another_value_does_all_again(self, run: Callable[..., Any]) -> None:
        run(format="throwaway")
        assert run(format="throwaway").resumed == 4
        again = run(format="throwaway", decimals=0)
        assert again.resumed == 0
        assert "decimals was 1 and is 0" in again.notices[0]

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ({"format": "yolo", "decimals": 3}, "decimals=3; format=yolo has no use for it"),
            ({"format": "throwaway", "decimal": 3}, "'decimal'; did you mean 'decimals'"),
            ({"format": "thrownaway"}, "did you mean 'throwaway'"),
            ({"format": "x"}, "expected one of yolo, coco, labelme, png, throwaway"),
        ],
    )
    def test_refused(
        self, run: Callable[..., Any], folder: Folder, arguments: dict[str, Any], sentence: str
    ) -> None:
        before = tree(folder.root)
        with pytest.raises(InputError, match=sentence):
            run(**arguments)
        assert tree(folder.root) == before

    def test_what_is_at_its_default_asks_for_nothing(self, run: Callable[..., Any]) -> None:
        assert run(decimals=1, segmentation="rle").labelled == 4


def test_names_of_ours_stay_ours(installed: Callable[..., None]) -> None:
    installed(PACKAGE, "yolo", "throwaway")
    assert writers.find_writer("yolo") is writers.BUILT_IN["yolo"]
    assert writers.writer_names() == ["yolo", "coco", "labelme", "png", "throwaway"]


def test_an_option_that_is_called_like_one_of_every_run(
    installed: Callable[..., None], run: Callable[..., Any], cli: Callable[..., Any]
) -> None:
    """The package is told, and other formats are none the worse."""
    installed(PACKAGE.replace("decimals", "zoom"))
    with pytest.raises(InputError, match="format=throwaway calls an option of its own zoom"):
        run(format="throwaway")
    assert run().labelled == 4
    assert cli("annotate", "--help").code == 0


@pytest.mark.parametrize("name", ["images", "detector", "category_ids", "whole_image"])
def test_an_option_that_the_journal_would_hide(
    installed: Callable[..., None], run: Callable[..., Any], name: str
) -> None:
    installed(PACKAGE.replace("decimals", name))
    with pytest.raises(InputError, match=f"calls an option of its own {name}, as the journal of"):
        run(format="throwaway")


def test_a_package_that_is_broken(
    installed: Callable[..., None], run: Callable[..., Any], cli: Callable[..., Any]
) -> None:
    installed("import what_nobody_has\n")
    with pytest.raises(RuntimeUnavailableError, match="format 'throwaway' is not usable here"):
        run(format="throwaway")
    assert run().labelled == 4
    assert cli("annotate", "--help").code == 0
