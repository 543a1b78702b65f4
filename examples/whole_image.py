"""Everything in a picture, as COCO annotations.

samdeploy export model=sam_tiny.pt
python examples/whole_image.py sam_tiny_onnx picture.png
"""

import json
import sys
from pathlib import Path

import samdeploy

with samdeploy.SAM(sys.argv[1]) as sam:
    masks = sam.generate(
        sys.argv[2],
        points_stride=16,  # a grid of 16 by 16 clicks
        progress=lambda done, total: print(f"\r{done}/{total}", end="", file=sys.stderr),
    )

print(f"\n{len(masks)} masks, the largest has {max(masks.areas, default=0)} pixels")
Path("whole_image.json").write_text(json.dumps(masks.to_coco()))
