"""Options of a command that are the fields of a dataclass: settings, and what exporters and
runtimes can be asked. A field that somebody adds is an option at once."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from samdeploy.cli.options import flag
from samdeploy.cli.words import parse_names, parse_numbers
from samdeploy.options import options_of
from samdeploy.whole_image.settings import WholeImageSettings, other_names

Command = Callable[..., None]
#: Kinds that the command line writes as they are; other values are written as text.
_PLAIN = (int, float, str, Path)


def takes_options(command: Command, owner: type[Any], into: str) -> Command:
    """``command`` with an option for every field of ``owner`` that :func:`samdeploy.options.option`
    made. Those that were given arrive as a mapping, the parameter ``into``."""
    helps = {name: str(each.metadata["help"]) for name, each in options_of(owner).items()}
    return _with_fields(command, owner, into, helps, lambda name: [name])


def takes_whole_image(command: Command) -> Command:
    """``command`` with an option for every setting of whole-image mode, under each of its names
    that the command has no other use for. Those that were given arrive as ``whole_image``."""
    taken = set(inspect.signature(command).parameters)
    helps = {each.name: _documented(each.name) for each in fields(WholeImageSettings)}

    def names(setting: str) -> list[str]:
        return [setting, *(name for name in other_names(setting) if name not in taken)]

    return _with_fields(command, WholeImageSettings, "whole_image", helps, names)


def _with_fields(
    command: Command,
    owner: type[Any],
    into: str,
    helps: dict[str, str],
    names: Callable[[str], Sequence[str]],
) -> Command:
    hints = get_type_hints(command, include_extras=True)
    own = [
        each.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, each in inspect.signature(command).parameters.items()
        if name != into
    ]
    kinds = get_type_hints(owner)
    shown = [each for each in fields(owner) if each.name in helps]
    added = [
        inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=_annotation(each, kinds[each.name], names(each.name), helps[each.name]),
        )
        for each in shown
    ]

    @wraps(command)
    def called(**given: Any) -> None:
        chosen = {each.name: given.pop(each.name) for each in shown}
        command(
            **given,
            **{
                into: {
                    name: _read(name, value, kinds[name])
                    for name, value in chosen.items()
                    if value is not None
                }
            },
        )

    called.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
    return called


def _annotation(field: Field[Any], hint: Any, names: Sequence[str], help: str) -> Any:
    if _kind(hint) is bool:
        return Annotated[bool | None, flag(field.name, help=help)]
    default = f"{field.default:.4g}" if isinstance(field.default, float) else field.default
    text = help if default in (None, "", ()) else f"{help} [default: {default}]"
    written: Any = _kind(hint) if _kind(hint) in _PLAIN else str
    return Annotated[written | None, typer.Option(*(f"--{name}" for name in names), help=text)]


def _kind(hint: Any) -> Any:
    """The type of a field, without ``None``."""
    if get_origin(hint) not in (Union, types.UnionType):
        return hint
    kinds = [each for each in get_args(hint) if each is not type(None)]
    return kinds[0] if len(kinds) == 1 else hint


def _read(name: str, value: Any, hint: Any) -> Any:
    kind = _kind(hint)
    if not isinstance(value, str) or kind is str:
        return value
    if get_origin(kind) is tuple:
        return tuple(parse_names(value, name))
    # Of several types, text is one; nested numbers are the rest.
    return value if str in get_args(kind) else parse_numbers(value, name)


def _documented(name: str) -> str:
    """The first words that the settings' own documentation has for one of them."""
    documentation = inspect.getdoc(WholeImageSettings) or ""
    found = re.search(rf"^ +{name}: (.*?)(?=^ +\w+: |\Z)", documentation, re.MULTILINE | re.DOTALL)
    words = " ".join(found[1].split()) if found else ""
    return re.split(r"[;.] |\.$|; ", words)[0].replace("``", "")
