from dataclasses import dataclass, field

from ros_message import Message
from std_msgs.msg import Header


@dataclass
class KeyValue(Message):
    key: str = ""
    value: str = ""


@dataclass
class DiagnosticStatus(Message):
    level: bytes = b"\0"
    name: str = ""
    message: str = ""
    hardware_id: str = ""
    values: list[KeyValue] = field(default_factory=list)


@dataclass
class DiagnosticArray(Message):
    header: Header = field(default_factory=Header)
    status: list[DiagnosticStatus] = field(default_factory=list)
