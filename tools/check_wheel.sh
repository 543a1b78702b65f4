#!/usr/bin/env bash
# The wheel in dist/ in an environment of its own: it runs a bundle without torch, and has types.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== the wheel, without extras and without torch"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile -c constraints.txt dist/*.whl
.venv/bin/samdeploy export model=sam_tiny.pt format=onnx kernels=True output="$work/sam_tiny_onnx"
.venv/bin/python -c "
from PIL import Image
from samdeploy.scenes import generate_scene
Image.fromarray(generate_scene(7, (480, 640)).image).save('$work/scene.png')"
(
    cd "$work"
    run=venv/bin/samdeploy
    "$run" formats
    "$run" predict model=sam_tiny_onnx source=scene.png 'points=[[320,240]]' 'labels=[1]'
    "$run" predict model=sam_tiny_onnx source=scene.png 'bboxes=[100,100,300,300]'
    "$run" predict model=sam_tiny_onnx source=scene.png points_stride=8
    test -s runs/predict3/scene.json
    venv/bin/python -c "
import importlib.util, sys
assert importlib.util.find_spec('torch') is None, 'torch is installed'
import samdeploy
masks = samdeploy.SAM('sam_tiny_onnx')('scene.png', points=[320, 240], labels=[1])[0]
assert masks.data.shape == (1, 480, 640), masks.data.shape
assert samdeploy.SAM('sam_tiny_onnx').info(verbose=False)['arithmetic'] == 'kernels'
assert 'torch' not in sys.modules
print('the wheel runs a bundle without torch')"
)

echo "== types of the wheel as a user sees them"
cat >"$work/user.py" <<'CODE'
import samdeploy

masks: samdeploy.Masks = samdeploy.SAM("bundle").predict("image.png", points=[1, 2])
boxes = masks.boxes
CODE
mypy="$PWD/.venv/bin/mypy"
# From another folder, so that the installed package is meant and not this one.
(cd "$work" && "$mypy" --python-executable venv/bin/python --strict user.py)
