"""The one temporary folder of a server: uploads, results, caches of libraries. It goes when the process ends.

A process that was killed cannot clean up, so the next start removes folders whose owner is gone: each owner holds a
lock on a file in its folder, and the system releases that lock with the process.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path

from arc2face.errors import StorageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PREFIX = "arc2face-app-"
LOCK = ".owner"
PROBE_BYTES = 1 << 20
"""What has to fit at the start; less free space than this and no upload would work."""


class Workspace:
    """A fresh folder with `uploads` (Gradio's own folder), and below it `results`.

    Results lie inside the folder that Gradio serves from, so that it does not copy each of them there once more.

    Raises:
        StorageError: there is no temporary folder that can be written to.
    """

    def __init__(self) -> None:
        remove_orphans()
        try:
            self.root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_base()))
        except OSError as error:
            raise _unusable(error) from error
        atexit.register(self.remove)
        try:
            self.uploads = self.root / "uploads"
            self.results = self.uploads / "results"
            self.results.mkdir(parents=True)
            probe = self.root / "probe"
            probe.write_bytes(bytes(PROBE_BYTES))
            probe.unlink()
            self._lock = _hold(self.root / LOCK)
        except OSError as error:
            self.remove()
            raise _unusable(error) from error

    def remove(self) -> None:
        """Remove everything; harmless when repeated."""
        shutil.rmtree(self.root, ignore_errors=True)


@functools.cache
def process_workspace() -> Workspace:
    """The workspace of this process; Gradio reads its place from the environment, so there is one."""
    return Workspace()


def remove_orphans() -> None:
    """Remove folders of servers that were killed. Without file locks on this system nothing is removed."""
    try:
        found = list(_base().glob(f"{PREFIX}*/{LOCK}"))
    except OSError:
        return
    for lock in found:
        try:
            handle = _hold(lock, create=False)
        except OSError:
            continue  # in use, not ours, or no locks here
        if handle is not None:
            os.close(handle)
            shutil.rmtree(lock.parent, ignore_errors=True)


def _base() -> Path:
    """Where temporary folders go: where the user wants Gradio's, or the system's place."""
    wanted = os.environ.get("GRADIO_TEMP_DIR")
    if wanted:
        Path(wanted).mkdir(parents=True, exist_ok=True)
        return Path(wanted)
    base = Path(tempfile.gettempdir())
    # Python takes the current folder when nothing else can be written to; nobody expects pictures there.
    if base == Path.cwd() and not any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")):
        raise PermissionError("none of the usual places can be written to")
    return base


def _hold(path: Path, *, create: bool = True) -> int | None:
    """An open, locked file; None where the system has no such locks. Raises OSError when another holds it."""
    if fcntl is None:
        if create:
            path.touch()
        return None
    handle = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        if create:  # a file system without locks: the folder is simply never taken for an orphan
            path.unlink(missing_ok=True)
            return None
        raise
    return handle


def _unusable(error: OSError) -> StorageError:
    reason = error.strerror or str(error) or "unknown reason"
    return StorageError(
        f"The temporary folder cannot be used ({reason}). Free some disk space there, or name another folder that can "
        "be written to with TMPDIR."
    )
