"""As in vision_msgs 4 (Humble and newer)."""

from dataclasses import dataclass, field

from ros_message import Message
from std_msgs.msg import Header


@dataclass
class Point2D(Message):
    x: float = 0.0
    y: float = 0.0


@dataclass
class Pose2D(Message):
    position: Point2D = field(default_factory=Point2D)
    theta: float = 0.0


@dataclass
class BoundingBox2D(Message):
    center: Pose2D = field(default_factory=Pose2D)
    size_x: float = 0.0
    size_y: float = 0.0


@dataclass
class ObjectHypothesis(Message):
    class_id: str = ""
    score: float = 0.0


@dataclass
class ObjectHypothesisWithPose(Message):
    """Without its ``pose``, which nobody here touches."""

    hypothesis: ObjectHypothesis = field(default_factory=ObjectHypothesis)


@dataclass
class Detection2D(Message):
    header: Header = field(default_factory=Header)
    results: list[ObjectHypothesisWithPose] = field(default_factory=list)
    bbox: BoundingBox2D = field(default_factory=BoundingBox2D)
    id: str = ""


@dataclass
class Detection2DArray(Message):
    header: Header = field(default_factory=Header)
    detections: list[Detection2D] = field(default_factory=list)
