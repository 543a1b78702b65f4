"""The command line's way of writing things: ``key=value``, nested lists and mask files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samdeploy.errors import InputError
from samdeploy.images import load_image
from samdeploy.prompts import Prompt, collect_prompts
from samdeploy.text import shortened, shown, suggestion

_KEY = re.compile(r"(?P<dashes>--)?(?P<name>[A-Za-z][\w-]*)(?:=(?P<value>.*))?", re.DOTALL)
#: Words that ask for help.
HELP = frozenset({"--help", "-h"})
_TRUTH = dict.fromkeys(("true", "1", "yes", "on"), True) | dict.fromkeys(
    ("false", "0", "no", "off"), False
)


@dataclass(frozen=True)
class Keys:
    """Keys of one command.

    Attributes:
        names: every name of every option, to the option's first name.
        flags: first names of the yes/no options.
        required: first names of the options that have no default.
        bare: names of what may be given as a word without a key, in order.
    """

    names: Mapping[str, str]
    flags: frozenset[str] = frozenset()
    required: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()


def rewrite(arguments: list[str], commands: Mapping[str, Keys]) -> list[str]:
    """``key=value``, ``--key=value`` and ``--key value`` to ``--key=value`` for every option.

    Words without a key fill what the command takes bare, and ``benchmark compare`` is the command
    ``benchmark-compare``. A yes/no option becomes ``--key`` or ``--no-key``. Dashes inside a name
    are underscores. What comes before the command, and commands that are not in ``commands``, are
    left as they are.

    Raises:
        InputError: an unknown key (with the closest known one), a key without a value or given
            twice, a required key that is missing, or a word that is no key.
    """
    command, *words = arguments or [""]
    if words and f"{command}-{words[0]}" in commands:
        command = f"{command}-{words.pop(0)}"
    if command not in commands:
        return list(arguments)
    keys = commands[command]
    given: dict[str, str] = {}
    while words:
        word = words.pop(0)
        if word in HELP:
            return [command, "--help"]
        found = _KEY.fullmatch(word)
        if found is None or not (found["dashes"] or found["value"] is not None):
            free = [name for name in keys.bare if name not in given]
            if free:
                given[free[0]] = word
                continue
            raise InputError(
                f"{shown(word)} stands alone; expected key=value, such as "
                f"{(keys.required or tuple(keys.names))[0]}={word}."
            )
        name, value = found["name"].replace("-", "_"), found["value"]
        if value is None and name.startswith("no_") and keys.names.get(name[3:]) in keys.flags:
            name, value = name[3:], "false"
        first = _known(name, keys, command)
        if first in given:
            raise InputError(f"'{name}' sets '{first}' a second time; give it once.")
        if first in keys.flags:
            if value is None:
                value = words.pop(0) if words and words[0].lower() in _TRUTH else "true"
            given[first] = f"--{first}" if _truth(name, value) else f"--no-{first}"
        else:
            if value is None and words and not words[0].startswith("--"):
                value = words.pop(0)
            if not value:
                raise InputError(f"'{name}' has no value; write {name}=value.")
            given[first] = value if first in keys.bare else f"--{first}={value}"
    missing = [name for name in keys.required if name not in given]
    if missing:
        raise InputError(
            f"'{command}' needs {' and '.join(f'{name}=' for name in missing)}; see: samdeploy "
            f"{command} --help."
        )
    bare = [given.pop(name) for name in keys.bare if name in given]
    return [command, *given.values(), *(["--", *bare] if bare else [])]


def keys_of(words: Sequence[str]) -> set[str]:
    """The keys among the words of a command line, as far as they can be told from values."""
    found = [_KEY.fullmatch(word) for word in words]
    keys = [each for each in found if each and (each["dashes"] or each["value"] is not None)]
    return {each["name"].replace("-", "_").removeprefix("no_") for each in keys}


def value_of(name: str, words: Sequence[str]) -> str | None:
    """The value of ``name=value`` or ``--name value`` among the words; ``None`` where it is not
    there."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        found = _KEY.fullmatch(word)
        if found is not None and found["name"].replace("-", "_") == name:
            if found["value"] is not None:
                return found["value"]
            if found["dashes"] and following:
                return following
    return None


def _known(name: str, keys: Keys, command: str) -> str:
    first = keys.names.get(name)
    if first is None:
        hint = suggestion(name, keys.names)
        raise InputError(f"unknown key '{name}' of '{command}'; {hint}")
    return first


def _truth(name: str, value: str) -> bool:
    if value.lower() not in _TRUTH:
        raise InputError(f"{name}={shortened(value)}; expected True or False.")
    return _TRUTH[value.lower()]


def parse_numbers(text: str | None, name: str) -> Any:
    """A number or a nested list of numbers, such as ``[[900,370],[400,300]]``; the outermost
    brackets may be left out, and ``None`` stays.

    Raises:
        InputError: anything else.
    """
    if text is None:
        return None
    # Not-a-number is let through: the API refuses it with the same words for everyone.
    written = re.sub(r"\bnan\b", "NaN", text.strip(), flags=re.IGNORECASE)
    for attempt in (written, f"[{written}]"):
        try:
            value = json.loads(attempt)
            if _numeric(value):
                return value
        except (ValueError, RecursionError):
            continue
    example = _EXAMPLES.get(name, "[1,0]")
    raise InputError(f"{name}={shortened(text)}; expected numbers such as {example}.")


_EXAMPLES = {
    "points": "[[900,370],[400,300]]",
    "bboxes": "[439,437,524,709]",
    "classes": "[0,2]",
    "window": "[0,4095]",
    "workers": "4 or [1,16]",
}


def _numeric(value: Any) -> bool:
    if isinstance(value, list):
        return all(_numeric(item) for item in value)
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def parse_prompts(
    points: str | None, labels: str | None, bboxes: str | None, masks: str | None
) -> list[Prompt]:
    """The prompts that the options of a command mean; none where none is given.

    Raises:
        InputError: one cannot be read, or is empty.
    """
    given = {
        "points": parse_numbers(points, "points"),
        "labels": parse_numbers(labels, "labels"),
        "bboxes": parse_numbers(bboxes, "bboxes"),
        "masks": load_masks(masks),
    }
    if all(value is None for value in given.values()):
        return []
    prompts = collect_prompts(**given)
    if not prompts:  # in place of which the whole image would be segmented
        raise InputError("points, bboxes or masks are an empty list; drop them, or give some.")
    return prompts


def parse_names(text: str | None, name: str) -> list[str]:
    """Names between commas, with or without brackets around them; none for ``None``.

    Raises:
        InputError: an empty name.
    """
    if text is None:
        return []
    names = [part.strip() for part in text.strip().removeprefix("[").removesuffix("]").split(",")]
    if not all(names):
        raise InputError(f"{name}={shortened(text)}; expected names between commas.")
    return names


def load_masks(text: str | None) -> Any:
    """Mask prompts from image files: pixels brighter than half are inside.

    ``text`` is one path, or several as ``[a.png,b.png]``; the result is bool ``[N, H, W]``.

    Raises:
        InputError: a file is missing or unreadable, or the masks differ in size.
    """
    if text is None:
        return None
    listed = text.startswith("[") and text.endswith("]") and not Path(text).exists()
    paths = text[1:-1].split(",") if listed else [text]
    masks = [load_image(Path(path.strip())).max(axis=2) > 127 for path in paths]
    if len({mask.shape for mask in masks}) > 1:
        raise InputError(f"masks={text} are of different sizes; expected the image's size.")
    return np.stack(masks)
