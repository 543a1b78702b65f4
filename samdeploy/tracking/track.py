"""Follow objects through frames by prompts alone: every frame is segmented by itself, asked with
what the one before has shown. There is no memory network as in SAM 2 (arXiv:2408.00714)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from samdeploy.decoding import Answer
from samdeploy.embedding import Embedding
from samdeploy.engine import SingleMask
from samdeploy.errors import InputError
from samdeploy.geometry import Transform
from samdeploy.limits import whole
from samdeploy.masks.masks import Masks
from samdeploy.prompts import DecoderPrompts, Prompt
from samdeploy.tracking.frames import Frame
from samdeploy.tracking.likeness import Floats, Look, look, shrunk
from samdeploy.tracking.settings import TrackSettings
from samdeploy.tracking.target import Target
from samdeploy.tracking.tracked import Tracked

#: Encodes an RGB image uint8 ``[H, W, 3]``.
Encode = Callable[[NDArray[np.uint8]], Embedding]

#: Prompts in one decoder call.
MAX_BATCH = 16


class Model(Protocol):
    """What is asked: an :class:`~samdeploy.engine.Engine`, or what acts like one."""

    single_mask: SingleMask

    def encode_prompts(self, prompts: Sequence[Prompt], transform: Transform) -> DecoderPrompts: ...

    def decode(self, embedding: Embedding, prompts: DecoderPrompts) -> Answer: ...


@dataclass(frozen=True)
class _Seen:
    """The mask that is most likely an object, and how surely it is: low-res ``logits`` ``[s, s]``,
    what they show, and the model's own rating of them."""

    score: float
    look: Look | None
    logits: Floats
    iou: float


_NOTHING = _Seen(0.0, None, np.zeros((0, 0), np.float32), 0.0)


def by_frame(prompts: Sequence[Prompt] | Mapping[int, Sequence[Prompt]]) -> dict[int, list[Prompt]]:
    """Prompts by the number of the frame that they are for, in the order of the frames; without any
    numbers they are for the first frame.

    Raises:
        InputError: there are none, or a number is none of a frame.
    """
    given = prompts if isinstance(prompts, Mapping) else {0: prompts}
    found = {whole("frame of prompts", frame, 0): list(some) for frame, some in given.items()}
    if not any(found.values()):
        raise InputError("no object to follow; give points, bboxes or masks of the first frame.")
    return dict(sorted(found.items()))


def track(
    encode: Encode,
    model: Model,
    frames: Iterable[Frame],
    prompts: Mapping[int, Sequence[Prompt]],
    settings: TrackSettings,
) -> Iterator[Tracked]:
    """Follow the object of each prompt from the frame it is for to the last; see
    :meth:`samdeploy.SAM.track`. Only the present frame is kept.

    Raises:
        InputError: a prompt does not fit its frame, or its frame does not come.
    """
    tracker = Tracker(encode, model, settings)
    number, ids = -1, count()
    for number, frame in enumerate(frames):
        yield tracker.step(frame, {next(ids): prompt for prompt in prompts.get(number, ())})
    late = [each for each in prompts if each > number]
    if late:
        raise InputError(f"prompts for frame {late[0]}; there are {number + 1} frames, from 0 on.")


class Tracker:
    """The objects that are followed, under ids that the caller gives, and the number of frames so
    far."""

    def __init__(self, encode: Encode, model: Model, settings: TrackSettings) -> None:
        self._encode, self._model, self._settings = encode, model, settings
        self._targets: dict[int, Target] = {}  # by id; without those that were given up
        self._ids: dict[int, None] = {}  # all, in the order in which they came
        self._frame = 0

    @property
    def ids(self) -> tuple[int, ...]:
        """Of all objects that have not been removed."""
        return tuple(self._ids)

    def step(
        self,
        frame: Frame,
        prompts: Mapping[int, Prompt] = MappingProxyType({}),
        embedding: Embedding | None = None,
    ) -> Tracked:
        """Look for every object in the next frame, and begin with those of ``prompts``, each under
        its id. ``embedding`` is the frame's, where it was encoded already.

        Raises:
            InputError: a prompt does not fit the frame, or its id is in use; then the frame counts
                as not seen.
        """
        used = self._ids.keys() & prompts.keys()
        if used:
            raise InputError(f"object {min(used)} is followed already; take an id that is free.")
        seen: dict[int, _Seen] = {}
        masks = Masks.from_rles([], frame.pixels.shape[:2], [], image=frame.pixels)
        if self._targets or prompts:
            embedding = embedding or self._encode(frame.pixels)
            small = shrunk(frame.pixels, embedding.transform)
            seen = self._known(embedding, small) | self._new(embedding, small, prompts)
            masks = self._remember(seen, embedding.transform, frame.pixels)
        self._ids.update(dict.fromkeys(prompts))
        ids = set(masks.prompt_index.tolist())
        scores = {id: each.score for id, each in seen.items()}
        lost = tuple(id for id in self._ids if id not in ids)
        tracked = Tracked(self._frame, masks, lost, scores, frame.name)
        self._frame += 1
        return tracked

    def remove(self, id: int) -> None:
        """Forget an object; its id is free again.

        Raises:
            InputError: there is none of this id.
        """
        if id not in self._ids:
            known = ", ".join(map(str, self._ids)) or "none"
            raise InputError(f"object {id} is not followed; expected one of: {known}.")
        del self._ids[id]
        self._targets.pop(id, None)

    def _known(self, embedding: Embedding, small: NDArray[np.uint8]) -> dict[int, _Seen]:
        """What is most likely each object that is known, by id."""
        seen = dict.fromkeys(self._targets, _NOTHING)
        expected = {id: each.expect(self._frame) for id, each in self._targets.items()}
        asked = [(id, prompt) for id, each in expected.items() for prompt in each.prompts]
        answers = self._answers(embedding, [prompt for _, prompt in asked])
        for (id, _), (logits, iou) in zip(asked, answers, strict=True):
            for candidate, rating in zip(logits, iou.tolist(), strict=True):
                now = look(candidate, small)
                if now is None:
                    continue
                score = self._targets[id].score(now, expected[id].mask, rating)
                if score > seen[id].score:
                    seen[id] = _Seen(score, now, candidate.copy(), rating)
        return seen

    def _new(
        self, embedding: Embedding, small: NDArray[np.uint8], prompts: Mapping[int, Prompt]
    ) -> dict[int, _Seen]:
        """What the prompts of new objects show, the mask that :meth:`samdeploy.SAM.predict` would
        answer, by their ids."""
        seen = {}
        answers = self._answers(embedding, list(prompts.values()))
        for id, (logits, iou) in zip(prompts, answers, strict=True):
            chosen = int(self._model.single_mask(logits[None], iou[None])[0])
            rating = float(iou[chosen])
            now = look(logits[chosen], small)
            score = 0.0 if now is None else min(1.0, max(0.0, rating))
            seen[id] = _Seen(score, now, logits[chosen].copy(), rating)
        return seen

    def _answers(
        self, embedding: Embedding, prompts: Sequence[Prompt]
    ) -> Iterator[tuple[Floats, Floats]]:
        """Of each prompt all masks, ``[4, s, s]``, and their predicted IoU ``[4]``."""
        for start in range(0, len(prompts), MAX_BATCH):
            some = prompts[start : start + MAX_BATCH]
            batch = self._model.encode_prompts(some, embedding.transform)
            answer = self._model.decode(embedding, batch)
            yield from zip(answer.masks(np.arange(len(batch))), answer.iou_predictions, strict=True)

    def _remember(
        self, seen: Mapping[int, _Seen], transform: Transform, pixels: NDArray[np.uint8]
    ) -> Masks:
        """The masks of those that are their objects; what is known of all objects is renewed."""
        taken = {
            id: each
            for id, each in seen.items()
            if each.look is not None
            and (id not in self._targets or self._targets[id].accepts(each.score))
        }
        side = transform.image_size // 4
        masks = Masks.from_logits(
            np.stack([np.zeros((side, side), np.float32), *(e.logits for e in taken.values())])[1:],
            transform,
            [each.iou for each in taken.values()],
            prompt_index=list(taken),
            image=pixels,
        )
        if not masks.areas.all():  # what is all padding shows nothing
            masks = masks[masks.areas > 0]
        edges = masks.boxes + np.array([0, 0, 1, 1], np.float32)
        boxes = dict(zip(masks.prompt_index.tolist(), edges, strict=True))
        for id in seen:
            target, now = self._targets.get(id), seen[id].look
            if id in boxes and now is not None:
                if target is None:
                    target = Target(self._frame, now, boxes[id], transform, self._settings)
                    self._targets[id] = target
                else:
                    target.see(self._frame, now, boxes[id])
            elif target is not None:
                target.miss()
                if target.given_up:
                    del self._targets[id]
        return masks
