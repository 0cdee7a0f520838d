"""From a path to a hash, and from a checkpoint of any format to named tensors, safely.

Pickled checkpoints are read without unpickling them (`arc2face_emoca.torchfile`) and are converted once to
safetensors. The converted copy lies in the user's cache, in a folder named after the hash of its source, so that a
changed source is converted anew. A sharded checkpoint goes by its index file. Files appear whole or not at all
(`replace_with`).

Hashing needs the standard library only; torch is imported when tensors are asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from arc2face.errors import CorruptWeightsError, MissingWeightsError, StorageError
from arc2face.weights.jsonfile import read_json
from arc2face.weights.shards import parts_of
from arc2face.weights.sniff import what_is_wrong
from arc2face.weights.spellings import is_index
from arc2face.weights.writing import TEMPORARY_PREFIX, cache_folder, replace_with

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "bytes_of",
    "cache_folder",
    "checkpoint_sha256",
    "hash_file",
    "load_state_dict",
    "replace_with",
    "sha256_of",
]

log = logging.getLogger(__name__)

_BLOCK = 1 << 22
_MAX_CACHED_HASHES = 512
_MAX_HASHES_BYTES = 4 << 20
_ABANDONED_SECONDS = 3600.0


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits, always computed."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, remembered by path, inode, size and the times of its last modification and change.

    Raises MissingWeightsError when there is no such file. A cache that cannot be read or written costs time only.
    """
    try:
        path = path.resolve()
        stamp = _stamp(path)
        entry = _read_hashes().get(str(path))
        if isinstance(entry, list) and entry[:-1] == stamp:
            return str(cast("list[Any]", entry)[-1])
        digest = hash_file(path)
        if _stamp(path) == stamp:  # else it is being written, and the hash is of neither version
            _remember_hash(str(path), [*stamp, digest])
    except OSError as error:
        raise MissingWeightsError(
            f"{path} is not there or cannot be read; run `arc2face doctor` to see what is missing."
        ) from error
    return digest


def checkpoint_sha256(path: Path) -> str:
    """SHA-256 of a checkpoint: of the file, or, when `path` is the index of a sharded one, of its parts' hashes.

    Raises MissingWeightsError and CorruptWeightsError.
    """
    if not is_index(path.name):
        return sha256_of(path)
    lines = "".join(f"{sha256_of(part)}  {part.name}\n" for part in parts_of(path))
    return hashlib.sha256(lines.encode()).hexdigest()


def bytes_of(path: Path) -> int:
    """Bytes of a checkpoint, the parts of a sharded one together; 0 for what cannot be read."""
    try:
        return sum(part.stat().st_size for part in (parts_of(path) if is_index(path.name) else (path,)))
    except (OSError, CorruptWeightsError, MissingWeightsError):
        return 0


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _read_hashes() -> dict[str, Any]:
    try:
        return read_json(cache_folder() / "hashes.json", max_bytes=_MAX_HASHES_BYTES)
    except CorruptWeightsError:
        return {}


def _remember_hash(path: str, entry: list[Any]) -> None:
    known = _read_hashes()
    known.pop(path, None)
    known[path] = entry
    for oldest in list(known)[:-_MAX_CACHED_HASHES]:
        del known[oldest]
    try:
        with replace_with(cache_folder() / "hashes.json") as temporary:
            temporary.write_text(json.dumps(known, indent=0), "utf-8")
    except StorageError as error:
        log.debug("hash cache not written: %s", error)


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """Named tensors of a `.safetensors`, `.bin`, `.pt`, `.pth` or `.ckpt` file, on the CPU, in the file's own dtype.

    `path` may be the index of a sharded checkpoint; then the tensors of all its parts are returned. Nested
    dictionaries are flattened with dots: `{'ip_adapter': {'1.to_k_ip.weight': t}}` becomes
    `'ip_adapter.1.to_k_ip.weight'`. A checkpoint with a `state_dict` entry gives that entry. Numbers and text
    beside the tensors are left out.

    Raises MissingWeightsError, or CorruptWeightsError for a file that is damaged, that the safe reader refuses, or
    that holds no tensors.
    """
    if not path.is_file():
        raise MissingWeightsError(f"{path} is not there; run `arc2face doctor` to see what is missing.")
    if is_index(path.name):
        return _load_shards(path)
    if problem := what_is_wrong(path):
        raise CorruptWeightsError(f"{path} cannot be used: {problem}. Fetch it again with `arc2face download`.")
    tensors = _load_safetensors(path) if path.suffix == ".safetensors" else _load_converted(path)
    if not tensors:
        raise CorruptWeightsError(f"{path} holds no named tensors. Take the file from its original source.")
    return tensors


def _load_shards(index: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for part in parts_of(index):
        tensors = load_state_dict(part)
        if twice := found.keys() & tensors.keys():
            raise CorruptWeightsError(f"{part} holds {min(twice)} a second time; {index.name} does not fit its parts.")
        found |= tensors
    return found


def _load_converted(path: Path) -> dict[str, Tensor]:
    """A pickled checkpoint: from its converted copy when there is a good one, else from itself."""
    converted = cache_folder() / "converted" / sha256_of(path) / "weights.safetensors"
    if converted.is_file():
        with contextlib.suppress(CorruptWeightsError):
            return _load_safetensors(converted)
    tensors = _read_pickled(path)
    _keep_converted(tensors, converted, path)
    return tensors


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CorruptWeightsError(
            f"{path} is not a readable safetensors file ({_reason(error)}). Fetch it again with `arc2face download`."
        ) from error


def _reason(error: Exception) -> str:
    """The library's own words, which may quote the file at length."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _read_pickled(path: Path) -> dict[str, Tensor]:
    from arc2face_emoca.torchfile import RefusedError, read_torch_file

    try:
        return read_torch_file(path)
    except RefusedError as error:
        raise CorruptWeightsError(
            f"{path} was refused, and nothing in it was executed: {error}. If it is cut off or damaged, fetch it again "
            "with `arc2face download`; take it from its original source only."
        ) from error
    except (OSError, MemoryError) as error:
        raise CorruptWeightsError(f"{path} cannot be read ({error}).") from error


def _keep_converted(tensors: dict[str, Tensor], target: Path, source: Path) -> None:
    """Writes the converted copy. A full disk costs the next start some time and nothing else."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    _sweep(target.parent.parent)
    # safetensors refuses tensors that share memory, and transposed ones.
    separate = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    try:
        with replace_with(target) as temporary:
            save_file(separate, temporary, metadata={"source": source.name})
    except (StorageError, SafetensorError, KeyError, ValueError) as error:
        log.warning("%s was read but not converted for later starts: %s", source.name, error)


def _sweep(folder: Path) -> None:
    """Remove what killed conversions left behind: full-size files that nobody will finish."""
    for path in folder.glob(f"*/{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS:
                path.unlink()
