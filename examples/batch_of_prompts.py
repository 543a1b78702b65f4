"""Prompts of different kinds on one image: encoded once, decoded in one call.

samdeploy export model=sam_tiny.pt
python examples/batch_of_prompts.py sam_tiny_onnx picture.png
"""

import sys

from samdeploy import SAM, Prompt

with SAM(sys.argv[1]) as sam:
    embedding = sam.encode(sys.argv[2])
    height, width = embedding.transform.original_size
    middle = [width / 2, height / 2]
    prompts = [
        Prompt(points=[middle]),
        Prompt(box=[0, 0, width / 2, height]),
        # A box, a click on what is wanted (1) and one on what is not (0).
        Prompt(box=[0, 0, width, height], points=[middle, [1, 1]], labels=[1, 0]),
    ]
    masks = sam.predict(embedding, prompts=prompts)
    for index, area in zip(masks.prompt_index, masks.areas, strict=True):
        print(f"prompt {index}: {area} pixels")
