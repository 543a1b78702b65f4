"""What is kept from run to run is that of the present sources."""

from __future__ import annotations

import os
from pathlib import Path

from tests.kept import kept_folder


def test_a_change_of_a_source_asks_for_another_folder(tmp_path: Path) -> None:
    source = tmp_path / "samdeploy" / "a.py"
    source.parent.mkdir()
    source.write_text("1")
    first = kept_folder(tmp_path)
    assert first == kept_folder(tmp_path)
    source.write_text("2")
    second = kept_folder(tmp_path)
    assert second != first
    assert first.is_dir()  # another run may be at work in it
    os.utime(first, (0, 0))
    assert kept_folder(tmp_path) == second
    assert not first.exists()
