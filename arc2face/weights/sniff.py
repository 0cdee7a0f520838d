"""Does a file look like what its name says? Structural checks with the standard library only.

They catch what really happens to downloads: an HTML page or a Git LFS pointer instead of the weights, a file cut
short, a zero-byte file, zeros where a header belongs. They execute nothing and never read a whole file.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from arc2face.errors import CorruptWeightsError, MissingWeightsError
from arc2face.weights.jsonfile import parse_json
from arc2face.weights.shards import parts_of
from arc2face.weights.spellings import is_index

__all__ = ["ZIP_FAULTS", "read_safetensors_header", "what_is_wrong"]

_HEADER_LIMIT = 16 << 20
_JSON_LIMIT = 32 << 20
ZIP_FAULTS = (
    zipfile.BadZipFile,
    OSError,
    ValueError,
    LookupError,
    RuntimeError,
    EOFError,
    OverflowError,
    struct.error,
)
"""What the standard zip reader raises for damaged files, already for one flipped bit in the directory."""


def what_is_wrong(path: Path, name: str | None = None) -> str | None:
    """Why the file cannot be what its name says, or None when nothing speaks against it.

    `name` decides the format when the file lies under a temporary name.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(1024)
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"
    if size == 0:
        return "it is empty"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself"
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "it is a web page, not a model file"
    check = _CHECKS.get(Path(name or path.name).suffix.lower())
    return check(path, head) if check else None


def read_safetensors_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: tensor name -> dtype, shape, data_offsets. Raises ValueError when broken."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        if len(start) < 8:
            raise ValueError("it is too short for a safetensors file")
        length = int(struct.unpack("<Q", start)[0])
        if not 2 <= length <= min(_HEADER_LIMIT, size - 8):
            raise ValueError("its safetensors header is damaged or cut off")
        try:
            header: Any = parse_json(stream.read(length), max_bytes=_HEADER_LIMIT)
        except ValueError as error:
            raise ValueError(f"its safetensors header is damaged: {error}") from error
    if not isinstance(header, dict):
        raise ValueError("its safetensors header is damaged")
    entries = cast("dict[str, Any]", header)
    end = max((_end(entry) for name, entry in entries.items() if name != "__metadata__"), default=0)
    if 8 + length + end != size:
        raise ValueError(f"it has {size} bytes where its header promises {8 + length + end}: it was cut off or damaged")
    return entries


def _end(entry: Any) -> int:
    """Where a tensor ends, by its entry in a safetensors header."""
    offsets: Any = cast("dict[str, Any]", entry).get("data_offsets") if isinstance(entry, dict) else None
    pair = cast("list[Any]", offsets) if isinstance(offsets, list) else []
    if len(pair) != 2 or not all(isinstance(value, int) and 0 <= value < 1 << 50 for value in pair):
        raise ValueError("its safetensors header is damaged (a tensor without a place)")
    return int(pair[1])


def _safetensors(path: Path, head: bytes) -> str | None:
    try:
        read_safetensors_header(path)
    except (ValueError, OSError) as error:
        return str(error)
    return None


def _zip(path: Path, head: bytes) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            if not archive.namelist():
                return "it is an empty zip file"
    except ZIP_FAULTS:
        return "its zip directory is missing: it was cut off or damaged"
    return None


def _torch(path: Path, head: bytes) -> str | None:
    """Torch files are zips since 1.6 and a row of pickles before, whose first byte says so."""
    if head.startswith(b"PK"):
        return _zip(path, head)
    return None if head[:1] == b"\x80" else "it is neither a torch zip file nor a pickle"


def _onnx(path: Path, head: bytes) -> str | None:
    """An ONNX file is a protobuf message whose first field is the small number ir_version."""
    if len(head) < 2 or head[0] != 0x08 or not 1 <= head[1] <= 64:
        return "it does not start like an ONNX model"
    return None


def _json(path: Path, head: bytes) -> str | None:
    try:
        with path.open("rb") as stream:
            value = parse_json(stream.read(_JSON_LIMIT + 1), max_bytes=_JSON_LIMIT)
        if not isinstance(value, dict):
            return "it holds no settings"
        return _parts(path) if is_index(path.name) else None
    except (OSError, ValueError) as error:
        return str(error)


def _parts(index: Path) -> str | None:
    """What is wrong with a sharded checkpoint: a part that is missing, or the first one that cannot be right."""
    try:
        found = ((part, what_is_wrong(part)) for part in parts_of(index))
        return next((f"its part {part.name} cannot be used: {why}" for part, why in found if why), None)
    except (CorruptWeightsError, MissingWeightsError) as error:
        return str(error)


_CHECKS: dict[str, Callable[[Path, bytes], str | None]] = {
    ".safetensors": _safetensors,
    ".bin": _torch,
    ".pt": _torch,
    ".ckpt": _torch,
    ".onnx": _onnx,
    ".json": _json,
    ".zip": _zip,
    ".task": _zip,
}
