"""Our own model as a subject, on whichever runtime."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samdeploy.benchmarks.jobs import Job
from samdeploy.benchmarks.measure import Pixels, Points
from samdeploy.benchmarks.substitution import SubstitutedSession, Substitution
from samdeploy.checked import CheckedSession
from samdeploy.embedding import Embedding
from samdeploy.opening import open_model
from samdeploy.sam import SAM
from samdeploy.session import RuntimeOptions


class Ours:
    """A bundle or a checkpoint."""

    def __init__(self, job: Job) -> None:
        opened = open_model(
            job.model,
            runtime=job.runtime,
            device=job.device,
            options=RuntimeOptions(
                threads=job.threads, precision=job.precision, imgsz=job.imgsz, config=job.config
            ),
        )
        self._substitution: Substitution | None = None
        if job.substitute and job.whole_image is not None:
            shape = np.load(job.image, mmap_mode="r").shape[:2]
            transform = opened.preprocess.transform(shape, opened.image_size)
            chosen = Substitution(transform, job.whole_image["points_stride"])
            self._substitution = chosen
            opened = dataclasses.replace(
                opened,
                sessions={
                    role: CheckedSession(SubstitutedSession(session, role, chosen), role)
                    for role, session in opened.sessions.items()
                },
            )
        self._sam = SAM(opened)
        self._embedding: Embedding | None = None
        providers = {session.provider for session in opened.sessions.values()}
        self.provider = ", ".join(sorted(providers))
        bundle = opened.bundle
        self.artifact_bytes = bundle.bytes if bundle else Path(opened.source).stat().st_size

    def encode(self, image: Pixels) -> None:
        self._embedding = self._sam.encode(image, "rgb")

    def decode(self, points: Points) -> NDArray[np.float32]:
        found = self._sam.predict(self._embedding, points=points, multimask=True)
        logits = found.low_res_logits
        assert logits is not None  # prompts always have them
        return logits.reshape(len(points), -1, *logits.shape[1:])

    def click(self, point: Points) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = self._sam.predict(self._embedding, points=point).data[0]
        return mask

    def generate(self, image: Pixels, settings: dict[str, Any]) -> int:
        if self._substitution is None:
            return len(self._sam.generate(image, channel_order="rgb", **settings))
        self._substitution.enabled = True
        try:
            return len(self._sam.generate(image, channel_order="rgb", **settings))
        finally:
            self._substitution.enabled = False
