"""A finished benchmark: its report, and the files that hold it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from samdeploy.benchmarks.html import html_page
from samdeploy.benchmarks.records import Report, encode
from samdeploy.benchmarks.tables import markdown, text_tables
from samdeploy.errors import InputError
from samdeploy.files import atomic_path


def check_output(folder: Path) -> None:
    """Find out before hours of measuring that there is no place for the report.

    Raises:
        InputError: ``folder`` is a file, or cannot be made or written to.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise InputError(f"'{folder}' cannot be written to; choose another output.")


@dataclass(frozen=True)
class Result:
    """A finished benchmark; ``failed`` names the cases that should have run and did not."""

    report: Report
    json: Path
    markdown: Path
    html: Path

    @property
    def failed(self) -> list[str]:
        return [case.label for case in self.report.cases if case.status == "failed"]

    def text(self) -> str:
        """The tables for a terminal."""
        return text_tables(self.report)

    @classmethod
    def write(cls, report: Report, folder: Path) -> Result:
        """Three files in ``folder`` under a name that nothing there has yet."""
        stamp = "".join(char for char in report.created[:19] if char.isdigit() or char == "T")
        base = f"{report.kind}_{Path(report.model).stem}_{stamp}"
        names = chain([base], (f"{base}_{number}" for number in count(2)))
        name = next(name for name in names if not (folder / f"{name}.json").exists())
        paths = [folder / f"{name}.{suffix}" for suffix in ("json", "md", "html")]
        contents = (encode(report), markdown(report).encode(), html_page(report).encode())
        for path, content in zip(paths, contents, strict=True):
            with atomic_path(path) as temporary:
                temporary.write_bytes(content)
        return cls(report, *paths)
