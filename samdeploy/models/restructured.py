"""The mask decoder, restructured for many prompts on one image: exact, with a quarter of the work.

Three graphs instead of one, for prompts without a mask:

* :class:`Prepare`, once per image: what of the first layer depends on the image alone.
* :class:`Scorer`, per prompt: everything up to the predicted IoU. No mask is needed for that.
* :class:`MaskHead`, only for prompts with a mask worth having: the upscaling.

In the scorer, projections of the image side are folded onto the token side, of which there are a
few dozen rows instead of thousands: ``(Wq q) . (Wk x) = (Wk^T Wq q) . x`` for an image token ``x``,
and since attention weights sum to one, ``sum a (Wv x + b) = Wv (sum a x) + b``. A key bias shifts
all scores of a query alike and cancels in the softmax. The plain form, which tests compare with, is
:class:`~samdeploy.models.mask_decoder.MaskDecoder`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samdeploy.constants import LABEL_ABSENT
from samdeploy.models.layers import LayerNorm2d
from samdeploy.models.mask_decoder import Attention, MaskDecoder, TwoWayBlock
from samdeploy.models.sam import ABSENT_BIAS, Sam


def _heads(x: Tensor, attention: Attention) -> Tensor:
    """``[B, n, h d]`` -> ``[B, h, n, d]``."""
    return x.reshape(-1, x.shape[1], attention.num_heads, attention.head_dim).transpose(1, 2)


def _per_head(linear: nn.Linear, attention: Attention) -> Tensor:
    """The weight ``[h d, C]`` of a projection into heads as ``[h, d, C]``."""
    return linear.weight.reshape(attention.num_heads, attention.head_dim, -1)


class Prepare(nn.Module):
    """``image_embeddings`` ``[1, C, g, g]`` -> what every prompt without a mask shares.

    With ``N = g g`` image tokens, ``h`` heads of width ``d``: ``image_tokens`` ``[1, N, C]``;
    ``first_keys`` ``[h, d, N]`` and ``first_values`` ``[h, N, d]`` of the first attention to the
    image; ``first_queries`` ``[1, N, h d]`` of the first attention from the image, scaled.
    """

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, image_embeddings: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        prompts = self.sam.prompt_encoder
        first: TwoWayBlock = self.sam.mask_decoder.transformer.layers[0]  # type: ignore[assignment]
        to_image, from_image = first.cross_attn_token_to_image, first.cross_attn_image_to_token
        none = prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        tokens = (image_embeddings + none).flatten(2).transpose(1, 2)
        placed = tokens + prompts.dense_positions().flatten(2).transpose(1, 2)
        keys = _heads(to_image.k_proj(placed), to_image)[0].transpose(1, 2)
        values = _heads(to_image.v_proj(tokens), to_image)[0]
        queries = from_image.q_proj(placed) * from_image.head_dim**-0.5
        return tokens, keys, values, queries


class Scorer(nn.Module):
    """Prompts without a mask -> predicted IoU, and what :class:`MaskHead` needs.

    ``point_coords`` ``[B, P, 2]`` and ``point_labels`` ``[B, P]`` as for the plain decoder; the
    rest from :class:`Prepare`. Returns ``iou_predictions`` ``[B, 4]``, ``mask_tokens``
    ``[B, 4, C]`` and ``mask_features`` ``[B, N, C]``.
    """

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.sam = sam

    def forward(
        self,
        image_tokens: Tensor,
        first_keys: Tensor,
        first_values: Tensor,
        first_queries: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        decoder: MaskDecoder = self.sam.mask_decoder
        outputs = decoder.mask_tokens.weight.shape[0]
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).unsqueeze(0)
        sparse = self.sam.prompt_encoder.sparse(point_coords, point_labels)
        tokens = torch.cat([own.expand(sparse.shape[0], -1, -1), sparse], dim=1)
        absent = (point_labels == LABEL_ABSENT).to(tokens.dtype) * ABSENT_BIAS
        bias = F.pad(absent, (outputs + 1, 0))  # [B, T]
        heads = decoder.transformer.final_attn_token_to_image.num_heads
        token_bias = bias.repeat(1, heads).unsqueeze(1)  # [B, 1, h T]
        positions = self.sam.prompt_encoder.dense_positions().flatten(2).transpose(1, 2)

        queries, image = tokens, image_tokens
        for index, block in enumerate(decoder.transformer.layers):
            assert isinstance(block, TwoWayBlock)
            queries = _among_tokens(block, queries, tokens, bias)
            to_image, from_image = block.cross_attn_token_to_image, block.cross_attn_image_to_token
            if index == 0:
                update = _shared_attention(to_image, queries + tokens, first_keys, first_values)
            else:
                placed = image + positions
                update = _folded_attention(to_image, queries + tokens, placed, image)
            queries = block.norm2(queries + update)
            queries = block.norm3(queries + block.mlp(queries))
            keys = from_image.k_proj(queries + tokens)
            if index == 0:
                scores = first_queries @ _block_diagonal(_heads(keys, from_image)) + token_bias
            else:
                scores = _folded_scores(from_image, keys, placed, token_bias)
            image = block.norm4(image + _from_tokens(from_image, scores, queries))

        # Only the output tokens are read from here on.
        queries, tokens = queries[:, : outputs + 1], tokens[:, : outputs + 1]
        last = decoder.transformer.final_attn_token_to_image
        update = _folded_attention(last, queries + tokens, image + positions, image)
        queries = decoder.transformer.norm_final_attn(queries + update)
        return decoder.iou_prediction_head(queries[:, 0]), queries[:, 1:], image


class MaskHead(nn.Module):
    """``mask_tokens`` ``[B, 4, C]`` and ``mask_features`` ``[B, N, C]`` of the scorer ->
    ``low_res_masks`` ``[B, 4, 4g, 4g]``.

    Each of the two transposed convolutions turns one position into 2 x 2 without looking at its
    neighbours, and so does all that is between and behind them. So positions stay rows of a matrix
    product to the end, and only the finished logits, an eighth of the data, are put in their place.
    """

    def __init__(self, sam: Sam) -> None:
        super().__init__()
        self.decoder: MaskDecoder = sam.mask_decoder
        self.side = sam.config.grid

    def forward(self, mask_tokens: Tensor, mask_features: Tensor) -> Tensor:
        first, norm, activation, second, _ = self.decoder.output_upscaling
        assert isinstance(norm, LayerNorm2d)
        x = _to_four(first, mask_features)
        x = activation(F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
        x = activation(_to_four(second, x))  # [B, 16 N, C / 8]
        filters = self.decoder.mask_filters(mask_tokens)
        return self._place(x @ filters.transpose(1, 2))

    def _place(self, logits: Tensor) -> Tensor:
        """``[B, 16 N, M]``, with rows ordered by y, x, and four bits: the half of y and of x, then
        the quarter of y and of x -> ``[B, M, 4g, 4g]``. In steps, so that no rank is above 5."""
        side, masks = self.side, len(self.decoder.output_hypernetworks_mlps)
        halves = logits.reshape(-1, 2, 2, 2 * masks).transpose(1, 2)
        rows = halves.reshape(-1, side, 4, 4 * masks).transpose(1, 2)
        return rows.reshape(-1, 4 * side, 4 * side, masks).permute(0, 3, 1, 2)


def _to_four(convolution: nn.Module, x: Tensor) -> Tensor:
    """A transposed 2 x 2 convolution of stride 2 on rows: ``[B, n, C]`` -> ``[B, 4 n, D]``."""
    assert isinstance(convolution, nn.ConvTranspose2d)
    assert convolution.bias is not None
    width = convolution.out_channels
    weight = convolution.weight.permute(0, 2, 3, 1).reshape(-1, 4 * width)
    return (x @ weight + torch.cat([convolution.bias] * 4)).reshape(x.shape[0], -1, width)


def _among_tokens(block: TwoWayBlock, queries: Tensor, tokens: Tensor, bias: Tensor) -> Tensor:
    key_bias = bias.unsqueeze(1).unsqueeze(1)
    if block.first:
        queries = block.self_attn(queries, queries, queries, key_bias)
    else:
        placed = queries + tokens
        queries = queries + block.self_attn(placed, placed, queries, key_bias)
    out: Tensor = block.norm1(queries)
    return out


def _shared_attention(
    attention: Attention, queries: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """Attention ``[B, T, C]`` to keys ``[h, d, N]`` and values ``[h, N, d]`` that all prompts
    share: one product per head for the whole batch."""
    count, heads, width = queries.shape[1], attention.num_heads, attention.head_dim
    q = attention.q_proj(queries) * width**-0.5
    q = q.reshape(-1, heads, width).transpose(0, 1)  # [h, B T, d]
    context = (q @ keys).softmax(-1) @ values
    joined = context.transpose(0, 1).reshape(-1, count, heads * width)
    out: Tensor = attention.out_proj(joined)
    return out


def _folded_attention(
    attention: Attention, queries: Tensor, placed: Tensor, image: Tensor
) -> Tensor:
    """Attention ``[B, T, C]`` to the image, without a key or value for every image token."""
    heads, width, count = attention.num_heads, attention.head_dim, queries.shape[1]
    q = _heads(attention.q_proj(queries) * width**-0.5, attention)
    folded = (q @ _per_head(attention.k_proj, attention)).flatten(1, 2)  # [B, h T, C]
    context = (folded @ placed.transpose(1, 2)).softmax(-1) @ image  # [B, h T, C]
    context = context.reshape(-1, heads, count, image.shape[-1])
    context = context @ _per_head(attention.v_proj, attention).transpose(1, 2)  # [B, h, T, d]
    joined = context.transpose(1, 2).reshape(-1, count, heads * width) + attention.v_proj.bias
    out: Tensor = attention.out_proj(joined)
    return out


def _folded_scores(attention: Attention, keys: Tensor, placed: Tensor, bias: Tensor) -> Tensor:
    """Scores ``[B, N, h T]`` of the image's queries against ``keys`` ``[B, T, h d]``, and ``bias``
    ``[B, 1, h T]``."""
    scale = attention.head_dim**-0.5
    k = _heads(keys * scale, attention)  # [B, h, T, d]
    folded = (k @ _per_head(attention.q_proj, attention)).flatten(1, 2)  # [B, h T, C]
    offset = attention.q_proj.bias.reshape(1, attention.num_heads, -1, 1)
    shift = (k @ offset).flatten(1).unsqueeze(1)  # [B, 1, h T]
    return placed @ folded.transpose(1, 2) + (shift + bias)


def _block_diagonal(k: Tensor) -> Tensor:
    """``[B, h, T, d]`` -> ``[B, h d, h T]``, so that one product serves all heads."""
    heads = k.shape[1]
    # Compared and not torch.eye, for which tracing leaves an operator that nobody folds.
    head = torch.arange(heads, device=k.device)
    apart = (head[:, None] == head).to(k.dtype).reshape(1, heads, 1, heads, 1)
    spread = k.transpose(2, 3).unsqueeze(3) * apart  # [B, h, d, h, T]
    return spread.flatten(3).flatten(1, 2)


def _from_tokens(attention: Attention, scores: Tensor, queries: Tensor) -> Tensor:
    """What the image tokens take from the prompt tokens, ``[B, N, C]``: the output projection is
    applied to the values of the few tokens, not to the many sums. Its bias goes the same way, a
    part to each head, since the weights of a head sum to one."""
    heads, width, count = attention.num_heads, attention.head_dim, queries.shape[1]
    weights = scores.reshape(-1, scores.shape[1], heads, count).softmax(-1).flatten(2)
    v = _heads(attention.v_proj(queries), attention)  # [B, h, T, d]
    out_per_head = attention.out_proj.weight.reshape(-1, heads, width).permute(1, 2, 0)
    values = (v @ out_per_head + attention.out_proj.bias / heads).flatten(1, 2)  # [B, h T, C]
    return weights @ values
