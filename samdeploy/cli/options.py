"""Options that several commands have, and how options are declared.

Typer reads them from signatures, so a command's repeats that of the function which it calls.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from samdeploy.preprocess import NAMED


def option(*names: str, help: str) -> Any:
    return typer.Option(*(f"--{name}" for name in names), help=help)


def flag(name: str, help: str) -> Any:
    return typer.Option(f"--{name}/--no-{name}", help=help)


Model = Annotated[str, option("model", help="bundle folder, checkpoint file or known name")]
Device = Annotated[str, option("device", help="auto, cpu, cuda, ...")]
Runtime = Annotated[str | None, option("runtime", help="default: what the bundle was made for")]
Imgsz = Annotated[int | None, option("imgsz", help="input side in pixels (checkpoints only)")]
Config = Annotated[str | None, option("config", help="JSON with architecture details")]
Preprocess = Annotated[
    str | None,
    option("preprocess", help=f"how the model sees images: {', '.join(NAMED)}, or JSON"),
]
Tolerance = Annotated[float | None, option("tolerance", help="smallest mean mask IoU")]
Trust = Annotated[
    bool, flag("trust", help="load an Ultralytics checkpoint, which executes code of the file")
]
BitDepth = Annotated[
    int | None, option("bit_depth", help="bits in use in images of more than 8 bits")
]
Window = Annotated[str | None, option("window", help="[black,white] of images of more than 8 bits")]
MaxPixels = Annotated[int | None, option("max_pixels", help="refuse larger images [178956970]")]
Json = Annotated[bool, flag("json", help="print JSON for machines")]
