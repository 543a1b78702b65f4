"""A YOLO model as a subject: one pass from image to masks, or boxes where it has no masks."""

from __future__ import annotations

from typing import Any, NoReturn

from samdeploy.benchmarks.jobs import Job
from samdeploy.benchmarks.measure import NoPromptsError, Pixels
from samdeploy.opening import class_of
from samdeploy.session import RuntimeOptions
from samdeploy.yolo.facade import YOLO


class SinglePass:
    """There is no embedding to time, and prompts only choose from what the pass found."""

    def __init__(self, job: Job) -> None:
        options = RuntimeOptions(threads=job.threads, precision=job.precision)
        opened = class_of(job.model)(
            job.model, runtime=job.runtime, device=job.device, options=options
        )
        assert isinstance(opened, YOLO)
        self._yolo = opened
        facts = opened.info(verbose=False)
        self._ask = opened.generate if facts["task"] == "segment" else opened.detect
        self.provider = ", ".join(facts["providers"].values())
        self.artifact_bytes: int = facts.get("bytes") or opened.source.stat().st_size

    def encode(self, image: Pixels) -> NoReturn:
        raise NoPromptsError

    def decode(self, points: object) -> NoReturn:
        raise NoPromptsError

    def click(self, point: object) -> NoReturn:
        raise NoPromptsError

    def generate(self, image: Pixels, settings: dict[str, Any]) -> int:
        """``settings`` are of SAM's grid of points, which there is none of here."""
        return len(self._ask(image, channel_order="rgb"))
