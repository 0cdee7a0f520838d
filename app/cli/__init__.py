"""The command line: `arc2face COMMAND`, one file per group of commands.

Importing it needs typer only; torch, numpy and gradio are imported by the commands that use them, so that `--help`,
`doctor --help` and shell completion are quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns the exit code.

    0 done; 1 an expected error, shown as one line; 2 wrong usage; 3 files left out for their licence; 70 a bug; 130
    interrupted. `--debug`, anywhere, shows the stack trace of whatever went wrong.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]

    from app.cli.console import failed, set_up
    from app.cli.root import app

    set_up(words, debug=debug)
    try:
        app(args=words, prog_name="arc2face")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException as error:
        if debug:
            raise
        return failed(error)
    return 0
