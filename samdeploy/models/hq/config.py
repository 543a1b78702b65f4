"""Architectures of HQ-SAM as plain numbers: SAM's, with an entry more in the decoder."""

from __future__ import annotations

from dataclasses import dataclass

from samdeploy.models.config import PUBLISHED as SAM_PUBLISHED
from samdeploy.models.config import MaskDecoderConfig, SamConfig, VitConfig


@dataclass(frozen=True)
class HqDecoderConfig(MaskDecoderConfig):
    """``hq_token_only``: masks are the high-quality one alone instead of its sum with each of
    SAM's; what the authors suggest for images of one object."""

    hq_token_only: bool = False


@dataclass(frozen=True)
class HqConfig(SamConfig):
    """The whole model. No weight tells ``hq_token_only``."""

    mask_decoder: HqDecoderConfig = HqDecoderConfig()

    @property
    def early_width(self) -> int:
        """Channels ``E`` of the early features: those of a ViT's blocks, or those that a TinyViT
        goes on with after its second stage."""
        encoder = self.image_encoder
        return encoder.embed_dim if isinstance(encoder, VitConfig) else encoder.embed_dims[2]

    @property
    def architecture(self) -> str:
        """A name for people: the published model that this is, or what it is made of."""
        for name, published in PUBLISHED.items():
            if self.image_encoder == published.image_encoder:
                return name
        return f"sam_hq_{super().architecture}"


_SIZES = {"vit_b": "sam_b", "vit_l": "sam_l", "vit_h": "sam_h", "vit_tiny": "mobile_sam"}

#: By the name of the checkpoint file, without what it ends in.
PUBLISHED = {
    f"sam_hq_{size}": HqConfig(SAM_PUBLISHED[sam].image_encoder) for size, sam in _SIZES.items()
}
