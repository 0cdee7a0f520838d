"""From a path to a hash, and from a checkpoint of any format to named tensors, safely.

Pickled checkpoints are read with torch's weights-only unpickler, which builds tensors and plain containers and
nothing else, and are converted once to safetensors. The converted copy lies in the user's cache, in a folder named
after the hash of its source, so that a changed source is converted anew. Files appear whole or not at all.

Hashing needs the standard library only; torch is imported when tensors are asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import pickle
import struct
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from arc2face.errors import CorruptWeightsError, MissingWeightsError, StorageError
from arc2face.weights.sniff import what_is_wrong

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["cache_folder", "hash_file", "load_state_dict", "replace_with", "sha256_of"]

log = logging.getLogger(__name__)

_BLOCK = 1 << 22
_UMASK = os.umask(0o022)  # there is no call that reads it without setting it; safe here, before any thread
os.umask(_UMASK)
_MAX_CACHED_HASHES = 512
# What torch.load raises for damaged files, beside UnpicklingError.
_DAMAGE = (
    RuntimeError,
    EOFError,
    ValueError,
    OSError,
    LookupError,
    AttributeError,
    TypeError,
    AssertionError,
    struct.error,
)


def cache_folder() -> Path:
    """Folder for what can be computed again: `ARC2FACE_CACHE`, or `arc2face` in the user's cache folder."""
    if chosen := os.environ.get("ARC2FACE_CACHE"):
        return Path(chosen)
    base = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "arc2face"


def hash_file(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits, always computed."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, remembered by path, size and modification time.

    Raises MissingWeightsError when there is no such file. A cache that cannot be read or written costs time only.
    """
    try:
        path = path.resolve()
        stat = path.stat()
    except OSError as error:
        raise MissingWeightsError(f"{path} is not there; run `arc2face doctor` to see what is missing.") from error
    stamp = [stat.st_size, stat.st_mtime_ns]
    known = _read_hashes()
    entry = known.get(str(path))
    if isinstance(entry, list) and entry[:2] == stamp and len(cast("list[Any]", entry)) == 3:
        return str(entry[2])
    digest = hash_file(path)
    _remember_hash(str(path), [*stamp, digest])
    return digest


def _read_hashes() -> dict[str, Any]:
    try:
        loaded: Any = json.loads((cache_folder() / "hashes.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", loaded) if isinstance(loaded, dict) else {}


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


@contextlib.contextmanager
def replace_with(target: Path) -> Generator[Path]:
    """Yields a temporary path beside `target`; on a clean exit it takes `target`'s place in one step.

    Nothing is left behind when the body fails. Raises StorageError when the disk refuses.
    """
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_UMASK)  # mkstemp makes files that only their owner may read
        os.replace(temporary, target)
    except OSError as error:
        raise StorageError(
            f"{target} could not be written ({error.strerror or error}). Free some disk space or check the permissions."
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """Named tensors of a `.safetensors`, `.bin`, `.pt`, `.pth` or `.ckpt` file, on the CPU, in the file's own dtype.

    Nested dictionaries are flattened with dots: `{'ip_adapter': {'1.to_k_ip.weight': t}}` becomes
    `'ip_adapter.1.to_k_ip.weight'`. A checkpoint with a `state_dict` entry gives that entry. Numbers and text
    beside the tensors are left out.

    Raises MissingWeightsError, or CorruptWeightsError for a file that is damaged or that the safe loader refuses.
    """
    if not path.is_file():
        raise MissingWeightsError(f"{path} is not there; run `arc2face doctor` to see what is missing.")
    if problem := what_is_wrong(path):
        raise CorruptWeightsError(f"{path} cannot be used: {problem}. Fetch it again with `arc2face download`.")
    if path.suffix == ".safetensors":
        return _load_safetensors(path)
    converted = cache_folder() / "converted" / sha256_of(path) / f"{path.stem}.safetensors"
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
    except (SafetensorError, OSError, ValueError) as error:
        raise CorruptWeightsError(
            f"{path} is not a readable safetensors file ({error}). Fetch it again with `arc2face download`."
        ) from error


def _read_pickled(path: Path) -> dict[str, Tensor]:
    import torch

    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CorruptWeightsError(
            f"{path} was refused: it asks for more than tensors when it is opened, or it is damaged. "
            "Nothing in it was executed. Take the file from its original source."
        ) from error
    except _DAMAGE as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CorruptWeightsError(
            f"{path} is truncated or damaged ({reason}). Fetch it again with `arc2face download`."
        ) from error
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    tensors = dict(_flatten(loaded))
    if not tensors:
        raise CorruptWeightsError(f"{path} holds no named tensors. Take the file from its original source.")
    return tensors


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    import torch

    if isinstance(value, torch.Tensor):
        yield prefix, value
    elif isinstance(value, dict):
        for key, inner in cast("dict[Any, Any]", value).items():
            yield from _flatten(inner, f"{prefix}.{key}" if prefix else str(key))


def _keep_converted(tensors: dict[str, Tensor], target: Path, source: Path) -> None:
    """Writes the converted copy. A full disk costs the next start some time and nothing else."""
    from safetensors.torch import save_file

    # safetensors refuses tensors that share memory, and transposed ones.
    separate = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    try:
        with replace_with(target) as temporary:
            save_file(separate, temporary, metadata={"source": source.name})
    except StorageError as error:
        log.warning("%s was read but not converted for later starts: %s", source.name, error)
