"""HQ-SAM and its two halves, as graphs."""

from torch import Tensor, nn

from samdeploy.models.config import TinyVitConfig, VitConfig
from samdeploy.models.hq.config import HqConfig
from samdeploy.models.hq.encoders import HqTinyViT, HqVit
from samdeploy.models.hq.mask_decoder import HqMaskDecoder
from samdeploy.models.sam import Sam
from samdeploy.preprocess import SAM_STEPS, Preprocess


class HqSam(Sam):
    """HQ-SAM, or Light HQ-SAM where the encoder is a TinyViT (arXiv:2306.01567)."""

    config: HqConfig
    mask_decoder: HqMaskDecoder

    def __init__(self, config: HqConfig, preprocess: Preprocess = SAM_STEPS) -> None:
        super().__init__(config, preprocess)

    def make_image_encoder(self) -> nn.Module:
        encoder = self.config.image_encoder
        if isinstance(encoder, VitConfig):
            return HqVit(encoder)
        assert isinstance(encoder, TinyVitConfig)
        return HqTinyViT(encoder)

    def make_mask_decoder(self) -> HqMaskDecoder:
        return HqMaskDecoder(self.config)

    def encode(self, image: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """``[B, 3, S, S]`` RGB in 0-255, padded with the pixel mean -> ``image_embeddings``
        ``[B, C, S/16, S/16]`` and ``hq_features`` ``[B, C/8, S/4, S/4]``."""
        embeddings, early = self.image_encoder((image - self.pixel_mean) / self.pixel_std)
        return embeddings, self.mask_decoder.hq_features(embeddings, early)

    def decode(  # type: ignore[override]
        self,
        image_embeddings: Tensor,
        hq_features: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Masks for ``B`` prompts on one image; prompts as for :meth:`Sam.decode`.

        The official code answers with one mask. Asked for a single one, it is the first of those
        here; asked for several, it is the one with the largest predicted IoU of the other three,
        which is left to the caller.

        Args:
            image_embeddings: ``[1, C, g, g]``; like the next, from :meth:`encode`.
            hq_features: ``[1, C/8, 4g, 4g]``.
            point_coords: ``[B, P, 2]``.
            point_labels: ``[B, P]``.
            mask_input: ``[B, 1, 4g, 4g]``.
            has_mask_input: ``[B]``.

        Returns:
            ``low_res_masks`` ``[B, 4, 4g, 4g]``, each of SAM's masks and the high-quality mask
            added up, or the latter four times with ``hq_token_only``; ``iou_predictions``
            ``[B, 4]``, which are those of SAM's masks.
        """
        decoder = self.mask_decoder
        queries, keys = decoder.attend(
            *self.prompted(image_embeddings, point_coords, point_labels, mask_input, has_mask_input)
        )
        iou: Tensor = decoder.iou_prediction_head(queries[:, 0])
        tokens = queries[:, 1 : decoder.output_tokens().shape[0]]
        return decoder.hq_masks(tokens, keys, hq_features), iou


class HqEncoder(nn.Module):
    """The ``encoder`` graph: ``image`` -> ``image_embeddings``, ``hq_features``."""

    def __init__(self, sam: HqSam) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.sam.encode(image)


class HqDecoder(nn.Module):
    """The ``decoder`` graph: image tensors and prompts -> ``low_res_masks``,
    ``iou_predictions``."""

    def __init__(self, sam: HqSam) -> None:
        super().__init__()
        self.sam = sam

    def forward(
        self,
        image_embeddings: Tensor,
        hq_features: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
        mask_input: Tensor,
        has_mask_input: Tensor,
    ) -> tuple[Tensor, Tensor]:
        return self.sam.decode(
            image_embeddings, hq_features, point_coords, point_labels, mask_input, has_mask_input
        )
