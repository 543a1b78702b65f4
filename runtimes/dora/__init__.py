"""Nodes for dora-rs: a camera, the segmenter and a recorder; see docs/robots.md."""
