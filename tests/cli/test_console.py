"""What every command does with errors that nobody foresaw, and with its streams."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from samdeploy.cli.console import print_json, run
from samdeploy.errors import InputError


def outcome(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """Exit code and standard error of a command that raises ``error``."""
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise error

    app.command("other")(lambda: None)
    with pytest.raises(SystemExit) as end:
        run(lambda words: app, ["fail"])
    return end.value.code, capsys.readouterr().err


@pytest.fixture(autouse=True)
def no_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAMDEPLOY_DEBUG", raising=False)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (InputError("two\nlines\x1b[31m."), 2, "two lines\\x1b[31m."),
        (InputError("caf\udce9."), 2, "caf\\udce9."),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), 2, "'a/b' cannot be used (No sp"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), 2, "'a' cannot be used (Perm"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "standard output cannot be used"),
        (MemoryError(), 1, "this does not fit into memory"),
    ],
)
def test_one_sentence(
    error: BaseException, code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found, text = outcome(error, capsys)
    assert found == code
    assert text.startswith(f"error: {says}")
    assert text.count("\n") == 1
    assert "unexpected" not in text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_standard_output_that_is_full() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "samdeploy", "--version"],
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        f"error: standard output cannot be used ({os.strerror(errno.ENOSPC)}); check permissions "
        "and free space.\n"
    )


def test_json_of_any_name_is_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stdout", written)
    print_json({"caf\udce9": ["\u540d", ("\udce9",)]})
    assert "\\udce9" in written.getvalue()
    found = json.loads(written.getvalue())
    assert found == {"caf\\udce9": ["\u540d", ["\\udce9"]]}
    json.dumps(found, ensure_ascii=False).encode("utf-8")
