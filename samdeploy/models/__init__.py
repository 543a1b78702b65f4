"""SAM in torch, written for export, and YOLO through Ultralytics. The only part of the hub that
imports torch."""

from samdeploy.models.config import RepVitConfig, SamConfig, TinyVitConfig, VitConfig
from samdeploy.models.graph_modules import graph_modules
from samdeploy.models.loaded import GraphModule, LoadedModel, ModelFacts
from samdeploy.models.sam import Sam, SamDecoder, SamEncoder

__all__ = [
    "GraphModule",
    "LoadedModel",
    "ModelFacts",
    "RepVitConfig",
    "Sam",
    "SamConfig",
    "SamDecoder",
    "SamEncoder",
    "TinyVitConfig",
    "VitConfig",
    "graph_modules",
]
