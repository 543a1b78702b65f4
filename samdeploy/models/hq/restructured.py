"""HQ-SAM's mask decoder in the three graphs of :mod:`samdeploy.models.restructured`, where the
algebra is told. The scorer is SAM's: the further token stands among its mask tokens.

The finer features are ``convolve(norm(convolve(upscaled))) + image``, and the high-quality mask is
their product with one filter for every prompt. So the second 3 x 3 convolution, which is linear,
is not made for all its channels: the filter goes into its weights first, which leaves one channel
and hardly any work. The first is followed by a norm and has to be made.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from samdeploy.models.changed_image import Changed
from samdeploy.models.hq.hq_sam import HqSam
from samdeploy.models.hq.mask_decoder import HqMaskDecoder
from samdeploy.models.restructured import (
    MaskHead,
    Prepare,
    placed,
    quarters,
    upscaling_biases,
)


class HqPrepare(Prepare):
    """``image_embeddings`` and ``hq_features`` -> what every prompt without a mask shares.

    Besides what :class:`Prepare` gives: ``hq_tokens`` ``[g, g, 2 C]``, the finer features of the
    4 x 4 positions that upscaling makes of each image token, as far as they are the image's.
    """

    def __init__(self, sam: HqSam) -> None:
        super().__init__(sam)

    def forward(  # type: ignore[override]
        self, image_embeddings: Tensor, hq_features: Tensor
    ) -> tuple[Tensor, ...]:
        decoder = self.sam.mask_decoder
        assert isinstance(decoder, HqMaskDecoder)
        bias = decoder.embedding_maskfeature[3].get_parameter("bias")
        tokens = quarters(hq_features + bias.reshape(1, -1, 1, 1))
        return *super().forward(image_embeddings), tokens


class HqMaskHead(MaskHead):
    """``image_features`` and ``hq_tokens`` of :class:`HqPrepare`, and what the scorer gave ->
    ``low_res_masks`` ``[B, 4, 4r, 4c]``.

    The first two may be the first ``r`` rows and ``c`` columns of image tokens. Where they end
    before the image does, the last rows and columns of the masks, :data:`~samdeploy.graphs_hq.HALO`
    of them, are not those of the whole image: each of the 3 x 3 convolutions looks one further.
    """

    def __init__(self, sam: HqSam) -> None:
        super().__init__(sam)
        places = torch.eye(9).reshape(1, 9, 3, 3).to(sam.mask_decoder.hf_token.weight)
        self.register_buffer("places", places, persistent=False)
        self.places: Tensor

    def forward(  # type: ignore[override]
        self,
        image_features: Tensor,
        hq_tokens: Tensor,
        mask_tokens: Tensor,
        mask_scale: Tensor,
        mask_weights: Tensor,
        mask_values: Tensor,
    ) -> Tensor:
        decoder, size = self.decoder, image_features.shape[:2]
        assert isinstance(decoder, HqMaskDecoder)
        image = Changed(mask_scale, mask_weights, mask_values)
        x = self.upscaled(image_features, image, *upscaling_biases(decoder))
        fine = decoder.hq_filter(mask_tokens).unsqueeze(2)  # [B, C / 8, 1]
        own = placed(hq_tokens.reshape(-1, fine.shape[1]) @ fine, *size)
        masks = placed(x @ decoder.mask_filters(mask_tokens).transpose(1, 2), *size)
        return decoder.corrected(masks, own + self._convolved(decoder, placed(x, *size), fine))

    def _convolved(self, decoder: HqMaskDecoder, upscaled: Tensor, fine: Tensor) -> Tensor:
        """``embedding_maskfeature`` of ``upscaled`` ``[B, C / 8, h, w]`` times ``fine``
        ``[B, C / 8, 1]``, without the last bias: ``[B, 1, h, w]``.

        Every tap of the second convolution is a product with the features at hand; then the nine
        are added up, each moved to its place, which is a convolution as well.
        """
        first, norm, activation, second = decoder.embedding_maskfeature
        x = activation(norm(first(upscaled)))
        weight = second.get_parameter("weight").flatten(1)  # [C / 8, 9 C / 4]
        taps = (fine.transpose(1, 2) @ weight).reshape(-1, x.shape[1], 9).transpose(1, 2)
        products = (taps @ x.flatten(2)).reshape(-1, 9, *x.shape[2:])
        return F.conv2d(products, self.places, padding=1)
