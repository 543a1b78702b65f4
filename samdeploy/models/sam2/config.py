"""Architectures of SAM 2 as plain numbers.

The nested mapping form is that of the official configuration files, with the sections of SAM 1 for
what those leave to the classes: ``prompt_encoder``, and ``mask_decoder`` with ``transformer``
inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

from samdeploy.models.config import (
    MaskDecoderConfig,
    PromptEncoderConfig,
    RepVitTrunkConfig,
    section_of,
    updated,
)


@dataclass(frozen=True)
class BlockPlan:
    """One block of the trunk: ``width`` channels of ``grid x grid`` tokens in, ``out`` channels
    out; ``window`` 0 means global attention. One that ``pools`` halves the side of the grid."""

    width: int
    out: int
    heads: int
    grid: int
    window: int
    pools: bool


@dataclass(frozen=True)
class HieraConfig:
    """Hiera (arXiv:2306.00989), a vision transformer in stages. From one to the next the width and
    the number of heads double and the grid is halved.

    The table of positions is a coarse one, of ``window_pos_embed_bkg_spatial_size``, and one of
    the first stage's window, repeated (arXiv:2311.05613).
    """

    embed_dim: int = 96
    num_heads: int = 1
    stages: tuple[int, ...] = (1, 2, 7, 2)
    global_att_blocks: tuple[int, ...] = (5, 7, 9)
    window_spec: tuple[int, ...] = (8, 4, 14, 7)
    window_pos_embed_bkg_spatial_size: tuple[int, ...] = (7, 7)
    mlp_ratio: float = 4.0
    layer_norm_eps: float = 1e-6

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of every stage, the finest first."""
        return tuple(self.embed_dim << stage for stage in range(len(self.stages)))

    def plans(self, image_size: int) -> list[BlockPlan]:
        """Every block for an input of ``image_size`` pixels.

        The first block of a stage still attends in windows of the stage before, and pools.
        """
        plans: list[BlockPlan] = []
        for stage, (depth, width) in enumerate(zip(self.stages, self.widths, strict=True)):
            for position in range(depth):
                pools = stage > 0 and position == 0
                window = self.window_spec[stage - pools]
                plans.append(
                    BlockPlan(
                        width=width >> pools,
                        out=width,
                        heads=self.num_heads << stage,
                        grid=image_size // 4 >> stage - pools,
                        window=0 if len(plans) in self.global_att_blocks else window,
                        pools=pools,
                    )
                )
        return plans


@dataclass(frozen=True)
class NeckConfig:
    """A feature pyramid of ``d_model`` channels."""

    d_model: int = 256


#: Hiera in SAM 2, RepViT in EdgeTAM (arXiv:2501.07256).
TrunkConfig: TypeAlias = HieraConfig | RepVitTrunkConfig


@dataclass(frozen=True)
class ImageEncoderConfig:
    trunk: TrunkConfig = HieraConfig()
    neck: NeckConfig = NeckConfig()

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels that the trunk's stages end with, the finest first."""
        trunk = self.trunk
        return trunk.widths if isinstance(trunk, HieraConfig) else trunk.embed_dims


@dataclass(frozen=True)
class Sam2Config:
    """The image part of a model. ``version`` is that of the weights, 2.0 or 2.1: on single images
    the architecture is the same. EdgeTAM's, which have none of their own, are called 2.1."""

    image_size: int = 1024
    version: float = 2.1
    image_encoder: ImageEncoderConfig = ImageEncoderConfig()
    prompt_encoder: PromptEncoderConfig = field(default_factory=PromptEncoderConfig)
    mask_decoder: MaskDecoderConfig = field(default_factory=MaskDecoderConfig)

    @property
    def grid(self) -> int:
        """Side of the image embedding: ``S / 16``."""
        return self.image_size // 16

    @property
    def channels(self) -> int:
        """Width ``C`` of the image embedding."""
        return self.image_encoder.neck.d_model

    @property
    def architecture(self) -> str:
        """A name for people: the published model that this is, or what it is made of."""
        same = replace(self, image_size=Sam2Config.image_size)
        for name, published in PUBLISHED.items():
            if same == published:
                return name
        trunk = self.image_encoder.trunk
        if isinstance(trunk, RepVitTrunkConfig):
            return f"edgetam_{trunk.embed_dims[0]}x{sum(trunk.depths)}"
        return f"{_series(self.version)}_hiera_{trunk.embed_dim}x{sum(trunk.stages)}"

    def to_mapping(self) -> dict[str, Any]:
        """The nested mapping that configurations are given in, of primitives only."""
        return asdict(self)


def _series(version: float) -> str:
    return "sam2" if version == 2 else f"sam{version:g}"


_SIZES = {
    "tiny": HieraConfig(),
    "small": HieraConfig(stages=(1, 2, 11, 2), global_att_blocks=(7, 10, 13)),
    "base_plus": HieraConfig(
        embed_dim=112,
        num_heads=2,
        stages=(2, 3, 16, 3),
        global_att_blocks=(12, 16, 20),
        window_pos_embed_bkg_spatial_size=(14, 14),
    ),
    "large": HieraConfig(
        embed_dim=144,
        num_heads=2,
        stages=(2, 6, 36, 4),
        global_att_blocks=(23, 33, 43),
        window_spec=(8, 4, 16, 8),
    ),
}

#: By the name of the checkpoint file, without what it ends in.
PUBLISHED = {
    f"{_series(version)}_hiera_{size}": Sam2Config(
        version=version, image_encoder=ImageEncoderConfig(trunk)
    )
    for version in (2.1, 2.0)
    for size, trunk in _SIZES.items()
}
PUBLISHED["edgetam"] = Sam2Config(
    image_encoder=ImageEncoderConfig(
        RepVitTrunkConfig((48, 96, 192, 384), (2, 2, 14, 2), norm_of_sum=False)
    )
)


def config_of(mapping: Mapping[str, Any]) -> Sam2Config:
    """The model that :meth:`Sam2Config.to_mapping` told of."""
    trunk = section_of(section_of(mapping, "image_encoder"), "trunk")
    kind: TrunkConfig = RepVitTrunkConfig() if "depths" in trunk else HieraConfig()
    return updated(Sam2Config(image_encoder=ImageEncoderConfig(kind)), mapping)
