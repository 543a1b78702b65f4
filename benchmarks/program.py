"""The C++ runtime in the measuring process: ``samdeploy-cli`` measures itself, by the same steps as
everybody else."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from samdeploy.benchmarks.jobs import PROMPTS, Job, Outcome
from samdeploy.benchmarks.measure import Pixels, spread_points
from samdeploy.bundle import Bundle
from samdeploy.errors import RuntimeUnavailableError

#: Subject of a :class:`Job`, and value of ``runtime=``.
CPP = "cpp"
PROGRAM = "samdeploy-cli"


def measure_program(job: Job) -> Outcome:
    """The timings of ``job``; also writes the logits that the parent compares.

    Raises:
        RuntimeUnavailableError: the program refused, in its words.
    """
    image: Pixels = np.load(job.image)
    size = Bundle.open(job.model).bytes
    if job.whole_image is not None and job.substitute:
        return Outcome("", size, {}, {})
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "image.ppm"
        height, width = image.shape[:2]
        source.write_bytes(f"P6 {width} {height} 255\n".encode() + image.tobytes())
        asked = {"model": job.model, "source": source, "backend": job.runtime, "device": job.device}
        asked |= {"threads": job.threads, "precision": job.precision}
        if job.whole_image is None:
            points = spread_points(max(PROMPTS), image).tolist()
            found = _timed(job, {**asked, "points": points, "repeat": job.rounds})
            few = {"points": points[:16], "multimask": True, "logits": job.logits, "output": folder}
            _run(job.program, {**asked, **few})
            logits = np.load(job.logits)
            np.save(job.logits, logits.reshape(16, -1, *logits.shape[1:]))
        else:
            found = _timed(job, {**asked, **job.whole_image, "repeat": job.whole_image_rounds})
    return Outcome(
        provider=found["provider"],
        artifact_bytes=size,
        seconds=found["seconds"],
        peaks=found["peaks"],
        masks=found.get("masks"),
    )


def _timed(job: Job, asked: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_run(job.program, {**asked, "warmup": job.warmup}))
    return found


def _run(program: str, asked: Mapping[str, Any]) -> str:
    words = [
        f"{name}={value if isinstance(value, (str, Path)) else json.dumps(value)}"
        for name, value in asked.items()
        if value is not None
    ]
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        raise RuntimeUnavailableError(f"{PROGRAM}: {said[-1].removeprefix('error: ')}")
    return done.stdout
