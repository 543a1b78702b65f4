"""ROS 2 cannot be installed from a package index: its packages are stood in for by ``fakes``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def ros(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """ROS's packages and ours can be imported, and are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(ROOT / "tests/ros2/fakes")
    monkeypatch.syspath_prepend(ROOT / "runtimes/ros2/samdeploy_ros")
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0].endswith(("_msgs", "_interfaces", "_ros", "rclpy", "ros_message")):
            del sys.modules[name]
