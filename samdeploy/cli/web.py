"""``samdeploy web``: a folder with the page and a model, for any host of static files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from samdeploy.cli.console import print_json
from samdeploy.cli.options import Json, option
from samdeploy.text import printable
from samdeploy.web.onnxruntime_web import PACKAGE, VERSION
from samdeploy.web.site import write_site


def web(
    model: Annotated[str, option("model", help="folder of an ONNX bundle")],
    output: Annotated[str, option("output", help="folder of the site")] = "site",
    runtime: Annotated[
        str | None,
        option("runtime", help=f"{PACKAGE} {VERSION}, a folder or .tgz; default: npm fetches it"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a page that segments in its visitors' browsers; host the folder anywhere."""
    folder = write_site(model, output, runtime=runtime)
    size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    if as_json:
        print_json({"site": str(folder), "bytes": size})
        return
    print(printable(f"wrote {folder} ({size / 1e6:.1f} MB)"))
    print(printable(f"try it: python -m http.server --directory {folder}"))
