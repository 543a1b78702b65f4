"""The page of ``samdeploy web``, for browsers; here the server computes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from samdeploy.json_files import encode_json
from samdeploy.serving.service import Service
from samdeploy.web.page import page_folder
from samdeploy.web.site import SCHEMA_VERSION, SITE, Site

_INDEX = "index.html"
_POLICY = re.compile(r'http-equiv="Content-Security-Policy"\s+content="([^"]+)"')
#: Not Python's guess, which on Windows is what other programs have registered.
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class PageFile:
    """A file of the page as a browser gets it."""

    content: bytes
    type: str
    headers: Mapping[str, str] = field(default_factory=dict)


def page_files(service: Service, api: str) -> dict[str, PageFile]:
    """The page's files by the paths that a browser asks for. Nothing is looked up by a request:
    what is not in here is not there.

    Args:
        api: where the routes begin that the page asks, without a slash at either end.
    """
    folder = page_folder()
    paths = sorted(path for path in folder.rglob("*") if path.suffix in _TYPES)
    # Workers do not inherit what the page says of itself: it is said of every file.
    [policy] = _POLICY.findall((folder / _INDEX).read_text("utf-8"))
    headers = {"Content-Security-Policy": policy}
    files = {
        f"/{path.relative_to(folder).as_posix()}": PageFile(
            path.read_bytes(), _TYPES[path.suffix], headers
        )
        for path in paths
    }
    site = Site(SCHEMA_VERSION, service.model().name, server=f"{api}/")
    files[f"/{SITE}"] = PageFile(encode_json(site), _TYPES[".json"])
    files["/"] = files[f"/{_INDEX}"]
    return files
