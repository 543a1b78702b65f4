"""Text files of any tool."""

from __future__ import annotations

import codecs
from pathlib import Path

from samdeploy.files import check_file

#: UTF-16 is what Windows' shell writes into files.
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: Path) -> str:
    """A file of UTF-8, or of what its byte order mark says; the mark is no part of the text.

    Raises:
        InputError: it is no file.
        OSError, UnicodeError: it cannot be read, or is no such text.
    """
    check_file(path, "text file")  # a pipe would wait for a writer
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    return content.decode(encoding)
