"""Where PyInstaller finds ``hook-samdeploy.py``, which it runs when it freezes an app."""

from pathlib import Path


def get_hook_dirs() -> list[str]:
    """The folder of the hook, for the entry point ``pyinstaller40:hook-dirs``."""
    return [str(Path(__file__).parent)]
