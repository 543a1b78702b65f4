"""The node itself: the newest frame in, masks with ids out, one frame after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from samdeploy.closing import Closing
from samdeploy.embedding import Embedding
from samdeploy.errors import InputError, SamDeployError
from samdeploy.images import ChannelOrder
from samdeploy.masks.masks import Masks
from samdeploy.opening import class_of
from samdeploy.prompts import Prompt
from samdeploy.robots.mailbox import Mailbox
from samdeploy.robots.messages import CameraFrame, Diagnosis, Found, Level, Request, Segmented
from samdeploy.robots.settings import NodeSettings
from samdeploy.robots.stages import Stages
from samdeploy.robots.wishes import Wishes, Work
from samdeploy.sam import SAM
from samdeploy.session import RuntimeOptions
from samdeploy.tracking.frames import Frame
from samdeploy.tracking.track import Tracker
from samdeploy.tracking.tracked import Tracked

#: What is timed: from the offer of a frame to its turn, its pixels, encoder, prompts to masks, what
#: takes the masks, and all of it.
STAGES = ("queue", "read", "encode", "decode", "publish", "total")


class Segmenter(Protocol):
    """What is asked of a model: a :class:`samdeploy.SAM`, or what acts like one."""

    @property
    def image_size(self) -> int: ...

    def encode(self, image: NDArray[Any], channel_order: ChannelOrder) -> Embedding: ...

    def predict(self, target: Embedding, *, prompts: Sequence[Prompt]) -> Masks: ...

    def tracker(self, **settings: Any) -> Tracker: ...

    def info(self, verbose: bool = True) -> dict[str, Any]: ...

    def close(self) -> None: ...


class Node(Closing):
    """Segments the newest frame there is; frames that come meanwhile replace each other.

    One thread calls :meth:`step`; any thread may call the rest. What is wrong with a frame or a
    request is told in a sentence and ends nothing. Memory does not grow: one frame waits, and
    objects, prompts and remembered times are limited by the settings.

    Args:
        model: is closed with the node.
        settings: of which those of the model have been heeded by whoever opened it.
        clock: seconds, from any beginning on.
    """

    def __init__(
        self,
        model: Segmenter,
        settings: NodeSettings,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._model, self._settings, self._clock = model, settings, clock
        self._frames: Mailbox[tuple[float, CameraFrame]] = Mailbox()
        self._stages = Stages(STAGES, settings.window, clock)
        self._facts = _facts(model)
        self._tracker = model.tracker(**asdict(settings.track))
        self._wishes = Wishes(settings)
        self._size: tuple[int, int] | None = None  # of the latest frame with objects
        self._unheard: dict[int, str] = {}  # objects that ended, and why, until a frame tells it
        self._newest = clock()  # when a frame came
        self._segmented = self._refused = self._lost = 0
        self._trouble = ""  # of the newest frame

    @classmethod
    def open(cls, settings: NodeSettings) -> Node:
        """A node whose model is open and warm.

        Raises:
            SamDeployError: the model or its device cannot be had.
        """
        opener = class_of(settings.model)
        if not issubclass(opener, SAM):
            raise InputError(f"model={settings.model} is a {opener.__name__}; a node needs a SAM.")
        model = opener(
            settings.model,
            runtime=settings.runtime,
            device=settings.device,
            options=RuntimeOptions(threads=settings.threads, precision=settings.precision),
            image_options=settings.images,
        )
        node = cls(model, settings)
        node.warm_up()
        return node

    def close(self) -> None:
        self._model.close()

    def warm_up(self) -> float:
        """Segment made-up frames, so that the first one of the camera takes no longer than others:
        libraries allocate, compile and tune at their first calls. Returns seconds."""
        started = self._clock()
        side = self._model.image_size
        picture = np.zeros((side, side, 3), np.uint8)
        picture[side // 4 : side // 2, side // 4 : side // 2] = 255
        box = Prompt(box=[side // 4, side // 4, side // 2, side // 2])
        tracker = self._model.tracker()
        for number in range(self._settings.warmup):
            embedding = self._model.encode(picture, "rgb")
            # The second of them follows what the first has begun.
            tracker.step(Frame("", picture), {} if number else {1: box}, embedding)
            _ = self._model.predict(embedding, prompts=[box]).rles
        seconds = self._clock() - started
        self._facts["warmup_s"] = round(seconds, 3)
        return seconds

    def offer(self, frame: CameraFrame) -> None:
        """Let this be the newest frame; never waits."""
        now = self._clock()
        self._newest = now
        self._frames.put((now, frame))

    def add(self, request: Request) -> int:
        """Follow an object from the next frame on; returns its id.

        Raises:
            InputError: as many are followed as may be, or the request does not fit the latest
                frame. Where there was none yet, it may still turn out not to fit the first; then
                that one tells in :attr:`Segmented.ended`.
        """
        return self._wishes.add(request)

    def remove(self, id: int) -> None:
        """Follow an object no longer.

        Raises:
            InputError: it is not followed.
        """
        self._wishes.remove(id)

    def prompt(
        self, requests: Sequence[Request], added: Callable[[int], object] = lambda id: None
    ) -> None:
        """Answer these in the next frame, instead of earlier ones that still wait; with the setting
        ``follow_prompts`` :meth:`add` them, and tell ``added`` the id of each.

        Raises:
            InputError: too many of them, or one does not fit the latest frame.
        """
        most = self._settings.max_prompts
        if len(requests) > most:
            raise InputError(f"{len(requests)} prompts in one message; expected at most {most}.")
        if self._settings.follow_prompts:
            for each in requests:
                added(self.add(each))
        else:
            self._wishes.ask(requests)

    def step(
        self, publish: Callable[[Segmented], object] = lambda result: None, seconds: float = 0.0
    ) -> Segmented | None:
        """Segment the newest frame and hand it to ``publish``; ``None`` where none comes within
        some seconds, or it is refused, which :meth:`diagnosis` then tells."""
        taken = self._frames.take(seconds)
        if taken is None:
            return None
        offered, frame = taken
        self._stages.add("queue", self._clock() - offered)
        try:
            result = self._segment(frame)
        except SamDeployError as error:
            self._refused += 1
            self._trouble = str(error)
            return None
        with self._stages.timed("publish"):
            publish(result)
        self._stages.add("total", self._clock() - offered)
        self._stages.end_frame()
        self._segmented += 1
        self._trouble = ""
        return result

    def diagnosis(self) -> Diagnosis:
        """How it goes: times in milliseconds and the rate are of the latest frames."""
        values: dict[str, str | int | float] = {
            **self._facts,
            "frames_received": self._frames.received,
            "frames_dropped": self._frames.dropped,
            "frames_refused": self._refused,
            "frames_segmented": self._segmented,
            "rate_hz": round(self._stages.rate(), 2),
            "objects": self._wishes.count,
            "objects_lost": self._lost,
        }
        for stage, times in self._stages.summary().items():
            for name, value in asdict(times).items():
                values[f"{stage}_{name}_ms"] = round(1000 * value, 3)
        silent = self._clock() - self._newest
        if self._trouble:
            return Diagnosis(Level.ERROR, self._trouble, values)
        if silent > self._settings.stale_after:
            return Diagnosis(Level.WARN, f"no frame for {silent:.1f} s.", values)
        return Diagnosis(Level.OK, "segmenting" if self._segmented else "ready", values)

    def _segment(self, frame: CameraFrame) -> Segmented:
        with self._stages.timed("read"):
            pixels = frame.read()
        embedding = None
        if self._wishes.busy:
            with self._stages.timed("encode"):
                embedding = self._model.encode(pixels, "rgb")
            assert embedding.image is not None
            pixels = embedding.image
        with self._stages.timed("decode"):
            return self._decode(frame.header, pixels, embedding)

    def _decode(self, header: Any, pixels: NDArray[Any], embedding: Embedding | None) -> Segmented:
        """``embedding`` is there if anything is to be found."""
        size = (pixels.shape[0], pixels.shape[1])
        work = self._wishes.take(size, None if embedding is None else embedding.transform)
        self._unheard |= self._resized(size)
        for id in work.end.intersection(self._tracker.ids):
            self._tracker.remove(id)
        try:
            masks = self._answers(embedding, work)
            tracked = self._tracker.step(Frame("", pixels), work.begin, embedding)
        except InputError as error:  # the model cannot be asked this, now or later
            self._unheard |= work.refused | dict.fromkeys(work.begin, str(error))
            raise
        except SamDeployError:  # before anything has begun: the next frame is another try
            self._wishes.put_back()
            raise
        ended = work.refused | self._unheard | self._given_up(tracked, work.begin)
        self._unheard = {}
        self._wishes.forget(ended)
        scores = dict(tracked.scores)
        found = _found(tracked.masks, tracked.ids.tolist(), scores, work.names, followed=True)
        if masks is not None:
            scores = dict(zip(work.asked, masks.scores.tolist(), strict=True))
            found += _found(masks, list(work.asked), scores, work.names, followed=False)
        lost = tuple(id for id in tracked.lost if id not in ended)
        self._lost = len(lost)
        labels = label_image(size, found)
        return Segmented(tracked.frame, header, size, found, lost, ended, labels)

    def _answers(self, embedding: Embedding | None, work: Work) -> Masks | None:
        """The masks of what is asked of this frame alone; ``None`` where that is nothing."""
        if not work.asked:
            return None
        assert embedding is not None
        return self._model.predict(embedding, prompts=list(work.asked.values()))

    def _resized(self, size: tuple[int, int]) -> dict[int, str]:
        """Objects that end because frames have another size than before, and why: where they were
        means nothing now."""
        before, self._size = self._size or size, size
        ids = self._tracker.ids if size != before else ()
        for id in ids:
            self._tracker.remove(id)
        reason = f"frames have {size[1]} x {size[0]} pixels now, and had {before[1]} x {before[0]}."
        return dict.fromkeys(ids, reason)

    def _given_up(self, tracked: Tracked, begun: Collection[int]) -> dict[int, str]:
        """Objects that nobody looks for any more, and why."""
        frames = self._settings.track.search_frames
        ended = {
            id: "its prompt shows no object." if id in begun else f"not seen for {frames} frames."
            for id in tracked.lost
            if id in begun or id not in tracked.scores
        }
        for id in ended:
            self._tracker.remove(id)
        return ended


def label_image(size: tuple[int, int], found: Sequence[Found]) -> NDArray[np.uint16]:
    """The picture that :attr:`Segmented.labels` describes, of ``size`` (height, width)."""
    labels = np.zeros(size, np.uint16)
    for each in sorted(found, key=lambda each: -each.area):
        labels[each.rle.decode()] = each.id
    return labels


def _found(
    masks: Masks,
    ids: Sequence[int],
    scores: Mapping[int, float],
    names: Mapping[int, str],
    followed: bool,
) -> tuple[Found, ...]:
    """Those of the masks that are not empty; ``scores`` and ``names`` are by id."""
    rows = zip(ids, masks.boxes.tolist(), masks.areas.tolist(), masks.rles, strict=True)
    return tuple(
        Found(id, names.get(id, ""), followed, (x1, y1, x2 + 1, y2 + 1), area, scores[id], rle)
        for id, (x1, y1, x2, y2), area, rle in rows
        if area
    )


def _facts(model: Segmenter) -> dict[str, str | int | float]:
    """What runs, and on what: a device that was not meant would stand here."""
    info = model.info(verbose=False)
    providers = sorted(set(info["providers"].values()))
    return {
        "model": info["source"],
        "runtime": info["runtime"],
        "device": info["device"],
        "provider": ", ".join(providers),
        "precision": info["arithmetic"],
    }
