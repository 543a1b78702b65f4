"""Options of a command that are the fields of a dataclass: settings, and what exporters and
runtimes can be asked. A field that somebody adds is an option at once."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
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
#: Kinds of which ``[1,2]`` is one.
_SEVERAL = (tuple, list)


@dataclass(frozen=True)
class _Option:
    """A field of a dataclass, its type, and the names and help that users see."""

    field: Field[Any]
    hint: Any
    names: Sequence[str]
    help: str


def takes_options(command: Command, owner: type[Any], into: str, *others: type[Any]) -> Command:
    """``command`` with an option for every field of ``owner`` that :func:`samdeploy.options.option`
    made, and for those of ``others`` whose names are still free. Those that were given arrive as a
    mapping, in the place of the parameter ``into``."""
    taken = set(inspect.signature(command).parameters)
    options: dict[str, _Option] = {}
    for each in (owner, *others):
        hints = get_type_hints(each)
        for name, field in options_of(each).items():
            if name not in options and (each is owner or name not in taken):
                options[name] = _Option(field, hints[name], [name], str(field.metadata["help"]))
    return _with_options(command, into, options)


def takes_whole_image(command: Command) -> Command:
    """``command`` with an option for every setting of whole-image mode, under each of its names
    that the command has no other use for. Those that were given arrive as ``whole_image``."""
    return takes_settings(command, WholeImageSettings, "whole_image", other_names)


def takes_settings(
    command: Command,
    owner: type[Any],
    into: str,
    other_names: Callable[[str], Sequence[str]] = lambda name: (),
) -> Command:
    """``command`` with an option for every field of the dataclass ``owner``, whose documentation is
    the help, and its other names that are still free. Those that were given arrive as ``into``."""
    taken = set(inspect.signature(command).parameters)
    hints = get_type_hints(owner)
    options = {
        each.name: _Option(
            each,
            hints[each.name],
            [each.name, *(name for name in other_names(each.name) if name not in taken)],
            _documented(owner, each.name),
        )
        for each in fields(owner)
    }
    return _with_options(command, into, options)


def names_of(command: Command) -> set[str]:
    """Names of the options that ``command`` itself declares."""
    hints = get_type_hints(command, include_extras=True).values()
    declared = (info for hint in hints for info in getattr(hint, "__metadata__", ()))
    # In an annotation, Typer keeps the first name where a default would be.
    names = (name for info in declared for name in (info.default, *(info.param_decls or ())))
    return {name.partition("/")[0].removeprefix("--") for name in names}


def _with_options(command: Command, into: str, options: Mapping[str, _Option]) -> Command:
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    for name, each in inspect.signature(command).parameters.items():
        if name == into:
            parameters += map(_parameter, options.values())
        else:
            kind = inspect.Parameter.KEYWORD_ONLY
            parameters.append(each.replace(annotation=hints[name], kind=kind))

    @wraps(command)
    def called(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in options}
        read = {
            name: _read(name, value, options[name].hint)
            for name, value in chosen.items()
            if value is not None
        }
        command(**given, **{into: read})

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called


def _parameter(option: _Option) -> inspect.Parameter:
    field, kind = option.field, _kind(option.hint)
    required = field.default is MISSING and field.default_factory is MISSING
    written: Any = kind if kind in _PLAIN else str
    shown = typer.Option(*(f"--{name}" for name in option.names), help=_help(option))
    if kind is bool:
        written, shown = bool, flag(field.name, help=option.help)
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if required else None,
        annotation=Annotated[written if required else written | None, shown],
    )


def _help(option: _Option) -> str:
    value = option.field.default
    default = f"{value:.4g}" if isinstance(value, float) else value
    known = default not in (None, "", (), MISSING)
    return f"{option.help} [default: {default}]" if known else option.help


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
    several, inside = get_origin(kind) in _SEVERAL, get_args(kind)
    if several and inside[0] is str:
        return tuple(parse_names(value, name))
    # Of several types, text is one; nested numbers are the rest.
    if str in inside:
        return value
    read = parse_numbers(value, name)
    return (read,) if several and not isinstance(read, list) else read


def _documented(owner: type[Any], name: str) -> str:
    """The first words that the documentation of ``owner`` has for one of its settings."""
    documentation = inspect.getdoc(owner) or ""
    found = re.search(rf"^ +{name}: (.*?)(?=^ +\w+: |\Z)", documentation, re.MULTILINE | re.DOTALL)
    words = " ".join(found[1].split()) if found else ""
    return re.split(r"[;.] |\.$|; ", words)[0].replace("``", "")
