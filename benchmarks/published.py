"""Timings that others published, beside ours for orientation.

They were taken on another machine, so they are no baseline of a ratio: for that there is
``samdeploy benchmark peers``, which runs the others here.
"""

from __future__ import annotations

from samdeploy.benchmarks.records import Published

_SOURCE = "Ultralytics documentation, models/sam, section 'SAM comparison vs YOLOv8'"
_CONDITIONS = "CPU of an Apple M2 MacBook, 16 GB, 2023"
_WHOLE = (
    "one image of the library's two sample pictures without a prompt: the whole image is segmented "
    "by a grid of points through encoder and decoder"
)
_SINGLE = (
    "one image of the same pictures: a single pass of a detector with masks, without prompts or "
    "an image encoder"
)

PUBLISHED = (
    Published("SAM-b", 51096, 358, _WHOLE, _CONDITIONS, _SOURCE),
    Published("MobileSAM", 46122, 40.7, _WHOLE, _CONDITIONS, _SOURCE),
    Published("FastSAM-s", 115, 23.7, _SINGLE, _CONDITIONS, _SOURCE),
    Published("YOLOv8n-seg", 59, 6.7, _SINGLE, _CONDITIONS, _SOURCE),
)
