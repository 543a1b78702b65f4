"""Functions that MkDocs calls while it builds the documentation site; see mkdocs.yml."""

from __future__ import annotations

import re
from typing import Any

#: A role of Sphinx in a docstring, as Markdown renders it, such as ``:class:`~samdeploy.SAM```.
_ROLE = re.compile(r":(?:class|meth|func|data|mod|attr):<code>(~?)([^<]+)</code>")


def on_page_content(html: str, **_: Any) -> str:
    """Show the name that a role refers to; of one with a tilde the last part alone."""
    return _ROLE.sub(
        lambda found: f"<code>{found[2].rpartition('.')[2] if found[1] else found[2]}</code>", html
    )
