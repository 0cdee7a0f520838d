"""Where an export goes: a folder that is there whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from arc2face.dataset.leftovers import ABANDONED_SECONDS, GAP_SECONDS, lock
from arc2face.errors import SettingsError, StorageError
from arc2face.weights.jsonfile import read_json
from arc2face.weights.writing import replace_with

__all__ = ["MARK", "check_room", "fresh_folder", "write_mark", "writing_errors"]

MARK = "export.json"
"""Written into every export, last; a folder with it was made by an export and may be replaced by one."""
_FORMAT = "arc2face-export"
LOCK = ".lock"
LARGE = 1 << 20
SLACK = 64 << 20
"""Bytes that are left free on the disk."""


@contextlib.contextmanager
def fresh_folder(out: Path, overwrite: bool) -> Generator[Path]:
    """Yields a folder beside `out` that takes its place on a clean exit; nothing is left behind otherwise.

    Folders that killed exports left are removed first.

    Raises:
        SettingsError: `out` holds something, and `overwrite` is False or it is no export.
        StorageError: the disk refuses.
    """
    _check_free(out, overwrite)
    with writing_errors(out), contextlib.ExitStack() as held:
        out.parent.mkdir(parents=True, exist_ok=True)
        _sweep(out)
        temporary = out.parent / f"{_unfinished(out)}{secrets.token_hex(4)}"
        temporary.mkdir()
        try:
            if os.name == "posix":  # elsewhere a folder with an open file cannot be renamed
                lock(held.enter_context((temporary / LOCK).open("w+b")), wait=False)
            yield temporary
            _settle(temporary)
            _check_free(out, overwrite)
            _swap(temporary, out)
            (out / LOCK).unlink(missing_ok=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_room(out: Path, wanted: int) -> None:
    """Refuse an export that will not fit. Raises StorageError."""
    folder = out.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return  # not every file system says
    if wanted + SLACK > free:
        raise StorageError(
            f"The export needs about {wanted / 1e9:.2f} GB, and {folder} has {free / 1e9:.2f} GB free. Free some disk "
            "space, choose smaller pictures, or another disk."
        )


def write_mark(folder: Path, facts: dict[str, Any]) -> None:
    """Write what the export is; the last file of it."""
    words = json.dumps({"format": _FORMAT, **facts}, indent=1, sort_keys=True)
    with replace_with(folder / MARK) as temporary:
        temporary.write_text(words + "\n", encoding="utf-8")


@contextlib.contextmanager
def writing_errors(out: Path) -> Generator[None]:
    """What the disk refuses becomes a StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{out} could not be written ({error.strerror or error}). Free some disk space, or check the permissions."
        ) from error


def _check_free(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise SettingsError(f"{out} is a file. Give the export a folder of its own.")
    if os.path.ismount(out):
        raise SettingsError(f"{out} is the root of a disk, which cannot be put in place whole. Give a folder in it.")
    if not any(out.iterdir()):
        return
    if not overwrite:
        raise SettingsError(f"{out} is not empty. Choose another folder, or allow the export to overwrite an old one.")
    if not _is_export(out):
        raise SettingsError(f"{out} holds files that no export wrote; it is not overwritten. Choose another folder.")


def _is_export(folder: Path) -> bool:
    try:
        content = read_json(folder / MARK)
    except Exception:  # any file of that name that is not ours
        return False
    return content.get("format") == _FORMAT


def _settle(folder: Path) -> None:
    """Large files onto the disk, so that a power cut after the renaming does not leave them cut off."""
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size >= LARGE:
            with path.open("rb+") as stream:
                os.fsync(stream.fileno())


def _swap(temporary: Path, out: Path) -> None:
    if not out.exists():
        os.replace(temporary, out)
        return
    old = temporary.with_name(temporary.name + "-old")
    os.replace(out, old)  # an empty folder, or an export that is to be replaced
    try:
        os.replace(temporary, out)
    except OSError:
        os.replace(old, out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _unfinished(out: Path) -> str:
    """How the names of folders begin in which an export to `out` is, or was, in the making."""
    return f".{out.name}.exporting-"


def _sweep(out: Path) -> None:
    """Remove what killed exports left. A living one holds a lock in its folder."""
    for left in out.parent.iterdir():
        if left.name.startswith(_unfinished(out)) and left.is_dir() and _abandoned(left):
            shutil.rmtree(left, ignore_errors=True)


def _abandoned(left: Path) -> bool:
    with contextlib.suppress(OSError):
        age = time.time() - left.stat().st_mtime
        if not (left / LOCK).exists():
            return age > (GAP_SECONDS if os.name == "posix" else ABANDONED_SECONDS)
        with (left / LOCK).open("r+b") as stream:
            free = lock(stream, wait=False)
            return bool(free) or (free is None and age > ABANDONED_SECONDS)
    return False
