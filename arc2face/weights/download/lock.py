"""One download into a folder at a time: a lock that the system drops when the process dies, however it dies."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Generator
from pathlib import Path

from arc2face.errors import DownloadError, StorageError

__all__ = ["only_one"]

_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)


@contextlib.contextmanager
def only_one(root: Path) -> Generator[bool]:
    """Holds the lock of `root` for the body; False when the disk knows no locks, as some network disks do.

    Raises DownloadError when another process holds it, and StorageError when the folder cannot be written to.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        stream = (root / ".download.lock").open("a+")
    except OSError as error:
        raise StorageError(
            f"{root} cannot be written to ({error.strerror}). Choose another folder with --models."
        ) from error
    with stream:
        locked = _lock(stream.fileno())
        if locked is False:
            raise DownloadError(f"Another download into {root} is under way. Wait until it ends.")
        stream.seek(0)
        stream.truncate()
        json.dump({"pid": os.getpid()}, stream)
        stream.flush()
        yield locked is True


def _lock(handle: int) -> bool | None:
    """True: it is ours. False: somebody else has it. None: there are no locks here."""
    try:
        import fcntl
    except ImportError:  # Windows has no fcntl; msvcrt locks the first byte instead
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _TAKEN else None
    return True
