"""Doors that do on purpose what no door may do, to show that the fuzzer sees it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from arc2face.errors import InputError
from tests.fuzz.doors import Door


def _endless(_: Path) -> None:
    while True:
        pass


def _greedy(_: Path) -> None:
    bytearray(3 << 30)


def _greedy_and_polite(_: Path) -> None:
    try:
        bytearray(3 << 30)
    except MemoryError as error:
        raise InputError("There is not enough memory.") from error


def _raw(_: Path) -> None:
    raise KeyError("x")


def _unprintable(_: Path) -> None:
    raise InputError("not \ud800")


def _crash(_: Path) -> None:
    os.abort()


def _runs(_: Path) -> None:
    subprocess.run(["true"], check=True)


def _refuses(_: Path) -> None:
    raise InputError("This is not usable. Choose another file.")


def _blank(folder: Path) -> None:
    (folder / "x.bin").write_bytes(b"x")


_WHAT: dict[str, tuple[Callable[[Path], None], str]] = {
    "refuses": (_refuses, "InputError"),
    "raw": (_raw, "KeyError at traps.py"),
    "greedy": (_greedy, "MemoryError"),
    "polite": (_greedy_and_polite, "MemoryError"),
    "unprintable": (_unprintable, "unprintable message"),
    "runs": (_runs, "ran subprocess.Popen"),
    "crash": (_crash, "crash: -6"),
    "endless": (_endless, "hang"),
}

TRAPS = {name: Door(name, (), _blank, enter, lambda rng, data: data) for name, (enter, _) in _WHAT.items()}
EXPECTED = {name: words for name, (_, words) in _WHAT.items()}
