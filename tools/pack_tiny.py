"""Make the shipped checkpoint from a training run's: half precision, and recommended settings.

python tools/pack_tiny.py /tmp/sam_tiny/final.pt samdeploy/assets/sam_tiny.pt --conf 0.8
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from samdeploy.models.load import load_sam


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--conf", type=float, required=True, help="conf_thres that suits it")
    parser.add_argument("--stability", type=float, required=True, help="stability_score_thresh")
    args = parser.parse_args()
    content = torch.load(args.source, weights_only=True)
    state = {k: v.half() if v.is_floating_point() else v for k, v in content["model"].items()}
    bad = [k for k, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if bad:
        raise SystemExit(f"'{bad[0]}' does not fit half precision.")
    whole_image = {"conf_thres": args.conf, "stability_score_thresh": args.stability}
    torch.save(
        {"model": state, "config": content["config"], "whole_image": whole_image}, args.target
    )
    load_sam(args.target)
    parameters = sum(v.numel() for v in state.values())
    print(f"{args.target}: {parameters / 1e6:.2f} M numbers, {args.target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
