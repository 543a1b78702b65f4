"""Options that not every run has: the label format's, and those of whole-image mode."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any

from samdeploy.annotation.writers import find_writer
from samdeploy.annotation.writers.options import all_options, chosen_options
from samdeploy.errors import InputError
from samdeploy.options import options_of
from samdeploy.text import suggestion
from samdeploy.whole_image.settings import WholeImageSettings, other_names

#: What the journal of a run adds to its settings, once images and models are there: an option of
#: the same name would never be seen to change.
FOUND = ("images", "boxes", "detector", "sam_model", "whole_image", "names", "category_ids")


def sort_others(
    format: str, given: Mapping[str, Any], every: Collection[str]
) -> tuple[Any, dict[str, Any]]:
    """The format's options and the settings of whole-image mode among those ``given``; ``every``
    run has the others.

    Raises:
        InputError: an option that nobody has, or that this format does not have, or one of its own
            that is called like one of the others, or as the journal calls something else.
    """
    formats = {name for options in all_options() for name in options_of(options)}
    modes = {
        name
        for setting in fields(WholeImageSettings)
        for name in (setting.name, *other_names(setting.name))
    }
    for name in options_of(find_writer(format).Options):
        if name in every or name in modes:
            raise InputError(
                f"format={format} calls an option of its own {name}, as one of every run is "
                "called; its package has to name it otherwise."
            )
        if name in FOUND:
            raise InputError(
                f"format={format} calls an option of its own {name}, as the journal of a run calls "
                "something else; its package has to name it otherwise."
            )
    for name in given:
        if name not in formats | modes:
            known = sorted({*every, *formats, *modes})
            raise InputError(f"unknown option '{name}'; {suggestion(name, known)}")
    whole_image = {name: value for name, value in given.items() if name in modes}
    asked = {name: value for name, value in given.items() if name not in modes}
    return chosen_options(format, asked), whole_image
