"""The command ``track``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from samdeploy.cli.console import print_json
from samdeploy.cli.fields import Command, takes_options, takes_settings
from samdeploy.cli.options import (
    BitDepth,
    Device,
    Json,
    MaxPixels,
    Model,
    Runtime,
    Window,
    option,
)
from samdeploy.cli.predict_files import check_apart, free_stem, output_folder, write_record
from samdeploy.cli.running import runtime_options_of
from samdeploy.cli.words import parse_numbers, parse_prompts
from samdeploy.errors import InputError
from samdeploy.files import atomic_path
from samdeploy.image_options import ImageOptions
from samdeploy.masks.picture_file import write_picture
from samdeploy.opening import class_of
from samdeploy.prompts import Prompt
from samdeploy.sam import SAM
from samdeploy.session import RuntimeOptions
from samdeploy.sources import is_video
from samdeploy.text import as_utf8, printable
from samdeploy.tracking.frames import clip_files
from samdeploy.tracking.settings import TrackSettings
from samdeploy.tracking.tracked import Tracked

#: In the folder of the results: one line a frame, as :meth:`Tracked.to_json` has it.
LINES = "tracks.jsonl"


@dataclass(frozen=True)
class _Written:
    """One frame, in how many seconds it was done, and its picture."""

    tracked: Tracked
    seconds: float
    picture: Path


def track_command(running: type[RuntimeOptions] = RuntimeOptions) -> Command:
    """The command with an option for every setting, and for the options of the runtime."""
    command = takes_options(track, running, "runtime_options")
    return takes_settings(command, TrackSettings, "settings")


def track(
    model: Model,
    source: Annotated[str, option("source", help="video, folder or glob pattern of pictures")],
    points: Annotated[str | None, option("points", help="[x,y] or [[x,y],...] pixels")] = None,
    labels: Annotated[str | None, option("labels", help="1 foreground, 0 background")] = None,
    bboxes: Annotated[str | None, option("bboxes", help="[x1,y1,x2,y2] or several")] = None,
    masks: Annotated[str | None, option("masks", help="image file of a mask, or several")] = None,
    output: Annotated[str | None, option("output", help="folder of the results")] = None,
    project: Annotated[str, option("project", help="without output=: results are in")] = "runs",
    name: Annotated[str, option("name", help="project/name, name2, name3...")] = "track",
    runtime: Runtime = None,
    device: Device = "auto",
    bit_depth: BitDepth = None,
    window: Window = None,
    max_pixels: MaxPixels = None,
    as_json: Json = False,
    runtime_options: Any = None,
    settings: Any = None,
) -> None:
    """Follow objects of the first frame through a video, one prompt each."""
    TrackSettings.from_names(settings)
    images = ImageOptions(bit_depth, parse_numbers(window, "window"), max_pixels)
    prompts = parse_prompts(points, labels, bboxes, masks)
    if not prompts:
        raise InputError("nothing to follow; give points, bboxes or masks of the first frame.")
    # Everything that can be refused is refused before a model is opened.
    opener = class_of(model)
    if not issubclass(opener, SAM):
        raise InputError(f"model={model} is a {opener.__name__}; track needs a SAM.")
    files = clip_files(source)
    options = runtime_options_of(model, runtime)(**runtime_options)
    with output_folder(output, project, name) as folder:
        check_apart(files, folder)
        with opener(
            model, runtime=runtime, device=device, options=options, image_options=images
        ) as opened:
            facts = opened.info(verbose=False)
            written = []
            for each in _track_files(opened, files, folder, prompts, settings):
                written.append(_summary(each))
                if not as_json:
                    print(_sentence(each), flush=True)
    if as_json:
        print_json(written)
    else:
        providers = ", ".join(sorted(set(facts["providers"].values())))
        print(printable(f"results in {folder} (runtime {facts['runtime']}, {providers})"))


def _track_files(
    model: SAM, files: Sequence[Path], folder: Path, prompts: Sequence[Prompt], settings: Any
) -> Iterator[_Written]:
    """Every frame after its files are written: a picture, the record that ``predict`` writes, and a
    line of :data:`LINES`."""
    video = files[0] if is_video(files[0]) else None
    results = _timed(model.track(video or list(files), prompts=prompts, stream=True, **settings))
    taken: set[str] = set()
    names = {"model": as_utf8(model.source)}
    begun = chain([next(results)], results)  # a refused call leaves an earlier one's lines alone
    with (folder / LINES).open("w", encoding="utf-8") as lines:
        for tracked, seconds in begun:
            path = video or files[tracked.frame]
            number = f"_{tracked.frame + 1:06d}" if video else ""
            stem = free_stem(f"{path.stem}{number}", folder, taken)
            write_record(folder / f"{stem}.json", {"image": as_utf8(path), **names}, tracked.masks)
            picture = folder / f"{stem}.png"
            with atomic_path(picture) as temporary:
                write_picture(temporary, tracked.plot())
            lines.write(json.dumps(tracked.to_json()) + "\n")
            lines.flush()
            yield _Written(tracked, seconds, picture)


def _timed(results: Iterable[Tracked]) -> Iterator[tuple[Tracked, float]]:
    """Each result, and in how many seconds it came."""
    started = time.perf_counter()
    for tracked in results:
        yield tracked, time.perf_counter() - started
        started = time.perf_counter()


def _summary(written: _Written) -> dict[str, Any]:
    return {
        **written.tracked.to_json(),
        "seconds": round(written.seconds, 4),
        "picture": str(written.picture),
    }


def _sentence(written: _Written) -> str:
    tracked = written.tracked
    found = f"{len(tracked.masks)} followed"
    if tracked.lost:
        found += f", {len(tracked.lost)} lost ({', '.join(map(str, tracked.lost))})"
    return printable(
        f"{tracked.name}: {found}, {written.seconds * 1000:.0f} ms -> {written.picture}"
    )
