"""Reports of a run to whoever started it."""

from __future__ import annotations

from collections.abc import Callable

from samdeploy.notices import notice


class Report:
    """Tells while the run goes on, and keeps for its summary.

    Args:
        total: images of the run.
        progress: called with images done, of these by earlier runs, and all.
        log: called with a sentence for each image that is left out.

    Attributes:
        failed: images left out, with the reason.
        notices: the other sentences.
        resumed: images done by earlier runs.
    """

    def __init__(
        self,
        total: int,
        progress: Callable[[int, int, int], None] | None,
        log: Callable[[str], None] | None,
    ) -> None:
        self._total, self._progress, self._log = total, progress, log
        self._done = self.resumed = 0
        self.failed: dict[str, str] = {}
        self.notices: list[str] = []

    def notice(self, sentence: str) -> None:
        self.notices.append(sentence)
        notice(sentence)

    def resume(self, done: int) -> None:
        """The run begins; ``done`` images were done by earlier ones."""
        self.resumed = done
        self.done(done)

    def done(self, images: int = 1) -> None:
        self._done += images
        if self._progress:
            self._progress(self._done, self.resumed, self._total)

    def left_out(self, image: str, reason: str) -> None:
        self.failed[image] = reason
        if self._log:
            self._log(f"{image} was left out: {reason}")
        self.done()
