"""The folder that `--outputs` names: everything made on the page is kept there, too, each picture with its recipe.

It is the choice of somebody who has the page for themselves. A server for others keeps nothing, so the setting is
refused there (`arc2face_app.settings`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from arc2face.errors import InputError, SettingsError, StorageError
from arc2face.weights.writing import copy_to
from arc2face_app.runs.pictures import Picture

SHOWN = (".png", ".webp")
"""What the page gets back from the folder: pictures and films."""
GONE = "That picture is not in the outputs folder any more."


class Outputs:
    """`root`: the folder, or None where nothing is kept. Files lie in a folder per day, never over an existing one."""

    def __init__(self, root: Path | None = None) -> None:
        """Raises SettingsError for a folder that holds far more than pictures, StorageError when it cannot be made."""
        self.root = None if root is None else root.expanduser().resolve()
        if self.root is None:
            return
        home = Path.home().resolve()
        if self.root == home or self.root in home.parents:  # the page may read whatever lies in there
            raise SettingsError(f"The outputs folder must be one of its own, such as {home / 'faces'}.")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise StorageError(f"The outputs folder {str(self.root)!r} cannot be made ({reason}).") from error

    def keep(self, pictures: Sequence[Picture]) -> list[Picture]:
        """Copies of pictures; returns them with the names they have here. Raises StorageError."""
        return [replace(picture, saved=self._copy(Path(picture.path))) for picture in pictures]

    def find(self, name: str) -> Path:
        """The file of a name that `keep` gave; names come back from browsers and may be anything.

        Raises:
            InputError: there is no such file in the folder.
        """
        if self.root is None or not name:
            raise InputError(GONE)
        try:
            path = (self.root / name).resolve()
            inside = path.is_relative_to(self.root) and path.suffix in SHOWN and path.is_file()
        except (OSError, ValueError) as error:
            raise InputError(GONE) from error
        if not inside:
            raise InputError(GONE)
        return path

    def remove(self, name: str) -> None:
        """Delete a file; one that is gone already is fine. Raises StorageError."""
        try:
            self.find(name).unlink()
        except InputError:
            return
        except OSError as error:
            raise StorageError(f"The picture could not be deleted ({error.strerror or error}).") from error

    def put_back(self, name: str, source: Path) -> None:
        """Undo `remove` with a copy that the server still has. Raises StorageError."""
        if self.root is None or not name or not source.is_file():
            return
        target = self.root / name
        if target.resolve().is_relative_to(self.root) and not target.exists():
            copy_to(source, target)

    def _copy(self, source: Path) -> str:
        """Returns the name within the folder, empty where nothing is kept."""
        if self.root is None:
            return ""
        now = datetime.now().astimezone()
        folder = self.root / f"{now:%Y-%m-%d}"
        target, number = folder / f"{now:%H%M%S}-{source.name}", 1
        while target.exists():
            number += 1
            target = folder / f"{now:%H%M%S}-{source.stem}-{number}{source.suffix}"
        copy_to(source, target)
        return target.relative_to(self.root).as_posix()
