"""A camera that is a video, or a folder of pictures: ``SOURCE`` at ``RATE`` frames a second.

Sends ``image``: RGB with the number of the frame and its time in nanoseconds.
"""

from __future__ import annotations

import os
import sys
import time

from dora import Node

from samdeploy.errors import InputError, SamDeployError
from samdeploy.image_options import DEFAULT_OPTIONS
from samdeploy.runtimes.dora.messages import image_message
from samdeploy.tracking.frames import iter_frames


def main() -> None:
    source, rate = os.environ.get("SOURCE", ""), os.environ.get("RATE", "30")
    try:
        period = 1 / float(rate)
    except (ValueError, ZeroDivisionError):
        raise InputError(f"RATE={rate}; expected frames a second, such as 30.") from None
    frames = iter_frames(source, "rgb", DEFAULT_OPTIONS)
    node = Node()
    due = time.monotonic()
    for number, frame in enumerate(frames):
        time.sleep(max(0.0, due - time.monotonic()))
        due += period
        pixels, metadata = image_message(frame.pixels, "rgb8")
        node.send_output("image", pixels, {**metadata, "frame": number, "stamp": time.time_ns()})


if __name__ == "__main__":
    try:
        main()
    except SamDeployError as error:
        sys.exit(str(error))
