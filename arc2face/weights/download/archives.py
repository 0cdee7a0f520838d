"""Taking the wanted members out of a zip file, and nothing else.

Only members that a pattern names are written, to places this module computes; names with `..`, drive letters or a
leading slash, and links, are refused. Sizes are bounded before anything is unpacked.
"""

from __future__ import annotations

import fnmatch
import shutil
import stat
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from arc2face.errors import DownloadError
from arc2face.weights.sniff import ZIP_FAULTS, what_is_wrong
from arc2face.weights.writing import replace_with

__all__ = ["extract", "members_matching"]

_MAX_MEMBER = 4 << 30


def members_matching(archive: zipfile.ZipFile, pattern: str) -> list[zipfile.ZipInfo]:
    """Members that match a pattern (`*` also crosses folders), with or without leading folders; never `last.ckpt`.

    Raises DownloadError when a matching name tries to leave the folder or is a link.
    """
    found: list[zipfile.ZipInfo] = []
    for info in archive.infolist():
        name = info.filename.replace("\\", "/")
        if info.is_dir() or not (fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name, f"*/{pattern}")):
            continue
        if PurePosixPath(name).stem == "last":
            continue
        if not _harmless(info, name):
            raise DownloadError(
                f"The zip file holds an unsafe entry ({name!r}); it was not unpacked. Check its source."
            )
        found.append(info)
    return found


def _harmless(info: zipfile.ZipInfo, name: str) -> bool:
    parts = PurePosixPath(name).parts
    is_link = stat.S_ISLNK(info.external_attr >> 16)
    return not (name.startswith("/") or ".." in parts or ":" in parts[0] or is_link)


def extract(archive_path: Path, pattern: str, target: Path) -> list[Path]:
    """Unpacks the members matching `pattern`.

    A pattern without `*` gives one file, at `target`. With `*`, `target` is one expected file of a run folder: each
    member keeps the part of its name from the pattern's fixed beginning on, below the matching folder of `target`.

    Returns the files written. Raises DownloadError when nothing matches or the archive is damaged, StorageError.
    """
    try:
        with zipfile.ZipFile(archive_path) as archive:
            members = members_matching(archive, pattern)
            if not members:
                raise DownloadError(f"{archive_path.name} holds no {pattern}; its layout has changed.")
            targets = _targets(members, pattern, target)
            for info, path in zip(members, targets, strict=True):
                _write(archive, info, path)
            return targets
    except ZIP_FAULTS as error:
        raise DownloadError(
            f"{archive_path.name} is damaged ({error}). Run the command again to fetch it anew."
        ) from error


def _targets(members: Sequence[zipfile.ZipInfo], pattern: str, target: Path) -> list[Path]:
    if "*" not in pattern:
        return [target] * len(members[:1]) if len(members) == 1 else _ambiguous(pattern)
    fixed = pattern.split("*", 1)[0].rpartition("/")[0]
    depth = len(PurePosixPath(fixed).parts)
    base = _ancestor_ending_with(target, PurePosixPath(fixed).parts)
    result: list[Path] = []
    for info in members:
        parts = PurePosixPath(info.filename.replace("\\", "/")).parts
        start = next(i for i in range(len(parts)) if "/".join(parts[i : i + depth]) == fixed)
        result.append(base.joinpath(*parts[start + depth :]))
    return result


def _ambiguous(pattern: str) -> list[Path]:
    raise DownloadError(f"The zip file holds several {pattern}; its layout has changed.")


def _ancestor_ending_with(target: Path, parts: tuple[str, ...]) -> Path:
    for ancestor in target.parents:
        if ancestor.parts[-len(parts) :] == parts:
            return ancestor
    return target.parent


def _write(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    if info.file_size > _MAX_MEMBER:
        raise DownloadError(f"{info.filename} claims to be {info.file_size} bytes; that is not a file of this project.")
    with replace_with(path) as temporary:
        with archive.open(info) as source, temporary.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
        if problem := what_is_wrong(temporary, path.name):
            raise DownloadError(f"{info.filename} in the zip file cannot be used: {problem}.")
