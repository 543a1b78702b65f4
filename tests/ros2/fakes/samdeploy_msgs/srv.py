from dataclasses import dataclass, field

from ros_message import Message
from samdeploy_msgs.msg import Prompt


class AddObject:
    @dataclass
    class Request(Message):
        prompt: Prompt = field(default_factory=Prompt)

    @dataclass
    class Response(Message):
        success: bool = False
        message: str = ""
        id: int = 0


class RemoveObject:
    @dataclass
    class Request(Message):
        id: int = 0

    @dataclass
    class Response(Message):
        success: bool = False
        message: str = ""
