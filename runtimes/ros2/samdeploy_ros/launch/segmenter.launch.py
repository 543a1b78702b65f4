"""The segmenter, configured and activated at start:

ros2 launch samdeploy_ros segmenter.launch.py model:=/path/to/bundle image:=/camera/image_raw
"""

from __future__ import annotations

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition


def generate_launch_description() -> LaunchDescription:
    share = Path(get_package_share_directory("samdeploy_ros"))
    image = LaunchConfiguration("image")
    segmenter = LifecycleNode(
        package="samdeploy_ros",
        executable="segmenter",
        name="segmenter",
        namespace="",
        parameters=[
            LaunchConfiguration("config"),
            {"model": LaunchConfiguration("model"), "device": LaunchConfiguration("device")},
        ],
        remappings=[("image", image), ("image/compressed", [image, "/compressed"])],
        output="screen",
    )

    def change(transition: int) -> EmitEvent:
        event = ChangeState(
            lifecycle_node_matcher=matches_action(segmenter), transition_id=transition
        )
        return EmitEvent(event=event)

    activate = OnStateTransition(
        target_lifecycle_node=segmenter,
        start_state="configuring",
        goal_state="inactive",
        entities=[change(Transition.TRANSITION_ACTIVATE)],
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument("model", description="bundle folder"),
            DeclareLaunchArgument("device", default_value="auto"),
            DeclareLaunchArgument("image", default_value="image", description="the camera's topic"),
            DeclareLaunchArgument("config", default_value=str(share / "config/segmenter.yaml")),
            RegisterEventHandler(activate),
            segmenter,
            change(Transition.TRANSITION_CONFIGURE),
        ]
    )
