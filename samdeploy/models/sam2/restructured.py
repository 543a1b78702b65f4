"""SAM 2's mask decoder in the three graphs of :mod:`samdeploy.models.restructured`, where the
algebra is told. New are one more token, and the finer features of the image in the upscaling."""

from torch import Tensor

from samdeploy.models.changed_image import Changed
from samdeploy.models.restructured import MaskHead, Prepare, Scorer, quarters, upscaling_biases
from samdeploy.models.sam2.mask_decoder import Sam2MaskDecoder
from samdeploy.models.sam2.sam2 import Sam2


class Sam2Prepare(Prepare):
    """``image_embeddings``, ``high_res_feats_0`` and ``high_res_feats_1`` -> what every prompt
    without a mask shares.

    Besides what :class:`Prepare` gives: ``high_res_tokens_0`` ``[g, g, 2 C]`` and
    ``high_res_tokens_1`` ``[g, g, C]``, the features of the 4 x 4 and 2 x 2 positions that
    upscaling makes of each image token, with its biases.
    """

    def __init__(self, sam: Sam2) -> None:
        super().__init__(sam)

    def forward(  # type: ignore[override]
        self, image_embeddings: Tensor, high_res_feats_0: Tensor, high_res_feats_1: Tensor
    ) -> tuple[Tensor, ...]:
        first, second = upscaling_biases(self.sam.mask_decoder)
        middle = _halves(high_res_feats_1) + first
        fine = quarters(high_res_feats_0) + second.repeat(4)
        return *super().forward(image_embeddings), fine, middle


class Sam2Scorer(Scorer):
    """Prompts without a mask -> ``iou_predictions`` ``[B, 4]``, ``object_score_logits`` ``[B, 1]``,
    and the rest as :class:`Scorer`."""

    def __init__(self, sam: Sam2) -> None:
        super().__init__(sam)

    def forward(  # type: ignore[override]
        self,
        image_keys: Tensor,
        image_values: Tensor,
        image_norms: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
    ) -> tuple[Tensor, ...]:
        queries, image = self.attend(
            image_keys, image_values, image_norms, point_coords, point_labels
        )
        decoder = self.sam.mask_decoder
        assert isinstance(decoder, Sam2MaskDecoder)
        return *decoder.answers(queries), *image


class Sam2MaskHead(MaskHead):
    """``image_features``, ``high_res_tokens_0`` and ``high_res_tokens_1`` of :class:`Sam2Prepare`,
    and what :class:`Sam2Scorer` gave -> ``low_res_masks`` ``[B, 4, 4r, 4c]``. The first three may
    be the first ``r`` rows and ``c`` columns of image tokens."""

    def __init__(self, sam: Sam2) -> None:
        super().__init__(sam)

    def forward(  # type: ignore[override]
        self,
        image_features: Tensor,
        high_res_tokens_0: Tensor,
        high_res_tokens_1: Tensor,
        mask_tokens: Tensor,
        mask_scale: Tensor,
        mask_weights: Tensor,
        mask_values: Tensor,
    ) -> Tensor:
        image = Changed(mask_scale, mask_weights, mask_values)
        return self.masks(image_features, mask_tokens, image, high_res_tokens_1, high_res_tokens_0)


def _halves(features: Tensor) -> Tensor:
    """``[1, D, 2g, 2g]`` -> ``[g, g, 4 D]``: position by position of the 2 x 2 of a token."""
    channels, side = features.shape[1], features.shape[2] // 2
    rows = features[0].permute(1, 2, 0).reshape(side, 2, side, 2 * channels)
    return rows.transpose(1, 2).reshape(side, side, 4 * channels)
