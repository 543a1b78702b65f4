"""The options of whole-image mode, made from the settings themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import Field, fields
from functools import wraps
from typing import Annotated, Any, get_type_hints

from samdeploy.arguments import parse_numbers
from samdeploy.cli_options import flag, setting
from samdeploy.settings import WholeImageSettings, other_names

#: How a setting is written; other kinds are nested lists of numbers.
_TYPES: dict[type, Any] = {int: int | None, float: float | None, str: str | None}


def takes_whole_image(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with an option for every setting of whole-image mode, under each of its names
    that the command has no other use for. Those that were given arrive as ``whole_image``."""
    signature = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)
    own = [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        if name != "whole_image"
    ]
    taken = {parameter.name for parameter in own}
    added = [_parameter(each, taken) for each in fields(WholeImageSettings)]

    @wraps(command)
    def called(**given: Any) -> None:
        chosen = {each.name: given.pop(each.name) for each in added}
        whole_image = {
            name: _read(name, value) for name, value in chosen.items() if value is not None
        }
        command(**given, whole_image=whole_image)

    called.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
    return called


def _parameter(field: Field[Any], taken: set[str]) -> inspect.Parameter:
    names = [field.name, *(name for name in other_names(field.name) if name not in taken)]
    help_text = _described(field.name)
    kind = type(field.default)
    option = (
        Annotated[bool | None, flag(field.name, help=help_text)]
        if kind is bool
        else Annotated[_TYPES.get(kind, str | None), setting(*names, help=help_text)]
    )
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option
    )


def _described(name: str) -> str:
    """The first words that the settings' own documentation has for one of them."""
    found = re.search(rf"^ +{name}: (.*?)(?=^ +\w+: |\Z)", _DOCUMENTED, re.MULTILINE | re.DOTALL)
    words = " ".join(found[1].split()) if found else ""
    return re.split(r"[;.] |\.$|; ", words)[0].replace("``", "")


_DOCUMENTED = inspect.getdoc(WholeImageSettings) or ""


def _read(name: str, value: Any) -> Any:
    """Text where the setting is none: a list of numbers."""
    kind = type(getattr(WholeImageSettings, name))
    return parse_numbers(value, name) if isinstance(value, str) and kind is not str else value
