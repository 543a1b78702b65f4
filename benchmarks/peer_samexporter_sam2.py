"""samexporter's SAM 2: its own ONNX export and ONNX Runtime sessions; no whole-image mode."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from samdeploy.benchmarks.jobs import Job
from samdeploy.benchmarks.peer_sam2 import CONFIGS, build
from samdeploy.benchmarks.peer_samexporter import SamexporterPeer, with_threads


class SamexporterSam2Peer(SamexporterPeer):
    """Its decoder was traced with one prompt, so several are several calls."""

    title: ClassVar[str] = "samexporter (SAM 2)"
    architectures: ClassVar[tuple[str, ...]] = tuple(CONFIGS)

    @staticmethod
    def needs(architecture: str) -> tuple[str, ...]:
        """Distributions that have to be installed."""
        return "samexporter", "sam2", "hydra-core", "iopath", "torch", "onnxruntime"

    @staticmethod
    def prepare(job: Job, folder: Path) -> str:
        model = build(job)
        import torch

        target = folder / "samexporter-sam2"
        target.mkdir()
        # Its exporter takes a whole official checkpoint, and is a script.
        whole = target / "checkpoint.pt"
        torch.save({"model": model.state_dict()}, whole)
        arguments = {
            "checkpoint": whole,
            "output_encoder": target / "encoder.onnx",
            "output_decoder": target / "decoder.onnx",
            "model_type": job.architecture,
        }
        before = sys.argv
        sys.argv = ["export_sam2"]
        sys.argv += [
            text for name, value in arguments.items() for text in (f"--{name}", str(value))
        ]
        try:
            runpy.run_module("samexporter.export_sam2", run_name="__main__")
        finally:
            sys.argv = before
        whole.unlink()
        return str(target)

    def __init__(self, job: Job) -> None:
        paths = [Path(job.model) / f"{role}.onnx" for role in ("encoder", "decoder")]
        with with_threads(job.threads):
            from samexporter.sam2_onnx import SegmentAnything2ONNX

            self._model: Any = SegmentAnything2ONNX(
                *map(str, paths), providers=["CPUExecutionProvider"]
            )
        self.artifact_bytes = sum(path.stat().st_size for path in paths)
        self.provider = self._model.encoder.session.get_providers()[0]

    def _low_res(self, point: NDArray[np.float64]) -> NDArray[np.float32]:
        embedding, decoder = self._embedding, self._model.decoder
        decoder.set_image_size(embedding["original_size"])
        feeds = decoder.prepare_inputs(
            embedding["image_embedding"],
            embedding["high_res_feats_0"],
            embedding["high_res_feats_1"],
            np.asarray(point, np.float32)[None],
            np.ones(1, np.float32),
        )
        found: NDArray[np.float32] = decoder.infer(feeds)[0]
        return found
