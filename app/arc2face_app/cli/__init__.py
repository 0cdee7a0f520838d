"""The command line: `arc2face COMMAND`, one file per group of commands.

Importing it needs typer only; torch, numpy and gradio are imported by the commands that use them, so that `--help`,
`doctor --help` and shell completion are quick.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    0 done; 1 an expected error, shown as one line; 2 wrong usage; 3 files left out for their licence; 70 a bug; 130
    interrupted; 129 and 143 ended by the system (SIGHUP, SIGTERM). `--debug`, anywhere, shows the stack trace of
    whatever went wrong.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]

    from arc2face_app.cli.console import failed, notes_of, set_up, warn
    from arc2face_app.cli.root import app

    set_up(words, debug=debug)
    try:
        with _ends_in_order():
            app(args=words, prog_name="arc2face")
    except SystemExit as stop:
        for text in notes_of(stop):
            warn(text)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException as error:
        if debug:
            raise
        return failed(error)
    return 0


@contextmanager
def _ends_in_order() -> Generator[None]:
    """SIGTERM and SIGHUP stop the run as Ctrl-C does: engine closed, unfinished files removed, finished ones kept."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        names = []  # only the main thread may
    before = {name: signal.signal(getattr(signal, name), _end) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)
