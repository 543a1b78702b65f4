"""samdeploy: Segment Anything on the device it has to run on.

Export a checkpoint to a verified bundle, open it on any runtime, segment by points, boxes, masks
or the whole image. Running a bundle needs no torch.
"""

from importlib import metadata
from typing import TYPE_CHECKING, Any

from samdeploy.embedding import Embedding
from samdeploy.errors import (
    BundleError,
    CheckpointError,
    DownloadError,
    ExportError,
    InputError,
    OutputError,
    RuntimeUnavailableError,
    SamDeployError,
    VerificationError,
)
from samdeploy.image_options import ImageOptions
from samdeploy.masks.masks import Masks
from samdeploy.prompts import Prompt
from samdeploy.sam import SAM
from samdeploy.tracking.tracked import Tracked
from samdeploy.yolo.facade import YOLO, FastSAM

if TYPE_CHECKING:
    from samdeploy.annotation.annotate import AnnotationSummary, auto_annotate
    from samdeploy.benchmarking import benchmark, tune
    from samdeploy.exporting.pipeline import export

__version__ = metadata.version("samdeploy")

__all__ = [
    "SAM",
    "YOLO",
    "AnnotationSummary",
    "BundleError",
    "CheckpointError",
    "DownloadError",
    "Embedding",
    "ExportError",
    "FastSAM",
    "ImageOptions",
    "InputError",
    "Masks",
    "OutputError",
    "Prompt",
    "RuntimeUnavailableError",
    "SamDeployError",
    "Tracked",
    "VerificationError",
    "__version__",
    "auto_annotate",
    "benchmark",
    "export",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Import what no run of a model needs when it is first named."""
    if name not in __all__:
        raise AttributeError(f"module 'samdeploy' has no attribute '{name}'")
    from samdeploy import benchmarking
    from samdeploy.annotation import annotate
    from samdeploy.exporting import pipeline

    found = {**vars(benchmarking), **vars(pipeline), **vars(annotate)}[name]
    return globals().setdefault(name, found)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
