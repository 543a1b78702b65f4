"""Names to peers. A peer is one class in one file; nothing else knows it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Protocol

from samdeploy.benchmarks.jobs import Job
from samdeploy.benchmarks.measure import Subject
from samdeploy.benchmarks.peer_meta import MetaPeer
from samdeploy.benchmarks.peer_sam2 import Sam2Peer
from samdeploy.benchmarks.peer_samexporter import SamexporterPeer
from samdeploy.benchmarks.peer_samexporter_sam2 import SamexporterSam2Peer
from samdeploy.benchmarks.peer_transformers import TransformersPeer
from samdeploy.benchmarks.peer_ultralytics import UltralyticsPeer


class Peer(Subject, Protocol):
    """How another tool is brought to the same measurements; it imports its library when called.

    ``title`` is its name for people, ``architectures`` the published ones that it runs.
    """

    title: ClassVar[str]
    architectures: ClassVar[tuple[str, ...]]

    def __init__(self, job: Job) -> None:
        """Open what ``prepare`` made; timed as ``load``."""
        ...

    @staticmethod
    def needs(architecture: str) -> tuple[str, ...]:
        """Distributions that have to be installed."""
        ...

    @staticmethod
    def prepare(job: Job, folder: Path) -> str:
        """Make what is opened from the checkpoint ``job.model``; returns its path."""
        ...


PEERS: dict[str, type[Peer]] = {
    "meta": MetaPeer,
    "ultralytics": UltralyticsPeer,
    "transformers": TransformersPeer,
    "samexporter": SamexporterPeer,
    "sam2": Sam2Peer,
    "samexporter-sam2": SamexporterSam2Peer,
}
