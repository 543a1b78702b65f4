"""The mask decoder, restructured for many prompts on one image: exact, with a quarter of the work.

Three graphs instead of one, for prompts without a mask:

* :class:`Prepare`, once per image: all that depends on the image alone.
* :class:`Scorer`, per prompt: everything up to the predicted IoU. No mask is needed for that.
* :class:`MaskHead`, only for prompts with a mask worth having: the upscaling.

A prompt changes the thousands of image tokens only by attention to its few own tokens, so the
changed image is known without being made. With the image ``base`` ``[N, C]`` that all prompts
share, it is ``scale * base + weights^T values``: a factor for every image token, and the values of
``R`` prompt tokens (head by head), mixed with their attention weights. A layer norm keeps that
form: it centres base and values, and its divisor follows from their products.

Hence every projection of the changed image is that of ``base``, made once per image, and one of the
``R`` values. Two more identities: attention weights sum to one, so biases of values and outputs are
added once, at the end; a key bias shifts all scores of a query alike and cancels in the softmax.

The plain form, which tests compare with, is :class:`~samdeploy.models.mask_decoder.MaskDecoder`.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from samdeploy.models.changed_image import (
    Changed,
    attention_to,
    centred,
    first_norm,
    scaled_heads,
    scores_with,
    second_norm,
    split_heads,
    spread_values,
    times_keys,
)
from samdeploy.models.layers import LayerNorm2d
from samdeploy.models.mask_decoder import Attention, MaskDecoder, TwoWayBlock
from samdeploy.models.prompt_encoder import PromptEncoder

#: Layers of the two-way transformer that the graphs are written for; every published SAM has two.
DEPTH = 2


class Promptable(Protocol):
    """A model of the SAM family, as far as its prompts and masks go."""

    @property
    def prompt_encoder(self) -> PromptEncoder: ...

    @property
    def mask_decoder(self) -> MaskDecoder: ...


class Keys(NamedTuple):
    """Factors that the scorer multiplies with vectors of prompt tokens, each ``[h, d, N]``.

    ``place`` is for the positions of image tokens and what else no prompt changes. ``out`` is the
    output projection of an attention from the image, for the divisor of a layer norm.
    """

    first_key: Tensor
    first_query: Tensor
    first_out: Tensor
    second_key: Tensor
    second_key_place: Tensor
    second_query: Tensor
    second_query_place: Tensor
    second_first_out: Tensor
    second_out: Tensor
    last_key: Tensor
    last_key_place: Tensor


class Prepare(nn.Module):
    """``image_embeddings`` ``[1, C, g, g]`` -> what every prompt without a mask shares.

    With ``N = g g`` image tokens and ``h`` heads of width ``d``: ``image_keys`` ``[11, h, d, N]``
    (:class:`Keys`); ``image_values`` ``[3, h, N, d]`` of the attentions to the image;
    ``image_norms`` ``[3, N]``: mean squares of the centred base in both layer norms, and twice its
    mean product with what the second adds everywhere; ``image_features`` ``[g, g, C]``: the base
    after the first transposed convolution.
    """

    def __init__(self, sam: Promptable) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, image_embeddings: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        prompts, decoder = self.sam.prompt_encoder, self.sam.mask_decoder
        first, second, last = _layers(decoder)
        none = prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        tokens = (image_embeddings + none).flatten(2)[0].transpose(0, 1)
        positions = prompts.dense_positions().flatten(2)[0].transpose(0, 1)
        placed = tokens + positions

        to_first, from_first = first.cross_attn_token_to_image, first.cross_attn_image_to_token
        to_second, from_second = second.cross_attn_token_to_image, second.cross_attn_image_to_token
        # The base before each layer norm, centred; times the norm's weight it is the next base.
        before_first = centred(tokens + from_first.out_proj.bias)
        base = before_first * first.norm4.weight
        before_second = centred(base)
        last_base = before_second * second.norm4.weight
        added = _added(first, second)
        share = 2 / tokens.shape[-1]
        spread = from_first.out_proj.weight
        keys = Keys(
            first_key=_keys(to_first, to_first.k_proj.weight, placed),
            first_query=_queries(from_first, placed),
            first_out=_keys(from_first, share * spread.T, before_first),
            second_key=_keys(to_second, to_second.k_proj.weight, base),
            second_key_place=_keys(to_second, to_second.k_proj.weight, positions),
            second_query=_keys(from_second, from_second.q_proj.weight, base),
            second_query_place=_queries(from_second, positions + first.norm4.bias),
            # The first norm has centred these values; the second meets them times its weight.
            second_first_out=_keys(
                from_first, share * centred(spread.T), before_second * first.norm4.weight
            ),
            second_out=_keys(from_second, share * from_second.out_proj.weight.T, before_second),
            last_key=_keys(last, last.k_proj.weight, last_base),
            last_key_place=_keys(last, last.k_proj.weight, positions),
        )
        values = (
            _values(to_first, tokens) + to_first.v_proj.bias.reshape(to_first.num_heads, 1, -1),
            _values(to_second, base),
            _values(last, last_base),
        )
        norms = (
            before_first.square().mean(-1),
            before_second.square().mean(-1),
            (before_second * (share * added)).sum(-1),
        )
        features = (last_base @ _convolution(decoder)[0]).reshape(*image_embeddings.shape[2:], -1)
        return torch.stack(keys), torch.stack(values), torch.stack(norms), features


class Scorer(nn.Module):
    """Prompts without a mask -> predicted IoU, and what :class:`MaskHead` needs.

    ``point_coords`` ``[B, P, 2]`` and ``point_labels`` ``[B, P]`` as for the plain decoder; the
    rest from :class:`Prepare`. Returns ``iou_predictions`` ``[B, 4]``, ``mask_tokens``
    ``[B, 4, C]``, and the changed image (:class:`~samdeploy.models.changed_image.Changed`):
    ``mask_scale``, ``mask_weights``, and ``mask_values`` after the first transposed convolution.
    """

    def __init__(self, sam: Promptable) -> None:
        super().__init__()
        self.sam = sam

    def forward(
        self,
        image_keys: Tensor,
        image_values: Tensor,
        image_norms: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        queries, image = self.attend(
            image_keys, image_values, image_norms, point_coords, point_labels
        )
        return self.sam.mask_decoder.iou_prediction_head(queries[:, 0]), queries[:, 1:], *image

    def attend(
        self,
        image_keys: Tensor,
        image_values: Tensor,
        image_norms: Tensor,
        point_coords: Tensor,
        point_labels: Tensor,
    ) -> tuple[Tensor, Changed]:
        """The output tokens ``[B, T, C]`` and the image after the transformer, the values of which
        are those after the first transposed convolution."""
        decoder: MaskDecoder = self.sam.mask_decoder
        first, second, last = _layers(decoder)
        # One by one: a split into all of them is wider than WebGPU's operators may be.
        keys = Keys(*(image_keys[i] for i in range(len(Keys._fields))))
        values = image_values.unbind(0)
        own, heads = decoder.output_tokens().unsqueeze(0), last.num_heads
        sparse, absent = self.sam.prompt_encoder.tokens(point_coords, point_labels)
        tokens = torch.cat([own.expand(sparse.shape[0], -1, -1), sparse], dim=1)
        # Of three dimensions: LiteRT's GPU pads none of two.
        bias = F.pad(absent.unsqueeze(1), (own.shape[1], 0)).squeeze(1)  # [B, T]
        token_bias = torch.cat([bias] * heads, dim=1).unsqueeze(2)  # [B, h T, 1]

        queries = _among_tokens(first, tokens, tokens, bias)
        to_image, from_image = first.cross_attn_token_to_image, first.cross_attn_image_to_token
        update = _shared_attention(to_image, queries + tokens, keys.first_key, values[0])
        queries = _after_image(first, queries, update)
        scores = times_keys(
            scaled_heads(from_image.k_proj, queries + tokens, from_image), keys.first_query
        )
        weights = _softmax_of_tokens(scores + token_bias, heads)
        first_v = split_heads(from_image.v_proj(queries), from_image)
        once = first_norm(
            first.norm4, weights, spread_values(from_image, first_v),
            times_keys(first_v, keys.first_out), image_norms[0],
        )  # fmt: skip

        queries = _among_tokens(second, queries, tokens, bias)
        to_image, from_image = second.cross_attn_token_to_image, second.cross_attn_image_to_token
        update = attention_to(
            once, to_image, queries + tokens, keys.second_key, keys.second_key_place, values[1],
            first.norm4.bias,
        )  # fmt: skip
        queries = _after_image(second, queries, update)
        asked = scaled_heads(from_image.k_proj, queries + tokens, from_image)
        scores = scores_with(
            once, asked, from_image, from_image.q_proj, keys.second_query, keys.second_query_place
        )
        weights = _softmax_of_tokens(scores + token_bias, heads)
        second_v = split_heads(from_image.v_proj(queries), from_image)
        products = times_keys(first_v, keys.second_first_out), times_keys(second_v, keys.second_out)
        twice = second_norm(
            second.norm4, once, weights, spread_values(from_image, second_v), _added(first, second),
            products, image_norms,
        )  # fmt: skip

        # Only the output tokens are read from here on.
        queries, tokens = queries[:, : own.shape[1]], tokens[:, : own.shape[1]]
        update = attention_to(
            twice, last, queries + tokens, keys.last_key, keys.last_key_place, values[2],
            second.norm4.bias,
        )  # fmt: skip
        queries = decoder.transformer.norm_final_attn(queries + update)
        return queries, twice._replace(values=twice.values @ _convolution(decoder)[0])


class MaskHead(nn.Module):
    """``image_features`` of :class:`Prepare`, and ``mask_tokens``, ``mask_scale``, ``mask_weights``
    and ``mask_values`` of :class:`Scorer` -> ``low_res_masks`` ``[B, 4, 4r, 4c]``.

    Each of the two transposed convolutions turns one position into 2 x 2 without looking at its
    neighbours, and so does all that is between and behind them. So the first ``r`` rows and ``c``
    columns of image tokens are enough for that part of the masks, and positions stay rows of a
    matrix product to the end: only the finished logits, an eighth of the data, are put in their
    place.
    """

    def __init__(self, sam: Promptable) -> None:
        super().__init__()
        self.decoder: MaskDecoder = sam.mask_decoder

    def forward(
        self,
        image_features: Tensor,
        mask_tokens: Tensor,
        mask_scale: Tensor,
        mask_weights: Tensor,
        mask_values: Tensor,
    ) -> Tensor:
        image = Changed(mask_scale, mask_weights, mask_values)
        return self.masks(image_features, mask_tokens, image, *upscaling_biases(self.decoder))

    def masks(
        self, features: Tensor, tokens: Tensor, image: Changed, first: Tensor, second: Tensor
    ) -> Tensor:
        """The masks; ``first`` and ``second`` as for :meth:`upscaled`."""
        x = self.upscaled(features, image, first, second)
        filters = self.decoder.mask_filters(tokens)
        return placed(x @ filters.transpose(1, 2), *features.shape[:2])

    def upscaled(self, features: Tensor, image: Changed, first: Tensor, second: Tensor) -> Tensor:
        """The image as upscaled, as rows ``[B, 16 r c, C / 8]``: :func:`placed` has their order.

        ``first`` and ``second`` are added after the two transposed convolutions: ``[4 (C / 4)]`` or
        ``[r, c, 4 (C / 4)]``, and ``[4 (C / 8)]`` or ``[r, c, 16 (C / 8)]``.
        """
        _, norm, activation, convolution, _ = self.decoder.output_upscaling
        assert isinstance(norm, LayerNorm2d)
        own = image.weights.transpose(1, 2) @ image.values  # [B, r c, C]
        x = features.flatten(0, 1) * image.scale.transpose(1, 2) + own
        x = x + first.reshape(-1, first.shape[-1])
        x = x.reshape(x.shape[0], -1, norm.weight.shape[0])
        x = activation(F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
        weight = _as_matrix(convolution)[0]
        x = activation(x @ weight + second.reshape(-1, weight.shape[1]))
        rows: Tensor = x.reshape(x.shape[0], -1, weight.shape[1] // 4)
        return rows


def upscaling_biases(decoder: MaskDecoder) -> tuple[Tensor, Tensor]:
    """Biases that are added after the two transposed convolutions, position by position of the 2 x
    2 that each makes: ``[4 (C / 4)]`` and ``[4 (C / 8)]``."""
    return _convolution(decoder)[1], _as_matrix(decoder.output_upscaling[3])[1]


def quarters(features: Tensor) -> Tensor:
    """``[1, D, 4g, 4g]`` -> ``[g, g, 16 D]``: those of the 4 x 4 of a token, half by half of its
    rows and columns. In steps, so that no rank is above 5."""
    channels, side = features.shape[1], features.shape[2] // 4
    rows = features[0].permute(1, 2, 0).reshape(side, 4, side, 4 * channels).transpose(1, 2)
    halves = rows.reshape(-1, 2, 2, 2 * channels).transpose(1, 2)
    return halves.reshape(side, side, 16 * channels)


def placed(logits: Tensor, rows: int, columns: int) -> Tensor:
    """``[B, 16 r c, M]``, with rows ordered by y, x, and four bits: the half of y and of x, then
    the quarter of y and of x -> ``[B, M, 4r, 4c]``. In steps, so that no rank is above 5."""
    masks = logits.shape[2]
    halves = logits.reshape(-1, 2, 2, 2 * masks).transpose(1, 2)
    lines = halves.reshape(-1, columns, 4, 4 * masks).transpose(1, 2)
    return lines.reshape(-1, 4 * rows, 4 * columns, masks).permute(0, 3, 1, 2)


def _layers(decoder: MaskDecoder) -> tuple[TwoWayBlock, TwoWayBlock, Attention]:
    first, second = decoder.transformer.layers
    assert isinstance(first, TwoWayBlock)
    assert isinstance(second, TwoWayBlock)
    return first, second, decoder.transformer.final_attn_token_to_image


def _added(first: TwoWayBlock, second: TwoWayBlock) -> Tensor:
    """``[C]``: what is added to all image tokens alike between the first layer norm and the
    second."""
    return first.norm4.bias + second.cross_attn_image_to_token.out_proj.bias


def _as_matrix(convolution: nn.Module) -> tuple[Tensor, Tensor]:
    """A transposed 2 x 2 convolution of stride 2 as ``x @ weight + bias`` on rows: ``[B, n, C]`` ->
    ``[B, n, 4 D]``, the four positions side by side."""
    assert isinstance(convolution, nn.ConvTranspose2d)
    assert convolution.bias is not None
    weight = convolution.weight.permute(0, 2, 3, 1).reshape(-1, 4 * convolution.out_channels)
    return weight, torch.cat([convolution.bias] * 4)


def _convolution(decoder: MaskDecoder) -> tuple[Tensor, Tensor]:
    """The first transposed convolution as a matrix, on image tokens short of their norm's bias,
    which its own bias takes up."""
    weight, bias = _as_matrix(decoder.output_upscaling[0])
    return weight, bias + _layers(decoder)[1].norm4.bias @ weight


def _keys(attention: Attention, weight: Tensor, image: Tensor) -> Tensor:
    """``weight`` ``[h d, C]`` times ``image`` ``[N, C]``, as ``[h, d, N]``."""
    product = weight @ image.transpose(0, 1)
    return product.reshape(attention.num_heads, attention.head_dim, -1)


def _queries(attention: Attention, image: Tensor) -> Tensor:
    """With the bias, which does not cancel: the softmax is over tokens, not over the image."""
    keys = _keys(attention, attention.q_proj.weight, image)
    return keys + attention.q_proj.bias.reshape(attention.num_heads, attention.head_dim, 1)


def _values(attention: Attention, image: Tensor) -> Tensor:
    """``[N, C]`` -> ``[h, N, d]``, without the bias."""
    product = image @ attention.v_proj.weight.T
    return product.reshape(-1, attention.num_heads, attention.head_dim).transpose(0, 1)


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


def _after_image(block: TwoWayBlock, queries: Tensor, update: Tensor) -> Tensor:
    queries = block.norm2(queries + update)
    out: Tensor = block.norm3(queries + block.mlp(queries))
    return out


def _softmax_of_tokens(scores: Tensor, heads: int) -> Tensor:
    """``[B, h T, N]``, so that the weights of each head sum to one.

    Step by step: the axis is neither last nor long, and ONNX Runtime would turn the tensor around
    for a softmax over it.
    """
    apart = scores.reshape(-1, heads, scores.shape[1] // heads, scores.shape[2])
    exponentials = (apart - apart.amax(2, keepdim=True)).exp()
    return (exponentials / exponentials.sum(2, keepdim=True)).flatten(1, 2)
