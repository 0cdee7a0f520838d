"""Where a command's pictures go: checked before anything is generated, never over an existing file."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arc2face.errors import SettingsError, StorageError
from arc2face_app.cli import console

if TYPE_CHECKING:
    from arc2face.types import GenerationResult, RgbU8

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp")


def check_folder(folder: Path) -> Path:
    """The folder for pictures, made if need be. Raises SettingsError or StorageError before anything has run."""
    folder = folder.expanduser()
    if folder.suffix.lower() in PICTURE_SUFFIXES:
        raise SettingsError(
            f"--output names a folder for the pictures; {folder.name!r} looks like a file. Try -o outputs."
        )
    if folder.exists() and not folder.is_dir():
        raise SettingsError(f"--output names a folder, but {str(folder)!r} is a file. Choose another folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"The folder {str(folder)!r} cannot be made ({error.strerror or error}).") from error
    _check_writable(folder)
    return folder


def check_file(path: Path | None, suffixes: Sequence[str] = ()) -> Path | None:
    """A file that is to be written at the end: its folder exists and lets us write. Raises as `check_folder`."""
    if path is None:
        return None
    path = path.expanduser()
    if path.is_dir():
        raise SettingsError(f"{str(path)!r} is a folder; give a file name.")
    if suffixes and path.suffix.lower() not in suffixes:
        raise SettingsError(f"{path.name!r} must end in {' or '.join(suffixes)}.")
    _check_writable(path.parent if path.parent.exists() else Path())
    return path


def save(
    result: GenerationResult, folder: Path, name: str, embedding: bool = False, enlarge: int | None = None
) -> list[dict[str, Any]]:
    """Saves the pictures as PNG with their recipes, never over an existing file; returns one row per picture.

    `enlarge`: also save each so many times as large.
    """
    from arc2face.pictures.recipes import save_png

    rows: list[dict[str, Any]] = []
    for image in result.images:
        path = unused(folder / f"{name}-{image.seed}.png")
        save_png(image, result, path, embedding)
        rows.append(
            {"path": str(path), "seed": image.seed, "similarity": image.similarity, "face_found": image.face_found}
        )
        if enlarge is not None:
            from arc2face.pictures.enlarge import enlarge_png

            larger = unused(path.with_name(f"{path.stem}-{enlarge}x.png"))
            rows[-1]["enlarged"] = str(enlarge_png(path, enlarge, larger))
    return rows


@dataclass
class Series:
    """The pictures of a series in `folder`, each on the disk as soon as it is finished.

    `rows`: facts of the saved ones. `pictures`: (H, W, 3) uint8 RGB, the first of each result.
    """

    folder: Path
    prefix: str
    enlarge: int | None = None
    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    pictures: list[RgbU8] = field(default_factory=list["RgbU8"])

    def add(self, result: GenerationResult, facts: Mapping[str, Any]) -> None:
        """Saves the next result. Raises StorageError."""
        name = f"{self.prefix}-{len(self.pictures) + 1:02d}"
        rows = save(result, self.folder, name, enlarge=self.enlarge)
        self.rows += [row | dict(facts) for row in rows]
        self.pictures.append(result.images[0].rgb_u8)

    @contextmanager
    def kept(self, wanted: int) -> Generator[None]:
        """Whatever ends the body early gets a note that says what was kept."""
        try:
            yield
        except BaseException as error:
            finished = f"{len(self.pictures)} of {wanted} pictures were finished"
            console.add_note(error, f"{finished} and are kept in {self.folder}." if self.pictures else f"{finished}.")
            raise


def unused(path: Path) -> Path:
    """The path itself, or the first of `name-2`, `name-3` ... that does not exist."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return candidate


def tell(facts: dict[str, Any], as_json: bool) -> None:
    """The answer of a generating command: one JSON object, or a line per file."""
    if as_json:
        console.answer(facts)
        return
    for row in facts["images"]:
        similarity, found = row["similarity"], row["face_found"]
        words = f"similarity {similarity:.3f}" if similarity is not None else "no face found" if found is False else ""
        console.say("  ".join(part for part in (row["path"], f"seed {row['seed']}", words) if part))
        if row.get("enlarged"):
            console.say(f"{row['enlarged']}  enlarged")
    for path in facts.get("pasted", ()):
        console.say(f"{path}  pasted back")
    for name in ("normal_map", "sheet", "animation"):
        if facts.get(name):
            console.say(f"{facts[name]}  {name.replace('_', ' ')}")


def _check_writable(folder: Path) -> None:
    if not os.access(folder, os.W_OK):
        raise StorageError(f"Nothing can be written into {str(folder)!r}. Choose another place, or change its rights.")
