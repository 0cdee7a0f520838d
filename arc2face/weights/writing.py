"""Writing files whole or not at all, and where what can be computed again is kept."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

from arc2face.errors import StorageError

__all__ = ["TEMPORARY_PREFIX", "cache_folder", "replace_with"]

TEMPORARY_PREFIX = ".arc2face-"
"""How files begin that `replace_with` has not finished; short, so that any name that fits as a target fits."""

_UMASK = os.umask(0o022)  # there is no call that reads it without setting it; safe here, before any thread
os.umask(_UMASK)
_NO_SYNC = ("EINVAL", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EPERM")
_ADVICE = {
    "ENOSPC": "Free some disk space.",
    "EDQUOT": "Free some disk space.",
    "EFBIG": "The disk or a limit does not allow a file of this size.",
    "ENAMETOOLONG": "Choose a shorter name.",
    "EROFS": "The disk is read-only; choose another folder.",
    "EACCES": "Check the permissions or choose another folder.",
    "EPERM": "Check the permissions or choose another folder.",
    "EISDIR": "There is a folder of this name; choose another name.",
    "ENOTDIR": "A part of the path is a file; choose another folder.",
}


def cache_folder() -> Path:
    """Folder for what can be computed again: `ARC2FACE_CACHE`, or `arc2face` in the user's cache folder."""
    if chosen := os.environ.get("ARC2FACE_CACHE"):
        return Path(chosen)
    if base := os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "arc2face"
    try:
        return Path.home() / ".cache" / "arc2face"
    except RuntimeError:  # no HOME and no entry in the user database
        return Path(tempfile.gettempdir()) / "arc2face"


@contextlib.contextmanager
def replace_with(target: Path) -> Generator[Path]:
    """Yields a temporary path beside `target`; on a clean exit it takes `target`'s place in one step.

    Nothing is left behind when the body fails. Raises StorageError when the disk refuses.
    """
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _sync(temporary)
        with contextlib.suppress(OSError):  # some file systems know no permissions; the file is as good without
            temporary.chmod(0o666 & ~_UMASK)  # mkstemp makes files that only their owner may read
        os.replace(temporary, target)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) and temporary is not None:
            raise  # the body's own
        number = error.errno if isinstance(error, OSError) else None
        advice = _ADVICE.get(errno.errorcode.get(number or 0, ""), "Free some disk space or check the permissions.")
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise StorageError(f"{target} could not be written ({reason}). {advice}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def copy_to(source: Path, target: Path) -> Path:
    """A copy of a file, whole or not at all; returns `target`. Raises StorageError when the disk refuses."""
    with replace_with(target) as temporary:
        shutil.copyfile(source, temporary)
    return target


def _sync(path: Path) -> None:
    """Onto the disk, where the file system can do that; its refusal to write is an error, its lack of sync is not."""
    try:
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())
    except OSError as error:
        if errno.errorcode.get(error.errno or 0) not in _NO_SYNC:
            raise
