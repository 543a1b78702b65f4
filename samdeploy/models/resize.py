"""Position tables for another image size.

The absolute table is resized with antialiased bicubic interpolation and the relative tables of
global blocks linearly, as is usual for vision transformers (ViTDet, arXiv:2203.16527). Windowed
blocks see windows of an unchanged size, so their tables stay. A TinyViT or a RepViT has no table
that depends on the image size.
"""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from samdeploy.errors import InputError
from samdeploy.models.config import ConfigT, VitConfig
from samdeploy.session import MOST_IMGSZ


def resize_positions(
    config: ConfigT, state: Mapping[str, Tensor], imgsz: int
) -> tuple[ConfigT, dict[str, Tensor]]:
    """The same model for ``imgsz`` pixels.

    Raises:
        InputError: ``imgsz`` is not a multiple of the patch size, 16, or too large.
    """
    if not 0 < imgsz <= MOST_IMGSZ or imgsz % 16:
        raise InputError(
            f"imgsz={imgsz}; expected a multiple of 16 up to {MOST_IMGSZ}, such as 512 or 1024."
        )
    new = config.with_image_size(imgsz)
    state = dict(state)
    encoder = config.image_encoder
    if not isinstance(encoder, VitConfig):
        return new, state
    grid = imgsz // encoder.patch_size
    key = "image_encoder.pos_embed"
    table = state[key].float().permute(0, 3, 1, 2)
    resized = F.interpolate(table, (grid, grid), mode="bicubic", antialias=True)
    state[key] = resized.permute(0, 2, 3, 1)
    for index in encoder.global_attn_indexes if encoder.use_rel_pos else ():
        for axis in "hw":
            key = f"image_encoder.blocks.{index}.attn.rel_pos_{axis}"
            relative = state[key].float().t().unsqueeze(0)
            state[key] = F.interpolate(relative, 2 * grid - 1, mode="linear")[0].t()
    return new, state
