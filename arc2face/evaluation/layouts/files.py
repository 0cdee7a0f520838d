"""What all layouts share: which files are pictures, in which order, and lists in CSV."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from arc2face.errors import InputError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".avif")
MAX_LIST_BYTES = 512 << 20


def need_folder(path: Path | str, what: str) -> Path:
    """The folder, or InputError that says what was expected there."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        reason = "is a file, not a folder" if folder.exists() else "does not exist"
        raise InputError(f"{folder} {reason}. {what}")
    return folder


def is_picture(name: str) -> bool:
    """Whether a file name says that it is a picture; hidden files are none."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def listing(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the subfolders and of the pictures in a folder, each sorted by code point; hidden ones left out.

    Raises InputError when the folder cannot be listed, or two names differ in Unicode form alone: other systems read
    them as one.
    """
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    folders.append(entry.name)
                elif is_picture(entry.name):
                    files.append(entry.name)
    except OSError as error:
        raise InputError(f"{folder} cannot be listed ({error.strerror or error}). Check its permissions.") from error
    _refuse_twins(folder, folders)
    return sorted(folders), sorted(files)


def _refuse_twins(folder: Path, names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        form = unicodedata.normalize("NFC", name).casefold()
        if form in seen:
            raise InputError(
                f"{folder} holds two folders for one name, {seen[form]!r} and {name!r}; join or rename them, for it is "
                "not clear whether they are one person."
            )
        seen[form] = name


def rows_of(path: Path, needed: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Rows of a CSV file with a header, in UTF-8; columns and cells are stripped.

    Raises InputError when it cannot be read, lacks a needed column, or a row is short of one.
    """
    try:
        size = path.stat().st_size
        if size > MAX_LIST_BYTES:
            raise InputError(f"{path} has {size >> 20} MB; lists of at most {MAX_LIST_BYTES >> 20} MB are read.")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns = [name.strip() for name in reader.fieldnames or ()]
            missing = [name for name in needed if name not in columns]
            if missing:
                raise InputError(
                    f"{path} has no column {missing[0]!r} in its first line; it needs {', '.join(needed)} "
                    "separated by commas."
                )
            reader.fieldnames = columns
            for row in reader:
                cells = {name: (row.get(name) or "").strip() for name in columns}
                empty = [name for name in needed if not cells[name]]
                if empty:
                    raise InputError(f"{path}, line {reader.line_num}: {empty[0]!r} is empty.")
                yield cells
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text; save it as CSV in UTF-8.") from error
    except csv.Error as error:
        raise InputError(f"{path} is not a CSV file ({error}).") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error


def inside(folder: Path, name: str, said_by: Path) -> Path:
    """The file `name` below `folder`. Raises InputError for absolute names, `..`, and what is not there."""
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise InputError(f"{said_by} names {name!r}, which lies outside {folder}; use names relative to that folder.")
    path = folder / relative
    if not path.is_file():
        raise InputError(f"{said_by} names {name!r}, which is not in {folder}. Correct the list or add the picture.")
    return path
