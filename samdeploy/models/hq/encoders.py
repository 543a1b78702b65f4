"""SAM's image encoders, which for HQ-SAM also give features from half way (arXiv:2306.01567):
``[B, 3, S, S]``, normalised -> embedding ``[B, C, S/16, S/16]`` and early features
``[B, E, S/16, S/16]``."""

from torch import Tensor

from samdeploy.models.config import VitConfig
from samdeploy.models.tiny_vit import TinyViT
from samdeploy.models.vit import ImageEncoderViT


class HqVit(ImageEncoderViT):
    """Its early features are the tokens after the first block of global attention."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__(config)
        self.early = min(config.global_attn_indexes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x = self.patch_embed(x) + self.pos_embed
        early = x
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == self.early:
                early = x
        return self.neck(x.permute(0, 3, 1, 2)), early.permute(0, 3, 1, 2)


class HqTinyViT(TinyViT):
    """Its early features are what the second stage ends with: the first at a sixteenth."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x = self.patch_embed(x)
        early = x = self.layers[1](self.layers[0](x))
        for stage in self.layers[2:]:
            x = stage(x)
        return self.neck(x), early
