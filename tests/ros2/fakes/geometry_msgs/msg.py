from dataclasses import dataclass, field

from ros_message import Message
from std_msgs.msg import Header


@dataclass
class Point(Message):
    x: float = 0.0
    y: float = 0.0
    z: float = 0.0


@dataclass
class PointStamped(Message):
    header: Header = field(default_factory=Header)
    point: Point = field(default_factory=Point)
