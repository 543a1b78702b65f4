"""An encoder's file opened by a runtime, as tests of several runtimes do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samdeploy.graphs import ENCODER
from samdeploy.session import RuntimeOptions, Session


def opened(runtime: Any, path: Path, device: str, **options: Any) -> Session:
    session: Session = runtime().open(
        path, ENCODER, device=device, options=RuntimeOptions(**options)
    )
    return session
