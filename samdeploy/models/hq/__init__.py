"""HQ-SAM and Light HQ-SAM (arXiv:2306.01567), written for export."""

from samdeploy.models.hq.config import HqConfig
from samdeploy.models.hq.hq_sam import HqDecoder, HqEncoder, HqSam
from samdeploy.models.hq.load import load_hq_sam

__all__ = ["HqConfig", "HqDecoder", "HqEncoder", "HqSam", "load_hq_sam"]
