"""A command that is stopped leaves nothing half-written."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from samdeploy.cli.console import run

pytestmark = pytest.mark.exporting


@pytest.mark.parametrize(
    ("number", "code", "step"),
    [
        pytest.param(signal.SIGINT, 130, "verifying", marks=pytest.mark.slow),
        (signal.SIGTERM, 143, "exporting"),
        pytest.param(
            signal.SIGKILL, -9, "exporting", marks=[pytest.mark.slow, pytest.mark.overnight]
        ),
    ],
)
def test_stopped_export(
    tmp_path: Path,
    small_checkpoint: Path,
    small_config: Path,
    number: signal.Signals,
    code: int,
    step: str,
) -> None:
    process = subprocess.Popen(
        [
            sys.executable, "-m", "samdeploy", "export", f"model={small_checkpoint}",
            f"config={small_config}", "output=bundle",
        ],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Whoever started the tests may ignore interrupts, as shells do for background jobs.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(step):
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert not (tmp_path / "bundle").exists()
    if number != signal.SIGKILL:  # nobody can tidy up after that one
        assert list(tmp_path.iterdir()) == []
        assert errors == "error: stopped; nothing half-written was left.\n"


def test_an_impatient_hand_does_not_disturb_tidying_up(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tidied = []
    app = typer.Typer()

    @app.command()
    def first() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
                signal.raise_signal(number)
            tidied.append(True)

    app.command("second")(lambda: None)
    # Whoever started the tests in the background may have had the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as end:
            run(lambda words: app, ["first"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert end.value.code == 130
    assert tidied == [True]
    assert capsys.readouterr().err == "error: stopped; nothing half-written was left.\n"


def test_handlers_are_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from samdeploy.cli.app import main

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(SystemExit):
        main(["formats"])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
