from dataclasses import dataclass, field

from ros_message import Message
from std_msgs.msg import Header
from vision_msgs.msg import BoundingBox2D, Point2D


@dataclass
class Prompt(Message):
    header: Header = field(default_factory=Header)
    points: list[Point2D] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    box: BoundingBox2D = field(default_factory=BoundingBox2D)
    name: str = ""
