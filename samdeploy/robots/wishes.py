"""What others want of a node, until the next frame."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from samdeploy.errors import InputError
from samdeploy.geometry import Transform
from samdeploy.prompts import Prompt, check_prompts
from samdeploy.robots.messages import Request
from samdeploy.robots.settings import MOST_IDS, NodeSettings


@dataclass(frozen=True)
class Work:
    """What is to be done with one frame, by id.

    Attributes:
        begin: objects to follow from now on.
        end: objects to follow no longer.
        asked: prompts to answer in this frame alone.
        refused: of begin and asked, those that do not fit the frame, and why.
        names: of all of these and of what is followed.
    """

    begin: dict[int, Prompt]
    end: frozenset[int]
    asked: dict[int, Prompt]
    refused: dict[int, str]
    names: dict[int, str]


class Wishes:
    """Collects what threads ask for, and numbers it. Each id is followed at most once at a time,
    and comes again only after 65535 others."""

    def __init__(self, settings: NodeSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._names: dict[int, str] = {}  # of what is followed, or will be from the next frame on
        self._begin: dict[int, Request] = {}
        self._end: set[int] = set()
        self._asked: tuple[Request, ...] = ()
        self._newest_id = 0
        self._transform: Transform | None = None  # of frames like the latest, as far as it is known
        self._taken: tuple[dict[int, Request], tuple[Request, ...]] = {}, ()  # to begin, and asked

    @property
    def busy(self) -> bool:
        """Whether there is anything to do with a frame."""
        return bool(self._names or self._asked)

    @property
    def count(self) -> int:
        """Objects that are followed, or will be."""
        return len(self._names)

    def add(self, request: Request) -> int:
        """See :meth:`samdeploy.robots.node.Node.add`."""
        with self._lock:
            most = self._settings.max_objects
            if len(self._names) >= most:
                raise InputError(f"{most} objects are followed; remove one, or raise max_objects.")
            fitted(request, self._transform)
            id = self._free_id()
            self._names[id] = request.name
            self._begin[id] = request
            return id

    def remove(self, id: int) -> None:
        """See :meth:`samdeploy.robots.node.Node.remove`."""
        with self._lock:
            if id not in self._names:
                known = ", ".join(map(str, self._names)) or "none"
                raise InputError(f"object {id} is not followed; expected one of: {known}.")
            del self._names[id]
            if self._begin.pop(id, None) is None:
                self._end.add(id)

    def ask(self, requests: Sequence[Request]) -> None:
        """Answer these in the next frame, instead of earlier ones that still wait."""
        with self._lock:
            for each in requests:
                fitted(each, self._transform)
            self._asked = tuple(requests)

    def forget(self, ids: Iterable[int]) -> None:
        """Take note that objects are not followed any more."""
        with self._lock:
            for id in ids:
                self._names.pop(id, None)

    def take(self, size: tuple[int, int], transform: Transform | None) -> Work:
        """What is wanted, for a frame of this size (height, width) with this transform. Without one
        the frame is not encoded, and what needs that goes on waiting."""
        with self._lock:
            end, self._end = frozenset(self._end), set()
            self._taken = {}, ()
            if transform is None:
                if self._transform is not None and self._transform.original_size != size:
                    self._transform = None  # it says nothing of frames like this one
                return Work({}, end, {}, {}, {})
            self._transform = transform
            asked = {self._free_id(end): each for each in self._asked}
            names = self._names | {id: each.name for id, each in asked.items()}
            refused: dict[int, str] = {}

            def fitting(requests: dict[int, Request]) -> dict[int, Prompt]:
                prompts = {}
                for id, request in requests.items():
                    try:
                        prompts[id] = fitted(request, transform)
                    except InputError as error:
                        refused[id] = str(error)
                return prompts

            work = Work(fitting(self._begin), end, fitting(asked), refused, names)
            self._taken = self._begin, self._asked
            self._begin, self._asked = {}, ()
            return work

    def put_back(self) -> None:
        """Want again of the next frame what was taken for the latest one, which failed; without
        what was removed, or replaced, meanwhile."""
        with self._lock:
            begin, asked = self._taken
            kept = {id: each for id, each in begin.items() if id in self._names}
            self._begin = kept | self._begin
            self._asked = self._asked or asked

    def _free_id(self, taken: Iterable[int] = ()) -> int:
        """The next id; at the end of all of them the first ones come again."""
        while True:
            self._newest_id = self._newest_id % MOST_IDS + 1
            if self._newest_id not in {*self._names, *self._end, *taken}:
                return self._newest_id


def fitted(request: Request, transform: Transform | None) -> Prompt:
    """The prompt of a request in a frame, or in one that is not known yet.

    Raises:
        InputError: it does not fit the frame, or is none.
    """
    if transform is None:
        return request.prompt()
    prompt = request.prompt(transform.original_size)
    check_prompts([prompt], transform, transform.image_size // 4)
    return prompt
