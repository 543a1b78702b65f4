"""Options of label formats, and how those of a call become the ones of the format asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from samdeploy.annotation.writers import find_writer, writer_names
from samdeploy.errors import RuntimeUnavailableError
from samdeploy.options import from_given


def all_options(first: str | None = None) -> Iterator[type[Any]]:
    """The options of every format that can be loaded, those of the format ``first`` before all."""
    for name in sorted(writer_names(), key=lambda name: name != first):
        with suppress(RuntimeUnavailableError):
            yield find_writer(name).Options


def chosen_options(format: str, given: Mapping[str, Any]) -> Any:
    """``given`` as the format's own options; see :func:`samdeploy.options.from_given`.

    Raises:
        InputError: an option that the format does not have, or a value out of range.
    """
    return from_given(find_writer(format).Options, given, f"format={format}", all_options())
