"""What every command says and how: results on standard output, everything else on standard error.

With `--json` standard output holds exactly one JSON object, also when a command fails.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape

from arc2face.advice import spoken
from arc2face.errors import Arc2FaceError, CancelledError, StorageError

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

__all__ = ["BUG", "INTERRUPTED", "add_note", "answer", "bars", "failed", "note", "notes_of", "say", "set_up", "warn"]

BUG = 70
INTERRUPTED = 130
_NOTES = "__notes__"


@dataclass
class _State:
    as_json: bool = False


_state = _State()


def set_up(words: Iterable[str], *, debug: bool) -> None:
    """Remembers whether errors have to be JSON, and quiets the libraries unless `debug`."""
    _state.as_json = "--json" in list(words)
    for stream in (sys.stdout, sys.stderr):
        # A terminal or pipe that cannot show every file name shows it escaped, instead of ending a finished run.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    logging.basicConfig(level=logging.DEBUG if debug else logging.ERROR, format="%(name)s: %(message)s")
    for name in ("PIL", "matplotlib", "urllib3", "httpx", "httpcore", "filelock", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "debug" if debug else "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "debug" if debug else "error")


def _errors() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """A line of the result. Flushed, because whoever started the server reads its address from a pipe.

    Raises StorageError when standard output takes no more; BrokenPipeError when nobody reads it any longer.
    """
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:
            raise
        reason = error.strerror or error
        raise StorageError(
            f"The answer could not be written to standard output ({reason}); files are saved."
        ) from error


def note(text: str) -> None:
    """A remark for the person; nothing for programs."""
    if not _state.as_json:
        _errors().print(escape(spoken(text)), style="dim")


def warn(text: str) -> None:
    """A warning that is not an error."""
    if not _state.as_json:
        _errors().print(f"[yellow]Note:[/yellow] {escape(spoken(text))}")


def answer(data: Mapping[str, Any]) -> None:
    """The one JSON object of a command that was given `--json`."""
    say(json.dumps(data, indent=2, default=_plain, ensure_ascii=not _takes_everything(sys.stdout.encoding)))


def _takes_everything(encoding: str | None) -> bool:
    return (encoding or "").lower().replace("_", "-").startswith("utf")


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    item = getattr(value, "tolist", None)  # numpy scalars and arrays
    return item() if callable(item) else str(value)


def failed(error: BaseException) -> int:
    """Shows an error as one line (and as JSON where asked for) and returns the exit code."""
    if isinstance(error, KeyboardInterrupt | CancelledError):
        code, text = INTERRUPTED, str(error) or "Stopped."
    elif isinstance(error, Arc2FaceError):
        code, text = 1, str(error)
    else:
        reason = " ".join(str(error).split()) or type(error).__name__
        code = BUG
        text = f"Something went wrong that should not have ({type(error).__name__}: {reason}). Add --debug for details."
    text = spoken(" ".join([text, *notes_of(error)]))
    if _state.as_json:
        with contextlib.suppress(OSError, StorageError):  # told on standard error all the same
            answer({"error": {"type": type(error).__name__, "message": text}})
    label = "" if code == INTERRUPTED else "[bold red]Error:[/bold red] "
    _errors().print(f"{label}{escape(text)}")
    return code


def notes_of(error: BaseException) -> tuple[str, ...]:
    """What was added to an error on its way up, such as which pictures are kept."""
    return tuple(getattr(error, _NOTES, ()))


def add_note(error: BaseException, text: str) -> None:
    """As Python 3.11's `BaseException.add_note`."""
    setattr(error, _NOTES, [*notes_of(error), text])


def bars(*, of_bytes: bool = False) -> Bars:
    """Progress bars on standard error; silent with `--json` and where nobody watches."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = _errors()
    amount = (DownloadColumn(), TransferSpeedColumn()) if of_bytes else (TextColumn("{task.completed}/{task.total}"),)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None if of_bytes else 30),
        *amount,
        TimeRemainingColumn(compact=True),
        console=console,
        disable=_state.as_json or not console.is_terminal,
        transient=not of_bytes,
    )
