"""Convert the original files once; later starts read one verified file and never a pickle."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from emoca.errors import CorruptAssetError
from emoca.tensors import Arrays, read_tensors, write_tensors

__all__ = ["convert_once", "default_cache_dir", "file_sha256"]

_VERSION = "1"
_log = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """`EMOCA_CACHE` from the environment, else `emoca` in the user's cache folder."""
    if chosen := os.environ.get("EMOCA_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emoca"


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def convert_once(sources: Sequence[Path], convert: Callable[[], Arrays], folder: Path | None = None) -> Arrays:
    """Return the arrays of `convert()`, from the cache where the sources have not changed since.

    The cache file is named after the sources' paths and records their sizes, times and hashes. A source whose size
    or time differs is hashed; the conversion is repeated when its hash differs, too. A damaged cache file is
    replaced. When the folder cannot be written the arrays are used all the same.

    Args:
        sources: the original files.
        convert: reads them; called only when needed.
        folder: where the cache lies; `default_cache_dir()` when None.
    """
    folder = default_cache_dir() if folder is None else folder
    paths = "\n".join(str(path.resolve()) for path in sources)
    target = folder / f"{hashlib.sha256(paths.encode()).hexdigest()[:24]}.safetensors"
    known = _read_known(target)
    if known is not None:
        arrays, records = known
        current = [_stat(path) for path in sources]
        if [record[:2] for record in records] == current:
            return arrays
        if [record[2] for record in records] == [file_sha256(path) for path in sources]:
            _write(target, arrays, sources)
            return arrays
    arrays = convert()
    _write(target, arrays, sources)
    return arrays


def _stat(path: Path) -> list[int | str]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _read_known(target: Path) -> tuple[Arrays, list[list[int | str]]] | None:
    if not target.is_file():
        return None
    try:
        arrays, metadata = read_tensors(target)
        if metadata.get("version") != _VERSION:
            return None
        return arrays, json.loads(metadata["sources"])
    except (CorruptAssetError, KeyError, ValueError) as error:
        _log.warning("the cache %s is converted again: %s", target, error)
        return None


def _write(target: Path, arrays: Arrays, sources: Sequence[Path]) -> None:
    records = [[*_stat(path), file_sha256(path)] for path in sources]
    try:
        write_tensors(target, arrays, {"version": _VERSION, "sources": json.dumps(records)})
    except OSError as error:
        _log.warning("the converted model could not be kept in %s: %s", target, error)
