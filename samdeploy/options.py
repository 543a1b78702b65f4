"""Options that are fields: declared once, with a help text, by whoever heeds them.

An exporter's ``Options`` and a runtime's are dataclasses whose fields are made with :func:`option`.
The command line and the checks read these fields, so an option needs no second place, and one of
another package is an option like ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

from samdeploy.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class NoOptions:
    """Options of whoever can be asked nothing."""


def option(default: Any, help: str) -> Any:
    """A field of a dataclass that users may set, or have to where ``default`` is ``MISSING``;
    ``help`` is one phrase for ``--help``."""
    return field(default=default, metadata={"help": help})


def options_of(owner: type[Any]) -> dict[str, Field[Any]]:
    """The fields of a dataclass that users may set, by name."""
    return {each.name: each for each in fields(owner) if "help" in each.metadata}


def from_given(owner: type[T], given: Mapping[str, Any], whose: str) -> T:
    """An ``owner`` with the options ``given``; ``whose`` it is says the sentence.

    Raises:
        InputError: an option that it does not have.
    """
    known = options_of(owner)
    for name, value in given.items():
        if name not in known:
            raise InputError(f"{name}={value}; {whose} has no use for it, leave it out.")
    return owner(**given)


def changed(options: Any) -> dict[str, Any]:
    """The options that are not at their defaults."""
    return {
        name: getattr(options, name)
        for name, each in options_of(type(options)).items()
        if each.default is MISSING or getattr(options, name) != each.default
    }
