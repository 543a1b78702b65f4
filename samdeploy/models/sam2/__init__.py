"""Segment Anything 2 and 2.1 (arXiv:2408.00714) and EdgeTAM (arXiv:2501.07256) on single images,
written for export."""

from samdeploy.models.sam2.config import HieraConfig, Sam2Config
from samdeploy.models.sam2.load import load_sam2
from samdeploy.models.sam2.sam2 import Sam2, Sam2Decoder, Sam2Encoder

__all__ = ["HieraConfig", "Sam2", "Sam2Config", "Sam2Decoder", "Sam2Encoder", "load_sam2"]
