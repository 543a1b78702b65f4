"""Numbers that every part of the toolkit must agree on."""

from typing import Final

#: Mean and standard deviation of an RGB pixel in 0-255 units, as SAM was trained with
#: (Kirillov et al. 2023, arXiv:2304.02643; the ImageNet statistics).
PIXEL_MEAN: Final = (123.675, 116.28, 103.53)
PIXEL_STD: Final = (58.395, 57.12, 57.375)

#: A pixel belongs to a mask when its logit is strictly greater than this.
MASK_THRESHOLD: Final = 0.0

#: Logit magnitude that stands for "certainly inside / outside" when a binary mask is a prompt.
BINARY_MASK_LOGIT: Final = 8.0

#: Point labels understood by the decoder graph.
LABEL_ABSENT: Final = -2  #: no token at all: fills up a batch, takes part in no attention
LABEL_PADDING: Final = -1  #: SAM's "not a point" token, added when points come without a box
LABEL_BACKGROUND: Final = 0
LABEL_FOREGROUND: Final = 1
LABEL_BOX_TOP_LEFT: Final = 2
LABEL_BOX_BOTTOM_RIGHT: Final = 3

#: Added to the attention scores of absent tokens: its exponential is exactly 0 beside any real
#: score, and it still fits float16.
ABSENT_BIAS: Final = -3.0e4
