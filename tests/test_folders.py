"""Folders appear whole, in one step, and leave nothing behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import samdeploy.folders as folders
from samdeploy.errors import InputError, OutputError
from samdeploy.folders import put_back, replaced_folder

WRITER = """
import sys, time
from pathlib import Path
from samdeploy.folders import replaced_folder
with replaced_folder(Path("target"), lambda path: None) as new:
    (new / "half").write_text("")
    print("writing", flush=True)
    time.sleep(600)
"""


def anything(path: Path) -> None:
    """Whatever is there may be replaced."""


def write(target: Path, text: str) -> None:
    with replaced_folder(target, anything) as new:
        (new / "file").write_text(text)


@pytest.fixture(params=["at once", "in two steps"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param == "in two steps":
        monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    write(tmp_path / "target", "old")
    return tmp_path / "target"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_replaces(target: Path) -> None:
    with replaced_folder(target, anything) as new:
        (new / "file").write_text("new")
        assert (target / "file").read_text() == "old"
    assert (target / "file").read_text() == "new"
    assert names(target.parent) == ["target"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_the_old_one_survives_an_error(target: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), replaced_folder(target, anything):
        raise error
    assert (target / "file").read_text() == "old"
    assert names(target.parent) == ["target"]


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="nothing exchanges folders")
def test_two_folders_are_exchanged_in_one_step(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not folders._exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("this file system cannot")
    assert names(tmp_path / "one") == ["other"]


def test_a_stop_between_the_two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "target", "old")
    rename = Path.rename

    def stopped(self: Path, other: Path) -> Path:
        if self.name == "new":
            raise KeyboardInterrupt
        return rename(self, other)

    monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "target", "new")
    assert (tmp_path / "target" / "file").read_text() == "old"
    assert names(tmp_path) == ["target"]


@pytest.mark.parametrize("by", ["opening it", "writing beside it"])
def test_a_kill_between_the_two_steps(tmp_path: Path, by: str) -> None:
    stage = tmp_path / ".samdeploy-killed"
    (stage / "old").mkdir(parents=True)
    (stage / "old" / "file").write_text("old")
    (stage / "lock").write_text("target")
    if by == "opening it":
        put_back(tmp_path / "target")
    else:
        write(tmp_path / "other", "new")
        assert names(tmp_path) == ["other", "target"]
    assert (tmp_path / "target" / "file").read_text() == "old"


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a signal of POSIX")
def test_what_a_killed_process_left_is_swept_and_that_of_a_living_one_is_not(
    tmp_path: Path,
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    write(tmp_path / "other", "new")
    assert len(names(tmp_path)) == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert len(names(tmp_path)) == 2
    (tmp_path / ".samdeploy-empty").mkdir()
    (tmp_path / ".samdeploy-notes").mkdir()
    (tmp_path / ".samdeploy-notes" / "mine.txt").touch()
    write(tmp_path / "other", "again")
    assert names(tmp_path) == [".samdeploy-notes", "other"]


def test_several_at_once(target: Path) -> None:
    """None fails, and one of them stands whole."""
    meet = threading.Barrier(6)
    errors: list[Exception] = []

    def writer(text: str) -> None:
        try:
            with replaced_folder(target, anything) as new:
                for name in ("a", "b"):
                    (new / name).write_text(text)
                meet.wait()
        except Exception as error:
            errors.append(error)

    writers = [threading.Thread(target=writer, args=(str(i),)) for i in range(6)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    assert errors == []
    assert (target / "a").read_text() == (target / "b").read_text()
    assert names(target.parent) == ["target"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk(tmp_path: Path, number: int) -> None:
    with (
        pytest.raises(OutputError, match=r"target' cannot be written to .*free some space"),
        replaced_folder(tmp_path / "target", anything),
    ):
        raise OSError(number, os.strerror(number))
    assert names(tmp_path) == []


def test_what_the_block_cannot_read_is_not_about_the_target(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replaced_folder(tmp_path / "target", anything):
        (tmp_path / "input").read_text()


@pytest.mark.parametrize("name", [".", "..", "", "folder/.."])
def test_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "here" / "folder").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="is the folder that this runs in"):
        write(Path(name), "new")
    assert names(tmp_path / "here") == ["folder"]


@pytest.mark.parametrize("name", ["nul\0l", "x" * 300, "loop/target", "file/target"])
def test_paths_that_cannot_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"choose (another|a shorter)"),
        replaced_folder(tmp_path / name, anything),
    ):
        pytest.fail("refused before anything is done")
    assert names(tmp_path) == ["file", "loop"]


def test_a_link_stays_and_what_it_means_is_replaced(target: Path) -> None:
    link = target.with_name("link")
    link.symlink_to(target)
    write(link, "new")
    assert link.is_symlink()
    assert (target / "file").read_text() == "new"
