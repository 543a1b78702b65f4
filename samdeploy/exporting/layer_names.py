"""Layers of the torch model, recognised in what converters call them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from itertools import accumulate

from samdeploy.errors import InputError
from samdeploy.text import shown


def belongs_to(name: str, layers: Iterable[str]) -> bool:
    """Whether a converter's ``name`` is of one of ``layers``, which are module paths such as
    ``image_encoder.blocks.0.attn.qkv``, or of a block that holds them.

    Converters join the path with dots, slashes or underscores, put words before and behind it, and
    torch's tracer says the name of a sequence twice (``neck/neck.0``).
    """
    plain = f"_{_plain(name)}_"
    return any(f"_{_plain(layer)}_" in plain for layer in layers)


def check_layers(given: Collection[str], layers: Collection[str]) -> None:
    """Raise :class:`InputError` for a name that is of none of ``layers``, with what is like it."""
    if given and not layers:
        raise InputError(
            f"float_layers={shown(list(given))}; this model has no layers to choose from, leave it "
            "out."
        )
    paths = {path for layer in layers for path in accumulate(layer.split("."), "{}.{}".format)}
    for name in given:
        if not any(belongs_to(layer, (name,)) for layer in layers):
            close = difflib.get_close_matches(name, sorted(paths), 3) or [next(iter(layers))]
            raise InputError(
                f"float_layers={shown(name)}; the encoder has no such layer to leave in float, "
                f"expected one such as {', '.join(close)}."
            )


def _plain(name: str) -> str:
    words = [word for word in re.split(r"[^0-9A-Za-z]+", name) if word]
    return "_".join(
        word
        for place, word in enumerate(words)
        if word.isdecimal() or place == 0 or word != words[place - 1]
    )
