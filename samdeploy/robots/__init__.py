"""A node of a robot: frames come as they come, masks with lasting ids go out. What a middleware
such as dora or ROS 2 adds stands in ``runtimes/``."""
