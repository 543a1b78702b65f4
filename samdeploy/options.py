"""Options that are fields: declared once, with a help text, by whoever heeds them.

An exporter's ``Options`` and a runtime's are dataclasses whose fields are made with :func:`option`.
The command line and the checks read these fields, so an option needs no second place, and one of
another package is an option like ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from itertools import chain
from typing import Any, TypeVar

from samdeploy.errors import InputError
from samdeploy.text import suggestion

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


def from_given(
    owner: type[T], given: Mapping[str, Any], whose: str, others: Iterable[type[Any]] = ()
) -> T:
    """An ``owner`` with the options ``given``; ``whose`` it is says the sentence.

    Args:
        others: owners that might have been meant, looked at only for an option that ``owner`` does
            not have. What is at its default for one of them asks for nothing and is let be.

    Raises:
        InputError: an option that it does not have.
    """
    own = options_of(owner)
    foreign = {name: value for name, value in given.items() if name not in own}
    theirs = [options_of(other) for other in others] if foreign else []
    for name, value in foreign.items():
        defaults = [options[name].default for options in theirs if name in options]
        if theirs and not defaults:
            known = dict.fromkeys(chain(own, *theirs))
            raise InputError(f"unknown option '{name}'; {suggestion(name, known)}")
        if not (defaults and all(bool(value == default) for default in defaults)):
            raise InputError(f"{name}={value}; {whose} has no use for it, leave it out.")
    return owner(**{name: value for name, value in given.items() if name in own})


def changed(options: Any) -> dict[str, Any]:
    """The options that are not at their defaults."""
    return {
        name: getattr(options, name)
        for name, each in options_of(type(options)).items()
        if each.default is MISSING or getattr(options, name) != each.default
    }
