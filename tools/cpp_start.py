"""Start to first mask: fresh processes of ``samdeploy-cli`` and of Python, in turn, and what each
has to load.

    python tools/cpp_start.py build/cpp/gcc/samdeploy-cli sam_tiny_onnx sam_tiny_openvino [rounds=5]

A process starts, opens the bundle, reads a picture of 600 x 400, answers one click and ends; in C++
also with a cache of prepared graphs. Prints a table in Markdown: by the clock, and the processor's
time, which says the same on a busy machine.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from samdeploy.scenes import generate_scene

_CLICK = "points=[[300,200]]"
_PYTHON = """
import sys
from samdeploy import SAM
SAM(sys.argv[1]).predict(sys.argv[2], points=[[300, 200]]).data
"""


def main(program: Path, bundles: Sequence[Path], rounds: int = 5) -> None:
    names = ("C++ with a cache", "C++", "Python")
    head = [*(f"{each}, ms" for each in names), *(f"processor: {each}, ms" for each in names)]
    print(f"| bundle | {' | '.join(head)} |\n|---|{'---|' * len(head)}")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "scene.png"
        Image.fromarray(generate_scene(3, (400, 600)).image).save(source)
        for bundle in bundles:
            own = [program, f"model={bundle}", f"source={source}", _CLICK, f"output={folder}/out"]
            ways = (
                [*own, f"cache={folder}/cache"],
                own,
                [sys.executable, "-c", _PYTHON, bundle, source],
            )
            took: list[list[float]] = [[] for _ in head]
            for _ in range(rounds + 1):  # the first reads files that no later one reads
                for index, way in enumerate(ways):
                    for kind, seconds in enumerate(_seconds(way)):
                        took[len(ways) * kind + index].append(seconds)
            cells = (f"{1e3 * statistics.median(seconds[1:]):.0f}" for seconds in took)
            print(f"| {bundle.name} | {' | '.join(cells)} |")
    library = program.with_name("libsamdeploy.so")
    sizes = (f"{path.name} {path.stat().st_size / 1e6:.1f} MB" for path in (program, library))
    print(f"\n{', '.join(sizes)}, beside the backend's own libraries.")


def _seconds(command: Sequence[str | Path]) -> tuple[float, float]:
    """By the clock, and of the processor."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took, used


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if not word.startswith("rounds=")]
    told = [int(word.removeprefix("rounds=")) for word in sys.argv[1:] if word not in given]
    main(Path(given[0]), [Path(bundle) for bundle in given[1:]], *told)
