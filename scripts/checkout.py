"""Where the packages of a checkout lie, for programs that start others without installing it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
ROOTS = ("", "app", "training", "external/emoca")
"""Folders that hold packages: arc2face, arc2face_app, arc2face_training, arc2face_emoca. `./run` says the same."""


def python_path(*before: Path | str, checkout: Path = PROJECT, after: str = "") -> str:
    """A PYTHONPATH: what is in `before`, the checkout's packages, then `after`."""
    parts = [*map(str, before), *(str(checkout / root) for root in ROOTS), after]
    return os.pathsep.join(part for part in parts if part)


def add_to_path() -> None:
    """Make the packages importable in this process, before those of other distributions."""
    sys.path[:0] = [str(PROJECT / root) for root in ROOTS if str(PROJECT / root) not in sys.path]
