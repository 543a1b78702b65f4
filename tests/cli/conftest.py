"""The command line, run in this process inside an empty folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from samdeploy.cli.app import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli: TypeAlias = Callable[..., Outcome]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    """Run one command; ``.`` is ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SAMDEPLOY_DEBUG", raising=False)

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        code = end.value.code
        assert isinstance(code, int)
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    return call


@pytest.fixture
def done(cli: Cli) -> Cli:
    """Like ``cli``, for commands that must succeed."""

    def call(*arguments: str) -> Outcome:
        outcome = cli(*arguments)
        assert outcome.code == 0, outcome.err
        return outcome

    return call
