"""Models that tests of torch modules share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def sam2_config(golden: Path) -> dict[str, Any]:
    """What the shapes of the small SAM 2 do not tell."""
    stored = json.loads((golden / "sam2" / "sam2_small" / "config.json").read_text())
    trunk = stored["image_encoder"]["trunk"]
    return {"image_size": stored["image_size"], "image_encoder": {"trunk": trunk}}
