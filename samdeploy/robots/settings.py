"""What a node can be told. Middlewares make their parameters of these fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

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


@dataclass(frozen=True)
class Parameter:
    """One setting by its name; ``default`` is ``MISSING`` where there has to be a value."""

    name: str
    default: Any
    help: str


def parameters() -> list[Parameter]:
    """All settings of a node, those of tracking too."""
    own = [
        Parameter(each.name, each.default, each.metadata["help"])
        for each in fields(NodeSettings)
        if "help" in each.metadata
    ]
    tracking = [
        Parameter(each.name, each.default, "see docs/tracking.md") for each in fields(TrackSettings)
    ]
    return own + tracking
