"""Reading and writing the safetensors layout: eight bytes of length, a JSON header, then raw little-endian arrays."""

from __future__ import annotations

import json
import os
import struct
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoca.errors import CorruptAssetError

__all__ = ["Arrays", "read_header", "read_tensors", "write_tensors"]

Arrays = dict[str, NDArray[Any]]
_NAMES = {"F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "U8": "|u1"}
_CODES = {np.dtype(code): name for name, code in _NAMES.items()}
_MAX_HEADER = 16 * 2**20
_CHECKSUM = "payload_crc32"


def write_tensors(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write `arrays` and string `metadata` atomically: a reader sees the old file or the whole new one.

    A checksum of the array bytes is added to the metadata; `read_tensors` verifies it.
    """
    header: dict[str, Any] = {}
    offset, checksum = 0, 0
    widest_first = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)  # keeps every array aligned
    plain = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in widest_first}
    for name, array in plain.items():
        end = offset + array.nbytes
        header[name] = {"dtype": _CODES[array.dtype], "shape": list(array.shape), "data_offsets": [offset, end]}
        checksum = zlib.crc32(array.tobytes(), checksum)
        offset = end
    header["__metadata__"] = {**metadata, _CHECKSUM: str(checksum)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for array in plain.values():
                file.write(array.tobytes())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_header(path: Path) -> tuple[dict[str, Any], dict[str, str], int]:
    """Return (array descriptions, metadata, offset of the first array byte).

    Raises:
        CorruptAssetError: not a safetensors file.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if not 2 <= length <= _MAX_HEADER:
                raise ValueError("header length")
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", {})
        return header, metadata, 8 + length
    except (OSError, ValueError, struct.error, AttributeError) as error:
        raise CorruptAssetError(f"{path} is not a safetensors file ({error}); delete it.") from error


def read_tensors(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Read every array and the metadata, and verify the checksum that `write_tensors` stored.

    Raises:
        CorruptAssetError: unreadable, truncated or altered.
    """
    header, metadata, start = read_header(path)
    try:
        payload = np.fromfile(path, np.uint8, offset=start)
        if str(zlib.crc32(payload.data)) != metadata.get(_CHECKSUM):
            raise ValueError("the checksum does not match")
        arrays: Arrays = {}
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            arrays[name] = payload[begin:end].view(_NAMES[entry["dtype"]]).reshape(entry["shape"])
        return arrays, metadata
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptAssetError(f"{path} is damaged ({error}); delete it.") from error
