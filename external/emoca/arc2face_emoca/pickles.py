"""A reader for FLAME's `generic_model.pkl` that cannot execute anything.

The file is a Python 2 pickle: a dictionary of numpy arrays, some of them wrapped in `chumpy.ch.Ch`, and one scipy
CSC matrix. A normal unpickler would import those packages and call whatever a manipulated file names. Here the file
is read as an inert tree (`arc2face_emoca.inert`), names outside a short list are refused, and arrays are built from
their raw bytes afterwards.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from arc2face_emoca.errors import CorruptAssetError, UsageError
from arc2face_emoca.inert import Made, Name, RefusedError, read_inert

__all__ = ["read_plain_pickle", "read_plain_pickle_bytes"]

_MAX_BYTES = 1 << 30
_MAX_DENSE = 20_000_000
_MAX_DEPTH = 8
_MAX_ITEMS = 100_000
_NUMBER_KINDS = "biuf"
_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")
_SPARSE = ("scipy.sparse.csc", "scipy.sparse._csc")
_ALLOWED = {
    *((module, name) for module in _MULTIARRAY for name in ("_reconstruct", "scalar")),
    *((module, "_frombuffer") for module in _NUMERIC),  # what protocol 5 uses
    *((module, "csc_matrix") for module in _SPARSE),
    *((module, "_reconstructor") for module in ("copy_reg", "copyreg")),
    *((module, name) for module in ("__builtin__", "builtins") for name in ("object", "set")),
    ("chumpy.ch", "Ch"),
    ("_codecs", "encode"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}


def read_plain_pickle(path: Path | str) -> dict[str, Any]:
    """Read a pickled dictionary of arrays without executing anything in it.

    Args:
        path: a pickle of protocol 0 to 5, written by Python 2 or 3.

    Returns:
        The dictionary; chumpy objects and sparse matrices have become plain numpy arrays (native byte order).

    Raises:
        CorruptAssetError: unreadable, truncated, not a dictionary, or it names something outside the short list.
        UsageError: the path cannot be opened.
    """
    try:
        with Path(path).open("rb") as stream:
            return _read(stream, os.fstat(stream.fileno()).st_size, str(path))
    except OSError as error:
        raise UsageError(f"Cannot open {path}: {error.strerror or error}.") from error


def read_plain_pickle_bytes(data: bytes, name: str = "the pickle") -> dict[str, Any]:
    """Like `read_plain_pickle`, for bytes; `name` appears in error messages."""
    return _read(io.BytesIO(data), len(data), name)


def _read(stream: BinaryIO, size: int, name: str) -> dict[str, Any]:
    try:
        if size > _MAX_BYTES:
            raise RefusedError("it is larger than any head model")
        found = read_inert(stream, size, lambda one: (one.module, one.name) in _ALLOWED)
        if not isinstance(found, dict):
            raise RefusedError("it does not hold a dictionary")
        builder = _Builder()
        entries = cast("dict[Any, Any]", found).items()
        return {str(key): builder.plain(value) for key, value in entries if isinstance(key, str | int)}
    except RefusedError as error:
        raise CorruptAssetError(
            f"{name} was refused, and nothing in it was executed: {error}. It may be truncated or altered; use the "
            "file as distributed by its authors."
        ) from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, MemoryError) as error:
        raise CorruptAssetError(
            f"{name} is not a readable pickle ({str(error)[:200]}); it may be truncated. Fetch it again."
        ) from error


class _Builder:
    """From inert objects to arrays, each object once, however often the file mentions it."""

    def __init__(self) -> None:
        self.built: dict[int, Any] = {}
        self.items = 0

    def plain(self, value: Any, depth: int = 0) -> Any:
        """Arrays for what stands for arrays, None for other objects, everything else as it is."""
        self.items += 1
        if depth > _MAX_DEPTH or self.items > _MAX_ITEMS:
            raise RefusedError("it is nested too deeply or holds too many things")
        if isinstance(value, Made):
            if id(value) not in self.built:
                self.built[id(value)] = self._object(value, depth)
            return self.built[id(value)]
        if isinstance(value, list):
            return [self.plain(item, depth + 1) for item in cast("list[Any]", value)]
        if isinstance(value, tuple):
            return tuple(self.plain(item, depth + 1) for item in cast("tuple[Any, ...]", value))
        return value if isinstance(value, str | bytes | int | float) else None

    def _object(self, made: Made, depth: int) -> Any:
        kind = _kind(made)
        if kind == "_reconstruct":
            _, shape, dtype, fortran, data = made.state
            return _array(data, dtype, shape, "F" if fortran else "C")
        if kind == "_frombuffer":
            data, dtype, shape, order, *axes = made.args
            if any(axis is not None for axis in axes):
                raise RefusedError("an array in an unexpected memory order")
            return _array(data, dtype, shape, "F" if order == "F" else "C")
        if kind == "scalar":
            return np.frombuffer(_raw(made.args[1]), _dtype(made.args[0]))[0]
        if kind == "Ch":
            if not isinstance(made.state, Mapping) or "x" not in made.state:
                raise RefusedError("a chumpy object without its array 'x'")
            return self.plain(made.state["x"], depth + 1)
        if kind == "csc_matrix":
            state = cast("dict[Any, Any]", made.state)
            return _dense({key: self.plain(value, depth + 1) for key, value in state.items()})
        return None


def _kind(made: Made) -> str:
    """The short name of what is to be made; `copy_reg._reconstructor(cls, object, None)` makes a cls."""
    what = made.what
    if isinstance(what, Name) and what.name == "_reconstructor":
        what = made.args[0] if made.args else None
        if not isinstance(what, Name):
            raise RefusedError("an object of an unexpected kind")
    return what.name if isinstance(what, Name) else ""


def _dtype(made: Any) -> np.dtype[Any]:
    if not isinstance(made, Made) or _kind(made) != "dtype":
        raise RefusedError("an array without an element type")
    name = made.args[0]
    if not isinstance(name, str) or len(name) > 4:
        raise RefusedError("an array of an unexpected element type")
    order: Any = "|"
    if isinstance(made.state, tuple) and len(cast("tuple[Any, ...]", made.state)) > 1:
        order = made.state[1]
    if isinstance(order, bytes):
        order = order.decode("latin1")
    dtype = np.dtype(name)
    if dtype.kind not in _NUMBER_KINDS:
        raise RefusedError(f"an array of element type {name!r}; only numbers are read")
    return dtype.newbyteorder(order) if order in ("<", ">") else dtype


def _raw(data: Any) -> bytes:
    """The bytes of an array: as bytes, as Python 2 text, or as `_codecs.encode(text, "latin1")`."""
    if isinstance(data, Made) and _kind(data) == "encode":
        text, encoding = (*data.args, "latin1")[:2]
        if encoding not in ("latin1", "latin-1"):
            raise RefusedError("a text in an unexpected encoding")
        data = text
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, bytes):
        raise RefusedError("an array without its bytes")
    return data


def _array(data: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    values = np.frombuffer(_raw(data), _dtype(dtype))
    sides = tuple(int(side) for side in shape)
    if len(sides) > 8 or any(side < 0 for side in sides) or math.prod(sides) != len(values):
        raise RefusedError("an array whose shape does not fit its bytes")
    ordered = np.ascontiguousarray(values.reshape(sides, order=order)).reshape(sides)
    return ordered.astype(values.dtype.newbyteorder("="), copy=True)


def _dense(state: dict[Any, Any]) -> NDArray[Any]:
    rows, columns = (int(n) for n in state.get("_shape", state.get("shape", ())))
    data, indices, indptr = (np.asarray(state[name]) for name in ("data", "indices", "indptr"))
    if len(indptr) != columns + 1 or len(data) != len(indices) or int(indptr[-1]) != len(data):
        raise RefusedError("a sparse matrix whose parts do not fit together")
    if rows < 0 or columns < 0 or rows * columns > _MAX_DENSE:
        raise RefusedError("a sparse matrix too large for a head model")
    dense = np.zeros((rows, columns), data.dtype)
    np.add.at(dense, (indices, np.repeat(np.arange(columns), np.diff(indptr))), data)
    return dense
