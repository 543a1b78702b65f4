"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from samdeploy.errors import InputError, OutputError
from samdeploy.files import atomic_path, check_file, fitting_name


def test_replaces_when_done(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.txt"
    with atomic_path(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.suffix == ".txt"
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_keeps_the_old_one_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another"), atomic_path(tmp_path / "file" / "a"):
        pass


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EACCES, "choose another folder"),
        (errno.ENAMETOOLONG, "choose a shorter name"),
        (errno.EIO, "choose another folder"),
    ],
)
def test_what_the_system_refuses_is_a_sentence(tmp_path: Path, number: int, remedy: str) -> None:
    with pytest.raises(OutputError) as caught, atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise OSError(number, os.strerror(number))
    assert str(caught.value) == (
        f"'{tmp_path / 'a.txt'}' cannot be written to ({os.strerror(number)}); {remedy}"
        f"{', or choose another folder' * (number == errno.ENOSPC)}."
    )
    assert list(tmp_path.iterdir()) == []


def test_a_long_name_that_fits(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 251 + ".txt")
    with atomic_path(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    code = (
        "import sys, os, pathlib\n"
        "from samdeploy.files import atomic_path\n"
        "with atomic_path(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    print('begun', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in ("killed.txt", "at_work.txt")
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
    assert len(list(tmp_path.iterdir())) == 2
    killed, at_work = processes
    killed.kill()
    killed.communicate()
    with atomic_path(tmp_path / "a.txt"):
        pass
    assert len(list(tmp_path.iterdir())) == 2  # ours, and what is being written
    at_work.communicate()
    assert at_work.returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "at_work.txt"]


def test_names_are_shortened_only_where_they_must_be(tmp_path: Path) -> None:
    assert fitting_name("a" * 239, tmp_path, 16) == "a" * 239
    long = [fitting_name("\u540d" * 80 + end, tmp_path, 16) for end in "12"]
    assert long[0] != long[1]
    for name in long:
        assert name.startswith("\u540d" * 70)
        (tmp_path / (name + "x" * 16)).touch()


def test_an_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.touch()
    assert check_file(path, "image") == path
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match=r"image '.*a\.png' may not be read"):
        check_file(path, "image")
