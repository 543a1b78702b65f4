"""Writes the LiteRT graphs that tests/test_litert.py runs, into tests/golden/litert.

    python tools/litert_golden.py litert-env/bin/python

The argument is the Python of an environment with litert-torch, see docs/embedding.md.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from samdeploy.exporters.litert import LiteRtExporter, LiteRtOptions
from samdeploy.graphs import ENCODER
from samdeploy.testing.small_model import small_graphs

FOLDER = Path(__file__).parents[1] / "tests" / "golden" / "litert"


def main(python: str) -> None:
    exporter = LiteRtExporter()
    options = LiteRtOptions(max_prompts=3, max_points=4, converter=python)
    for graph in small_graphs().values():
        print(*exporter.export(graph, FOLDER, options).files)
    integers = replace(options, int8=True, integers=True)
    print(*exporter.export(small_graphs()[ENCODER], FOLDER / "integers", integers).files)


if __name__ == "__main__":
    main(*sys.argv[1:])
