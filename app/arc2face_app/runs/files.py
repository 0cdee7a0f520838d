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
from arc2face.weights.writing import replace_with

LIFETIME = 6 * 3600.0
SWEEP_EVERY = 900.0
"""Seconds. Visitors over HTTP leave without saying goodbye, so old results also go by age."""


class SessionFiles:
    """Hands out folders for results and removes them.

    `root`: a fresh temporary folder of this server; it disappears when the process ends.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or Path(tempfile.mkdtemp(prefix="arc2face-results-"))
        self._swept = time.monotonic()
        self._born: dict[Path, float] = {}
        self._inherited: dict[str, list[str]] = {}
        """By session: the sessions before it whose files it has now."""
        if root is None:
            atexit.register(shutil.rmtree, self.root, ignore_errors=True)

    def new_run(self, session: str) -> Path:
        """A new empty folder for the files of one run of one session.

        Raises:
            StorageError: the folder cannot be made.
        """
        self.sweep()
        folder = self._folder(session) / uuid.uuid4().hex[:12]
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise _full(folder, error) from error
        self._born[folder] = time.monotonic()
        return folder

    def named_run(self, session: str, name: str) -> Path:
        """The folder of a run that may go on later: the same one for the same name, while the session lasts.

        Raises:
            StorageError: the folder cannot be made.
        """
        self.sweep()
        folder = self._folder(session) / (re.sub(r"[^A-Za-z0-9_-]", "", name)[:64] or "run")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _full(folder, error) from error
        self._born[folder] = time.monotonic()
        return folder

    def sweep(self, now: float | None = None) -> None:
        """Remove runs older than LIFETIME, at most once per SWEEP_EVERY.

        `now`: seconds of `time.monotonic`. A clock that is set, forwards or backwards, removes nothing too early and
        keeps nothing too long.
        """
        now = time.monotonic() if now is None else now
        if now - self._swept < SWEEP_EVERY:
            return
        self._swept = now
        for run, born in list(self._born.items()):
            if now - born > LIFETIME:
                shutil.rmtree(run, ignore_errors=True)
                self._born.pop(run, None)

    def hand_over(self, before: str, now: str) -> None:
        """What one session has made belongs to another from now on; the files stay where they are."""
        self._inherited[now] = [*self._inherited.get(now, ()), before, *self._inherited.pop(before, ())]

    def forget(self, session: str) -> None:
        """Remove everything a session has made or inherited, unless another has inherited it."""
        if any(session in sessions for sessions in self._inherited.values()):
            return
        folders = {self._folder(one) for one in (session, *self._inherited.pop(session, ()))}
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        for run in [run for run in list(self._born) if run.parent in folders]:
            self._born.pop(run, None)

    def _folder(self, session: str) -> Path:
        return self.root / (re.sub(r"[^A-Za-z0-9_-]", "", session)[:64] or "anonymous")


def zip_files(paths: Iterable[Path | str], target: Path, within: Path | None = None) -> Path:
    """Pack files into `target` (stored, not deflated: pictures are compressed already), atomically.

    Files of the same name, from several runs, are counted. `within`: a folder, whose inner paths are the names then.

    Raises:
        StorageError: the archive cannot be written.
    """
    with replace_with(target) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        taken: set[str] = set()
        for path in map(Path, paths):
            name, number = path.name if within is None else path.relative_to(within).as_posix(), 1
            while name in taken:
                number += 1
                name = f"{path.stem}-{number}{path.suffix}"
            taken.add(name)
            archive.write(path, name)
    return target


def _full(path: Path, error: OSError) -> StorageError:
    reason = error.strerror or "unknown reason"
    return StorageError(f"The results could not be saved ({reason}). Free some disk space near {path.parent}.")
