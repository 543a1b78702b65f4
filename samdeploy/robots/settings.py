"""What a node can be told. Middlewares make their parameters of these fields."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from types import NoneType
from typing import Any, get_args, get_type_hints

from samdeploy.errors import InputError
from samdeploy.image_options import ImageOptions
from samdeploy.limits import number, truth, whole
from samdeploy.options import option
from samdeploy.text import suggestion
from samdeploy.tracking.settings import TrackSettings

#: Ids are from 1 on, as pixels of 16 bits; 0 is the background.
MOST_IDS = 65535


@dataclass(frozen=True)
class NodeSettings:
    """Everything but the topics.

    Raises:
        InputError: a value out of range.
    """

    model: str = option(MISSING, "bundle folder, or a checkpoint by path or known name")
    runtime: str | None = option(None, "what runs it; default: what the bundle was made for")
    device: str = option(
        "auto", "auto, or a device of the runtime; one that is not there is refused"
    )
    threads: int | None = option(None, "CPU threads of one inference")
    precision: str | None = option(None, "arithmetic; default: what the bundle was verified in")
    warmup: int = option(2, "frames that are made up and segmented before the first")
    max_objects: int = option(16, "objects that are followed at once")
    max_prompts: int = option(64, "prompts of one message")
    follow_prompts: bool = option(False, "follow what messages ask for, as what services ask for")
    window: int = option(500, "latest frames of which times are told")
    stale_after: float = option(2.0, "seconds without a frame that are worth a warning")
    bit_depth: int | None = option(None, "bits in use of deeper pixels; default: by their values")
    image_window: Sequence[float] | None = option(None, "instead: values of black and white")
    track: TrackSettings = field(default_factory=TrackSettings)

    def __post_init__(self) -> None:
        for name, least, most in (
            ("warmup", 0, 100),
            ("max_objects", 1, MOST_IDS // 2),
            ("max_prompts", 1, MOST_IDS // 2),
            ("window", 2, 100_000),
        ):
            object.__setattr__(self, name, whole(name, getattr(self, name), least, most))
        truth("follow_prompts", self.follow_prompts)
        number("stale_after", self.stale_after, 0.001, 86_400)
        _ = self.images

    @property
    def images(self) -> ImageOptions:
        """What pixels of more than 8 bits mean."""
        return ImageOptions(self.bit_depth, self.image_window)

    @classmethod
    def from_names(cls, values: Mapping[str, Any]) -> NodeSettings:
        """Settings by the names of :func:`parameters`.

        Raises:
            InputError: an unknown name, no model, or a value out of range.
        """
        known = [each.name for each in parameters()]
        for name in values:
            if name not in known:
                raise InputError(f"unknown setting '{name}'; {suggestion(name, known)}")
        if not values.get("model"):
            raise InputError("no model; say model=, a bundle folder or a checkpoint.")
        own = {each.name for each in fields(cls)}
        track = TrackSettings.from_names({n: v for n, v in values.items() if n not in own})
        return cls(**{name: v for name, v in values.items() if name in own}, track=track)

    @classmethod
    def from_texts(cls, texts: Mapping[str, str]) -> NodeSettings:
        """:meth:`from_names` of values as they are written: ``4``, ``0.5``, ``true``, ``[0, 4095]``
        or text. Names that are no setting are refused too.

        Raises:
            InputError: as there, or a value that cannot be read.
        """
        known = {each.name: each for each in parameters()}
        return cls.from_names(
            {
                name: known[name].read(text) if name in known else text
                for name, text in texts.items()
            }
        )


@dataclass(frozen=True)
class Parameter:
    """One setting by its name: ``kind`` is what its values are, a list being one of numbers, and
    ``default`` is ``MISSING`` where there has to be a value."""

    name: str
    kind: type[str | int | float | bool | list[float]]
    default: Any
    help: str

    def read(self, text: str) -> Any:
        """The value that a text means.

        Raises:
            InputError: it means none of this kind.
        """
        if self.kind is str:
            return text
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        fits = isinstance(value, self.kind) and (self.kind is bool or not isinstance(value, bool))
        if not fits and not (self.kind is float and type(value) is int):
            raise InputError(f"{self.name}={text}; expected a value like {_EXAMPLES[self.kind]}.")
        return value


_EXAMPLES: dict[type, str] = {int: "4", float: "0.5", bool: "true", list: "[0, 4095]"}


def parameters() -> list[Parameter]:
    """All settings of a node, those of tracking too."""
    return [
        Parameter(
            name=each.name,
            kind=_kind(get_type_hints(owner)[each.name]),
            default=each.default,
            help=each.metadata.get("help", "of tracking, see docs/tracking.md"),
        )
        for owner in (NodeSettings, TrackSettings)
        for each in fields(owner)
        if each.name != "track"
    ]


def _kind(hint: Any) -> type[Any]:
    """What values are that may be ``None`` as well."""
    [kind] = [each for each in get_args(hint) or (hint,) if each is not NoneType]
    return kind if isinstance(kind, type) else list
