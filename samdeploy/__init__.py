"""samdeploy: Segment Anything on the device it has to run on.

Export a checkpoint to a verified bundle, open it on any runtime, segment by points, boxes, masks
or the whole image. Running a bundle needs no torch.
"""

from importlib.metadata import version

from samdeploy.annotate import AnnotationSummary, auto_annotate
from samdeploy.benchmarking import benchmark, tune
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
from samdeploy.export_pipeline import export
from samdeploy.image_options import ImageOptions
from samdeploy.masks import Masks
from samdeploy.prompts import Prompt
from samdeploy.sam import SAM
from samdeploy.yolo.facade import YOLO, FastSAM

__version__ = version("samdeploy")

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
    "VerificationError",
    "__version__",
    "auto_annotate",
    "benchmark",
    "export",
    "tune",
]
