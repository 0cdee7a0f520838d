"""Convert the original files once; later starts read one verified safetensors file and never a pickle."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["Tensors", "convert_once", "default_cache_dir", "file_sha256"]

Tensors = dict[str, Tensor]
_VERSION = "2"
_UNFINISHED = ".unfinished"
_ABANDONED_SECONDS = 3600.0
_log = logging.getLogger(__name__)


def default_cache_dir() -> Path:
    """`EMOCA_CACHE` from the environment, else `emoca` in the user's cache folder."""
    if chosen := os.environ.get("EMOCA_CACHE"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "emoca"
    try:
        return Path.home() / ".cache" / "emoca"
    except RuntimeError:  # no HOME and no entry in the user database
        return Path(tempfile.gettempdir()) / "emoca"


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def convert_once(sources: Sequence[Path], convert: Callable[[], Tensors], folder: Path | None = None) -> Tensors:
    """Return the tensors of `convert()`, from the cache where the sources have not changed since.

    The cache file is named after the sources' paths and records their sizes, times and hashes. A source whose size
    or time differs is hashed; the conversion is repeated when its hash differs, too. A damaged cache file is
    replaced. When the folder cannot be written the tensors are used all the same. Several processes may convert at
    once: each writes a file of its own and puts it in place in one step; what a killed one left is cleared later.

    Args:
        sources: the original files.
        convert: reads them; called only when needed.
        folder: where the cache lies; `default_cache_dir()` when None.
    """
    folder = default_cache_dir() if folder is None else folder
    paths = "\n".join(str(path.resolve()) for path in sources)
    target = folder / f"{hashlib.sha256(paths.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}.safetensors"
    known = _read_known(target)
    if known is not None:
        tensors, records = known
        current = [_stat(path) for path in sources]
        if [record[:-1] for record in records] == current:
            return tensors
        if [record[-1] for record in records] == [file_sha256(path) for path in sources]:
            _write(target, tensors, sources)
            return tensors
    tensors = convert()
    _write(target, tensors, sources)
    return tensors


def _stat(path: Path) -> list[int | str]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _read_known(target: Path) -> tuple[Tensors, list[list[int | str]]] | None:
    if not target.is_file():
        return None
    try:
        with safe_open(target, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            if metadata.get("version") != _VERSION:
                return None
            tensors: Tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("checksum") != _checksum(tensors):
            raise ValueError("the checksum does not match")
        records: Any = json.loads(metadata["sources"])
        return tensors, [list(record) for record in records]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        _log.warning("the cache %s is converted again: %s", target, error)
        return None


def _write(target: Path, tensors: Mapping[str, Tensor], sources: Sequence[Path]) -> None:
    """Put the converted copy in place. A full or read-only disk costs the next start some time and nothing else."""
    temporary: Path | None = None
    try:
        records = [[*_stat(path), file_sha256(path)] for path in sources]
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        handle, name = tempfile.mkstemp(suffix=_UNFINISHED, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        own = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
        metadata = {"version": _VERSION, "sources": json.dumps(records), "checksum": _checksum(own)}
        save_file(own, temporary, metadata)
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except (OSError, SafetensorError) as error:
        _log.warning("the converted model could not be kept in %s: %s", target, error)
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _sweep(folder: Path) -> None:
    """Remove what killed conversions left. A conversion takes seconds, so that an hour is more than enough."""
    for path in folder.glob(f"*{_UNFINISHED}"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    total = 0
    for name in sorted(tensors):
        flat = tensors[name].contiguous().reshape(-1)
        total = zlib.crc32(flat.view(torch.uint8).numpy().data if len(flat) else b"", zlib.crc32(name.encode(), total))
    return str(total)
