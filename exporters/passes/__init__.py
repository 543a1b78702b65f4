"""Rewrites of ONNX and OpenVINO graphs, one a file."""
