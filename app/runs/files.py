"""Where results live on disk: one folder per session under one folder per server, both temporary."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
import time
import uuid
import zipfile
from collections.abc import Iterable
from pathlib import Path

from arc2face.errors import StorageError

LIFETIME = 6 * 3600.0
SWEEP_EVERY = 900.0
"""Seconds. Visitors over HTTP leave without saying goodbye, so old results also go by age."""


class SessionFiles:
    """Hands out folders for results and removes them.

    `root`: a fresh temporary folder of this server; it disappears when the process ends.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or Path(tempfile.mkdtemp(prefix="arc2face-results-"))
        self._swept = 0.0
        if root is None:
            atexit.register(shutil.rmtree, self.root, ignore_errors=True)

    def new_run(self, session: str) -> Path:
        """A new empty folder for the files of one run of one session.

        Raises:
            StorageError: the folder cannot be made.
        """
        self.sweep(time.time())
        folder = self._folder(session) / uuid.uuid4().hex[:12]
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise _full(folder, error) from error
        return folder

    def sweep(self, now: float) -> None:
        """Remove runs older than LIFETIME, at most once per SWEEP_EVERY. `now`: seconds since the epoch."""
        if now - self._swept < SWEEP_EVERY:
            return
        self._swept = now
        for run in self.root.glob("*/*"):
            try:
                old = now - run.stat().st_mtime > LIFETIME
            except OSError:  # its visitor left just now
                continue
            if old:
                shutil.rmtree(run, ignore_errors=True)

    def forget(self, session: str) -> None:
        """Remove everything a session has made."""
        shutil.rmtree(self._folder(session), ignore_errors=True)

    def _folder(self, session: str) -> Path:
        return self.root / (re.sub(r"[^A-Za-z0-9_-]", "", session)[:64] or "anonymous")


def zip_files(paths: Iterable[Path | str], target: Path) -> Path:
    """Pack files into `target` (stored, not deflated: pictures are compressed already), atomically.

    Raises:
        StorageError: the archive cannot be written.
    """
    partial = target.with_suffix(".part")
    try:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            for path in map(Path, paths):
                archive.write(path, path.name)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _full(target, error) from error
    return target


def _full(path: Path, error: OSError) -> StorageError:
    reason = error.strerror or "unknown reason"
    return StorageError(f"The results could not be saved ({reason}). Free some disk space near {path.parent}.")
