from dataclasses import dataclass

from ros_message import Message


@dataclass
class Time(Message):
    sec: int = 0
    nanosec: int = 0
