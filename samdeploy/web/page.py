"""Where the built page is: HTML, CSS and scripts, without a model and without ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import samdeploy.assets


def page_folder() -> Path:
    """The built page, which may be served from any path. It asks for ``site.json`` beside itself,
    which names the model and ONNX Runtime; see :class:`samdeploy.web.site.Site`."""
    return Path(samdeploy.assets.__file__).parent / "page"
