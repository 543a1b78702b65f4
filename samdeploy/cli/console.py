"""The surroundings of every command: exit codes, errors in one sentence, signals, output."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NoReturn

import msgspec
import typer
from tqdm import tqdm

from samdeploy.cli.words import Keys, rewrite
from samdeploy.errors import SamDeployError
from samdeploy.notices import NoticeLines
from samdeploy.text import as_utf8, printable, shortened

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Seconds in which a signal that is sent again, by an impatient hand, does not disturb tidying up.
_PATIENCE = 5.0
_SECONDS_BETWEEN_LINES = 30.0


#: What shells report for a process that wrote to a closed pipe.
_PIPE_CLOSED = 141


class _Stopped(BaseException):
    """A signal arrived. An exception, so that temporary files are removed on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(
    command_line: Callable[[list[str]], typer.Typer], arguments: list[str] | None = None
) -> NoReturn:
    """Run the command line of the given words and leave through :class:`SystemExit`.

    Exit codes: 0 done, 1 failed, 2 bad input, 130 and 143 stopped by a signal. An error is one
    sentence on standard error; with ``SAMDEPLOY_DEBUG=1`` in the environment it is raised instead.
    """
    if arguments is None and signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        # This process is ours: stopped before or after the command, it ends without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _open_streams()
    words = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        group = typer.main.get_command(command_line(words))
        words = rewrite(words, known_keys(group))
        with _signals_raise(), NoticeLines(_say_between):
            code = group.main(words, prog_name="samdeploy", standalone_mode=False)
            sys.stdout.flush()
        raise SystemExit(code if isinstance(code, int) else 0)
    except _Stopped as stop:
        _fail(stop, "stopped; nothing half-written was left.", 128 + stop.number)
    except SamDeployError as error:
        _fail(error, str(error), error.exit_code)
    except BrokenPipeError as error:  # whoever read standard output has seen enough
        _close_output()
        raise SystemExit(_PIPE_CLOSED) from error
    except OSError as error:
        _close_output()
        what = f"'{error.filename}'" if error.filename else "standard output"
        reason = error.strerror or error
        _fail(error, f"{what} cannot be used ({reason}); check permissions and free space.", 2)
    except MemoryError as error:
        _fail(error, "this does not fit into memory; use a smaller image, batch or model.", 1)
    except Exception as error:
        # Typer brings its own Click in some versions: its usage errors are known by their method.
        usage = getattr(error, "format_message", None)
        if usage is not None:
            _fail(error, _usage_sentence(error, words), 2)
        _fail(error, f"unexpected {type(error).__name__}: {_one_line(error)}", 1)


def known_keys(group: Any) -> dict[str, Keys]:
    """The keys of every command of ``group``."""
    return {name: _keys(command) for name, command in group.commands.items()}


def _keys(command: Any) -> Keys:
    options = [[name.removeprefix("--") for name in param.opts] for param in command.params]
    pairs = list(zip(options, command.params, strict=True))
    return Keys(
        names={name: names[0] for names, _ in pairs for name in names},
        flags=frozenset(names[0] for names, param in pairs if getattr(param, "is_flag", False)),
        required=tuple(names[0] for names, param in pairs if param.required),
        bare=tuple(n[0] for n, param in pairs if param.param_type_name == "argument"),
    )


@contextmanager
def _signals_raise() -> Iterator[None]:
    # Only the main thread may set handlers; elsewhere the host program has its own.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    stopped = -_PATIENCE

    def stop(number: int, frame: object) -> None:
        nonlocal stopped
        if time.monotonic() - stopped >= _PATIENCE:
            stopped = time.monotonic()
            raise _Stopped(number)

    # A signal that the caller ignores (nohup, background jobs) stays ignored.
    heeded = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fail(error: BaseException, sentence: str, code: int) -> NoReturn:
    if os.environ.get("SAMDEPLOY_DEBUG"):
        raise error
    with suppress(OSError):
        print(f"error: {printable(_one_line(sentence))}", file=sys.stderr)
    raise SystemExit(code) from error


def _open_streams() -> None:
    """Make standard output and error take every text: characters that their encoding lacks are
    escaped, and what the caller closed is a file that keeps nothing."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: PTH123, SIM115  # until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _close_output() -> None:
    """Nothing more goes to standard output, so that Python does not complain at the end."""
    with suppress(OSError, ValueError):  # it has no number when the program runs inside another
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _usage_sentence(error: Any, words: list[str]) -> str:
    """An error of the option parser in our words where it is about a value."""
    option = getattr(getattr(error, "param", None), "opts", [""])[0]
    value = next((word.partition("=")[2] for word in words if word.startswith(f"{option}=")), None)
    message = _one_line(error.format_message())
    if option and value is not None:  # only numbers are converted, so only they can be wrong
        kind = "whole number" if "integer" in message else "number"
        return f"{option.removeprefix('--')}={shortened(value)}; expected a {kind}."
    return message


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


def print_json(value: Any) -> None:
    """``value`` (plain or made of msgspec structs) on standard output."""
    print(json.dumps(_as_utf8(msgspec.to_builtins(value)), indent=2))


def _as_utf8(value: Any) -> Any:
    if isinstance(value, str):
        return as_utf8(value)
    if isinstance(value, dict):
        return {_as_utf8(key): _as_utf8(item) for key, item in value.items()}
    return [_as_utf8(v) for v in value] if isinstance(value, (list, tuple)) else value


def say(line: str) -> None:
    """A line of progress beside a machine-readable result."""
    print(printable(line), file=sys.stderr, flush=True)


def _say_between(line: str) -> None:
    """:func:`say`, also while a bar is shown."""
    tqdm.write(printable(line), file=sys.stderr)


def steps(as_json: bool) -> Callable[[str], None]:
    """Shows the steps of long work: on standard output only when people read it."""
    return say if as_json else partial(print, flush=True)


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A function that takes (done, total) and shows them as a bar, on a terminal only."""
    with tqdm(desc=label, unit="point", leave=False, disable=not sys.stderr.isatty()) as bar:

        def update(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield update


@contextmanager
def image_progress(
    label: str,
) -> Iterator[tuple[Callable[[int, int, int], None], Callable[[str], None]]]:
    """Two functions: one takes (done, done earlier, total) and shows rate and remaining time, as a
    bar on a terminal and as a line now and then elsewhere; the other says a sentence meanwhile."""
    terminal = sys.stderr.isatty()
    started = said = time.monotonic()
    with tqdm(desc=label, unit="image", disable=not terminal) as bar:

        def update(done: int, earlier: int, total: int) -> None:
            nonlocal said
            if terminal:
                bar.total, bar.initial = total, earlier  # the rate is of this run alone
                bar.update(done - bar.n)
            elif time.monotonic() - said >= _SECONDS_BETWEEN_LINES:
                said = time.monotonic()
                say(
                    tqdm.format_meter(
                        done, total, said - started, ncols=0, prefix=label, unit="image",
                        initial=earlier,
                    )
                )  # fmt: skip

        yield update, partial(tqdm.write, file=sys.stderr)
