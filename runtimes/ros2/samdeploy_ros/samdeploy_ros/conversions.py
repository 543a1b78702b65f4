"""ROS messages to what a node takes, and what it gives to ROS messages. No cv_bridge."""

from __future__ import annotations

import array
import math
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from numpy.typing import NDArray
from samdeploy_msgs.msg import Prompt
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import (
    BoundingBox2D,
    Detection2D,
    Detection2DArray,
    ObjectHypothesisWithPose,
)

from samdeploy.image_options import ImageOptions
from samdeploy.robots.encodings import compressed_pixels, raw_pixels
from samdeploy.robots.messages import Diagnosis, Found, Request, Segmented


def pixels_of(message: Image) -> NDArray[Any]:
    """``[H, W]`` or RGB ``[H, W, 3]`` of an image.

    Raises:
        InputError: an encoding that is not read, or sizes that do not fit each other.
    """
    return raw_pixels(
        message.data,
        message.encoding,
        message.height,
        message.width,
        message.step,
        bool(message.is_bigendian),
    )


def pixels_of_compressed(message: CompressedImage, options: ImageOptions) -> NDArray[Any]:
    """RGB ``[H, W, 3]`` of a compressed image.

    Raises:
        InputError: it cannot be read.
    """
    return compressed_pixels(message.data, message.format, options)


def request_of(prompt: Prompt) -> Request:
    """The request that a prompt makes."""
    has_box = prompt.box.size_x != 0 or prompt.box.size_y != 0
    return Request(
        points=[(point.x, point.y) for point in prompt.points],
        labels=list(prompt.labels),
        box=corners_of(prompt.box) if has_box else (),
        name=prompt.name,
    )


def requests_of(message: Detection2DArray) -> list[Request]:
    """One a detection, called after its likeliest class."""
    return [
        Request(box=corners_of(each.bbox), name=_likeliest(each.results))
        for each in message.detections
    ]


def _likeliest(results: list[ObjectHypothesisWithPose]) -> str:
    best = max(results, key=lambda result: result.hypothesis.score, default=None)
    return "" if best is None else best.hypothesis.class_id


def corners_of(box: BoundingBox2D) -> tuple[float, float, float, float]:
    """x1 y1 x2 y2 of the upright box around one that may be turned by ``theta``."""
    x, y = box.center.position.x, box.center.position.y
    cosine, sine = abs(math.cos(box.center.theta)), abs(math.sin(box.center.theta))
    half_width = (box.size_x * cosine + box.size_y * sine) / 2
    half_height = (box.size_x * sine + box.size_y * cosine) / 2
    return x - half_width, y - half_height, x + half_width, y + half_height


def label_message(result: Segmented) -> Image:
    """``16UC1``, the id at each pixel, with the header of the frame."""
    height, width = result.size
    message = Image()
    message.header = result.header
    message.height, message.width = height, width
    message.encoding, message.is_bigendian, message.step = "16UC1", 0, 2 * width
    # rclpy takes this type as it is; it would look at every byte of another.
    message.data = array.array("B", result.labels.astype("<u2").tobytes())
    return message


def detections_message(result: Segmented) -> Detection2DArray:
    """The boxes of the masks, with their ids."""
    message = Detection2DArray()
    message.header = result.header
    message.detections = [_detection(each, result.header) for each in result.found]
    return message


def _detection(found: Found, header: Any) -> Detection2D:
    x1, y1, x2, y2 = found.box
    detection = Detection2D()
    detection.header = header
    detection.id = str(found.id)
    detection.bbox.center.position.x, detection.bbox.center.position.y = (
        (x1 + x2) / 2,
        (y1 + y2) / 2,
    )
    detection.bbox.size_x, detection.bbox.size_y = x2 - x1, y2 - y1
    hypothesis = ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id = found.name
    hypothesis.hypothesis.score = found.score
    detection.results = [hypothesis]
    return detection


def status_message(diagnosis: Diagnosis, name: str) -> DiagnosticStatus:
    """How the node of this name is."""
    status = DiagnosticStatus()
    status.level = bytes([diagnosis.level])
    status.name, status.message = name, diagnosis.message
    status.hardware_id = str(diagnosis.values.get("device", ""))
    status.values = [KeyValue(key=key, value=str(value)) for key, value in diagnosis.values.items()]
    return status
