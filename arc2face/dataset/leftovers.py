"""Files that are whole or not there, and what killed writers leave behind.

A writer holds a lock on its temporary file for as long as it lives; the system drops it however the process dies. So a
temporary file without a lock belongs to nobody and is swept, on a shared disk as well, as far as that knows locks.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import IO

from arc2face.weights.writing import TEMPORARY_PREFIX, replace_with

__all__ = ["lock", "owned", "strays", "sweep"]

GAP_SECONDS = 2.0
"""Between the making of a temporary file and its lock."""
ABANDONED_SECONDS = 6 * 3600.0
"""After so long a file is nobody's where the disk knows no locks."""


@contextlib.contextmanager
def owned(target: Path) -> Generator[Path]:
    """As `replace_with`, and while the body and the replacement last nobody sweeps the temporary file."""
    with contextlib.ExitStack() as held, replace_with(target) as temporary:
        if os.name == "posix":  # elsewhere an open file cannot be renamed
            lock(held.enter_context(temporary.open("r+b")), wait=False)  # to write, as locks on network disks want
        yield temporary


def lock(stream: IO[bytes], wait: bool) -> bool | None:
    """Lock an open file until it is closed. False: somebody else holds it. None: there are no locks here."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def strays(folders: Iterable[Path]) -> list[Path]:
    """Temporary files in these folders, whoever they belong to."""
    return sorted(path for folder in folders if folder.is_dir() for path in folder.glob(f"{TEMPORARY_PREFIX}*"))


def sweep(folders: Iterable[Path]) -> list[Path]:
    """Remove the temporary files that no living writer owns; returns them."""
    return [path for path in strays(folders) if _abandoned(path)]


def _abandoned(path: Path) -> bool:
    """Whether the file was nobody's; then it is gone. What cannot be told or removed is left."""
    with contextlib.suppress(OSError):
        age = time.time() - path.stat().st_mtime
        if age < GAP_SECONDS:
            return False
        with path.open("r+b") as stream:
            free = lock(stream, wait=False)
            if free or (free is None and age > ABANDONED_SECONDS):
                path.unlink()
                return True
    return False
