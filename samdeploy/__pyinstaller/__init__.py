"""Where PyInstaller finds ``hook-samdeploy.py``, which it runs when it freezes an app."""

from pathlib import Path


def get_hook_dirs() -> list[str]:
    """Of the entry point ``pyinstaller40:hook-dirs``."""
    return [str(Path(__file__).parent)]
