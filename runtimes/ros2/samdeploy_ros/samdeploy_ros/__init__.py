"""A ROS 2 node around :class:`samdeploy.robots.node.Node`; see docs/robots.md."""
