"""Architectures as plain numbers.

The nested mapping form is the one of the official constructors (``image_encoder``,
``prompt_encoder``, ``mask_decoder`` with ``transformer`` inside; ``tiny_vit`` or ``repvit`` in the
place of ``image_encoder`` for MobileSAM and RepViT-SAM), so configurations written for them can be
used as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from typing import Any, TypeAlias, TypeVar

from samdeploy.errors import CheckpointError
from samdeploy.text import shown

_T = TypeVar("_T", bound=Any)
#: Of SAM, or of a model that is SAM with a part of its own.
ConfigT = TypeVar("ConfigT", bound="SamConfig")


@dataclass(frozen=True)
class VitConfig:
    """Plain vision transformer with windowed and global attention (ViTDet; SAM B, L and H)."""

    img_size: int = 1024
    patch_size: int = 16
    embed_dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: float = 4.0
    out_chans: int = 256
    qkv_bias: bool = True
    use_rel_pos: bool = True
    window_size: int = 14
    global_attn_indexes: tuple[int, ...] = (2, 5, 8, 11)
    layer_norm_eps: float = 1e-6


@dataclass(frozen=True)
class TinyVitConfig:
    """TinyViT (Wu et al. 2022, arXiv:2207.10666) as MobileSAM uses it."""

    img_size: int = 1024
    embed_dims: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    num_heads: tuple[int, ...] = (2, 4, 5, 10)
    window_sizes: tuple[int, ...] = (7, 7, 14, 7)
    mlp_ratio: float = 4.0
    mbconv_expand_ratio: float = 4.0
    local_conv_size: int = 3
    out_chans: int = 256
    #: Published checkpoints carry a classification norm and head that SAM never uses; 0 leaves
    #: the head out.
    num_classes: int = 1000
    norm_head: bool = True


@dataclass(frozen=True)
class RepVitTrunkConfig:
    """RepViT (arXiv:2307.09283) in stages of ``depths`` blocks, besides those between the stages.

    ``norm_of_sum`` tells two forms of its depthwise convolutions apart: whether the branches have
    a batch norm together, or the 1 x 1 branch one of its own as in the first models.
    """

    embed_dims: tuple[int, ...] = (80, 160, 320, 640)
    depths: tuple[int, ...] = (6, 6, 34, 2)
    norm_of_sum: bool = True


@dataclass(frozen=True)
class RepVitConfig(RepVitTrunkConfig):
    """RepViT-M2.3 as RepViT-SAM (arXiv:2312.05760) uses it."""

    img_size: int = 1024
    out_chans: int = 256


@dataclass(frozen=True)
class TransformerConfig:
    depth: int = 2
    num_heads: int = 8
    mlp_dim: int = 2048
    attention_downsample_rate: int = 2


@dataclass(frozen=True)
class PromptEncoderConfig:
    mask_in_chans: int = 16


@dataclass(frozen=True)
class MaskDecoderConfig:
    num_multimask_outputs: int = 3
    iou_head_depth: int = 3
    iou_head_hidden_dim: int = 256
    transformer: TransformerConfig = TransformerConfig()


EncoderConfig: TypeAlias = VitConfig | TinyVitConfig | RepVitConfig

#: What the section of an image encoder is called; so is a model with such an encoder that is
#: neither a ViT nor a published one.
_SECTIONS: dict[type[EncoderConfig], str] = {
    VitConfig: "image_encoder",
    TinyVitConfig: "tiny_vit",
    RepVitConfig: "repvit",
}


@dataclass(frozen=True)
class SamConfig:
    """The whole model. The embedding width ``C`` is ``image_encoder.out_chans`` throughout."""

    image_encoder: EncoderConfig = VitConfig()
    prompt_encoder: PromptEncoderConfig = PromptEncoderConfig()
    mask_decoder: MaskDecoderConfig = MaskDecoderConfig()

    @property
    def image_size(self) -> int:
        """Side ``S`` of the square encoder input in pixels."""
        return self.image_encoder.img_size

    @property
    def channels(self) -> int:
        """Width ``C`` of the image embedding."""
        return self.image_encoder.out_chans

    @property
    def grid(self) -> int:
        """Side of the image embedding: ``S / 16``."""
        return self.image_size // 16

    @property
    def architecture(self) -> str:
        """A name for people: the published model that this is, or what it is made of."""
        encoder = self.image_encoder
        for name, published in PUBLISHED.items():
            if encoder == published.image_encoder:
                return name
        if isinstance(encoder, VitConfig):
            return f"vit_{encoder.embed_dim}x{encoder.depth}"
        return _SECTIONS[type(encoder)]

    def to_mapping(self) -> dict[str, Any]:
        """The nested mapping that :func:`merge` reads back, of primitives only."""
        mapping = asdict(self)
        encoder = mapping.pop("image_encoder")
        return {_SECTIONS[type(self.image_encoder)]: encoder, **mapping}

    def with_image_size(self: ConfigT, size: int) -> ConfigT:
        return replace(self, image_encoder=replace(self.image_encoder, img_size=size))


PUBLISHED = {
    "sam_b": SamConfig(),
    "sam_l": SamConfig(
        VitConfig(embed_dim=1024, depth=24, num_heads=16, global_attn_indexes=(5, 11, 17, 23))
    ),
    "sam_h": SamConfig(
        VitConfig(embed_dim=1280, depth=32, num_heads=16, global_attn_indexes=(7, 15, 23, 31))
    ),
    "mobile_sam": SamConfig(TinyVitConfig()),
    "repvit_sam": SamConfig(RepVitConfig()),
}


def encoder_of(mapping: Mapping[str, Any]) -> EncoderConfig:
    """The published image encoder of the kind that ``mapping`` has a section for; a ViT where it
    has none."""
    return next((kind() for kind, name in _SECTIONS.items() if name in mapping), VitConfig())


_KINDS = {
    tuple: "a list of whole numbers", int: "a whole number", float: "a number",
    bool: "true or false",
}  # fmt: skip

# Arguments of the official constructors that repeat another number, or matter in training only.
_REDUNDANT = {
    "in_chans", "use_abs_pos", "embed_dim", "image_embedding_size", "input_image_size",
    "transformer_dim", "embedding_dim", "drop_rate", "drop_path_rate", "layer_lr_decay",
}  # fmt: skip


def merge(config: ConfigT, mapping: Mapping[str, Any]) -> ConfigT:
    """``config`` with the values that ``mapping`` gives; an unknown name inside a section is an
    error, other top-level entries (notes, pixel statistics) are not read."""
    encoder = config.image_encoder
    section = _SECTIONS[type(encoder)]
    other = next((name for name in _SECTIONS.values() if name in mapping), section)
    if other != section and section not in mapping:
        raise CheckpointError(
            f"config has a section '{other}' but the weights hold a {type(encoder).__name__[:-6]} "
            f"encoder; use the section '{section}'."
        )
    encoder_values = dict(section_of(mapping, section))
    if "neck_out_channels" in mapping:
        encoder_values.setdefault("out_chans", mapping["neck_out_channels"])
    values = {name: mapping[name] for name in ("prompt_encoder", "mask_decoder") if name in mapping}
    return replace(
        updated(config, values),
        image_encoder=updated(encoder, encoder_values, f"['{section}']"),
    )


def section_of(mapping: Mapping[str, Any], name: str, place: str = "") -> Mapping[str, Any]:
    """The mapping that ``mapping`` has under ``name``; empty where it has none.

    Raises:
        CheckpointError: it has something else there; ``place`` is named.
    """
    value = mapping.get(name, {})
    if not isinstance(value, Mapping):
        raise CheckpointError(
            f"config{place}['{name}'] is {type(value).__name__}; expected a mapping of names to "
            "numbers."
        )
    return value


def updated(config: _T, values: Mapping[str, Any], place: str = "") -> _T:
    """``config`` with the numbers that ``values`` gives; those of its sections are mappings.

    Raises:
        CheckpointError: an entry that it does not have, or not of its kind; ``place``, the
            sections around as they are written, is named.
    """
    known = {field.name: getattr(config, field.name) for field in fields(config)}
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if is_dataclass(known.get(name)):
            below = section_of(values, name, place)
            changes[name] = updated(known[name], below, f"{place}['{name}']")
        elif name in known:
            changes[name] = _converted(known[name], value, f"{place}['{name}']")
        elif name not in _REDUNDANT:
            raise CheckpointError(
                f"config{place} has no entry {shown(name)}; expected one of {sorted(known)}."
            )
    return replace(config, **changes)


def _converted(default: Any, value: Any, place: str) -> Any:
    """``value`` in the type of ``default``, where it is the same number."""
    kind = type(default)
    if isinstance(default, tuple):
        if isinstance(value, (list, tuple)):
            return tuple(_converted(0, item, place) for item in value)
    elif isinstance(value, bool) or kind is bool:
        if isinstance(value, bool) and kind is bool:
            return value
    elif isinstance(value, (int, float)) and abs(value) < 1e15 and kind(value) == value:
        return kind(value)
    raise CheckpointError(
        f"config{place} is {shown(value)}; expected {_KINDS.get(kind, kind.__name__)}."
    )
