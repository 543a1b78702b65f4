"""One click, one mask.

samdeploy export model=sam_tiny.pt
python examples/one_click.py sam_tiny_onnx picture.png 320 240
"""

import sys

import samdeploy

bundle, picture, x, y = sys.argv[1:]

with samdeploy.SAM(bundle) as sam:  # the bundle is all that an app ships, and torch is not needed
    masks = sam.predict(picture, points=[float(x), float(y)])

x1, y1, x2, y2 = masks.boxes[0]
print(
    f"box {x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f}, {masks.areas[0]} pixels, IoU {masks.scores[0]:.2f}"
)
masks.save("one_click.png")
