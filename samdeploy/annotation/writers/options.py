"""Options of label formats, and how those of a call become the ones of the format asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from samdeploy.annotation.writers import find_writer, writer_names
from samdeploy.errors import RuntimeUnavailableError
from samdeploy.options import from_given, options_of


def all_options(first: str | None = None) -> Iterator[type[Any]]:
    """The options of every format that can be loaded, those of the format ``first`` before all."""
    for name in sorted(writer_names(), key=lambda name: name != first):
        with suppress(RuntimeUnavailableError):
            yield find_writer(name).Options


def chosen_options(format: str, given: Mapping[str, Any]) -> Any:
    """``given`` as the format's own options. What is at its default for another format asks for
    nothing and is let be.

    Raises:
        InputError: an option that the format does not have, or a value out of range.
    """
    options = find_writer(format).Options
    own = options_of(options)
    kept = {
        name: value
        for name, value in given.items()
        if name in own or not _asks_nothing(name, value)
    }
    return from_given(options, kept, f"format={format}")


def _asks_nothing(name: str, value: Any) -> bool:
    found = (options_of(options).get(name) for options in all_options())
    return any(bool(each.default == value) for each in found if each is not None)
