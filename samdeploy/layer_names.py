"""Layers of the torch model, recognised in what converters call them."""

from __future__ import annotations

import re
from collections.abc import Iterable


def belongs_to(name: str, layers: Iterable[str]) -> bool:
    """Whether a converter's ``name`` is of one of ``layers``, which are module paths such as
    ``image_encoder.blocks.0.attn.qkv``, or of a block that holds them.

    Converters join the path with dots, slashes or underscores, put words before and behind it, and
    torch's tracer says the name of a sequence twice (``neck/neck.0``).
    """
    plain = f"_{_plain(name)}_"
    return any(f"_{_plain(layer)}_" in plain for layer in layers)


def _plain(name: str) -> str:
    words = [word for word in re.split(r"[^0-9A-Za-z]+", name) if word]
    return "_".join(
        word
        for place, word in enumerate(words)
        if word.isdecimal() or place == 0 or word != words[place - 1]
    )
