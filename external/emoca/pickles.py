"""A reader for FLAME's `generic_model.pkl` that cannot execute anything.

The file is a Python 2 pickle: a dictionary of numpy arrays, some of them wrapped in `chumpy.ch.Ch`, and one scipy
CSC matrix. A normal unpickler would import those packages and call whatever a manipulated file names. Here every
name of a short list stands for an inert record of this module, every other name is refused, and arrays are built
from their raw bytes afterwards.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoca.errors import CorruptAssetError, UsageError

__all__ = ["read_plain_pickle", "read_plain_pickle_bytes"]

_NUMBER_KINDS = "biuf"


class _Refused(pickle.UnpicklingError):
    """The file names something that is not on the list."""


class _Record:
    """Base of the inert stand-ins: keeps its state, does nothing with it."""

    def __init__(self, *args: Any) -> None:
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:  # also keeps BUILD from writing attributes
        self.state = state


class _Plain(_Record):
    pass


class _Dtype(_Record):
    def resolve(self) -> np.dtype[Any]:
        name = self.args[0]
        if not isinstance(name, str) or len(name) > 4:
            raise _Refused("an array of an unexpected element type")
        order = self.state[1] if isinstance(self.state, tuple) and len(self.state) > 1 else "|"
        if isinstance(order, bytes):
            order = order.decode("latin1")
        dtype = np.dtype(name)
        if dtype.kind not in _NUMBER_KINDS:
            raise _Refused(f"an array of element type {name!r}; only numbers are read")
        return dtype.newbyteorder(order) if order in ("<", ">") else dtype


class _Array(_Record):
    def resolve(self) -> NDArray[Any]:
        _, shape, dtype, fortran, data = self.state
        if not isinstance(dtype, _Dtype):
            raise _Refused("an array without an element type")
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
        values = np.frombuffer(raw, dtype.resolve())
        ordered = values.reshape(tuple(shape), order="F" if fortran else "C")
        return np.ascontiguousarray(ordered).reshape(tuple(shape)).astype(values.dtype.newbyteorder("="), copy=True)


class _Scalar(_Record):
    def resolve(self) -> Any:
        dtype, data = self.args
        raw = data.encode("latin1") if isinstance(data, str) else bytes(data)
        return np.frombuffer(raw, dtype.resolve())[0]


class _Chumpy(_Record):
    def resolve(self) -> Any:
        if not isinstance(self.state, Mapping) or "x" not in self.state:
            raise _Refused("a chumpy object without its array 'x'")
        return _resolve(self.state["x"])


class _Csc(_Record):
    def resolve(self) -> NDArray[Any]:
        state = {key: _resolve(value) for key, value in self.state.items()}
        rows, columns = (int(n) for n in state.get("_shape", state.get("shape", ())))
        data, indices, indptr = (np.asarray(state[name]) for name in ("data", "indices", "indptr"))
        if len(indptr) != columns + 1 or len(data) != len(indices) or int(indptr[-1]) != len(data):
            raise _Refused("a sparse matrix whose parts do not fit together")
        if rows * columns > 50_000_000:
            raise _Refused("a sparse matrix too large for a head model")
        dense = np.zeros((rows, columns), data.dtype)
        np.add.at(dense, (indices, np.repeat(np.arange(columns), np.diff(indptr))), data)
        return dense


class _Call:
    """A callable of the list. An instance without attributes, so that a file cannot alter it for the next one."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise _Refused("a change to one of the reader's own functions")


def _reconstructor(kind: Any, *_: Any) -> Any:
    if not (isinstance(kind, type) and issubclass(kind, _Record)):
        raise _Refused("an object of an unexpected kind")
    return kind()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any, *axes: Any) -> _Array:
    if any(axis is not None for axis in axes):
        raise _Refused("an array in an unexpected memory order")
    array = _Array()
    array.state = (1, shape, dtype, order == "F", data)
    return array


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
        raise _Refused("a text in an unexpected encoding")
    return text.encode("latin1")


def _set(items: Any = ()) -> frozenset[Any]:
    return frozenset(items)


def _allowed() -> dict[tuple[str, str], Any]:
    table: dict[tuple[str, str], Any] = {
        ("chumpy.ch", "Ch"): _Chumpy,
        ("copy_reg", "_reconstructor"): _Call(_reconstructor),
        ("copyreg", "_reconstructor"): _Call(_reconstructor),
        ("_codecs", "encode"): _Call(_encode),
        ("numpy", "ndarray"): _Plain,
        ("numpy", "dtype"): _Dtype,
    }
    for module in ("scipy.sparse.csc", "scipy.sparse._csc"):
        table[module, "csc_matrix"] = _Csc
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        table[module, "_reconstruct"] = _Call(lambda *_: _Array())
        table[module, "scalar"] = _Call(_Scalar)
    for module in ("numpy.core.numeric", "numpy._core.numeric"):
        table[module, "_frombuffer"] = _Call(_from_buffer)  # what protocol 5 uses
    for module in ("__builtin__", "builtins"):
        table[module, "object"] = _Plain
        table[module, "set"] = _Call(_set)
    return table


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="latin1")
        self._table = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._table[module, name]
        except KeyError:
            raise _Refused(f"it asks for {module}.{name}, which a head model does not need") from None

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused("it refers to something outside the file")


def _resolve(value: Any) -> Any:
    if isinstance(value, _Array | _Scalar | _Chumpy | _Csc):
        return value.resolve()
    if isinstance(value, _Record):
        return None
    if isinstance(value, tuple | list):
        return type(value)(_resolve(item) for item in value)
    return value


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
        data = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot open {path}: {error.strerror or error}.") from error
    return read_plain_pickle_bytes(data, str(path))


def read_plain_pickle_bytes(data: bytes, name: str = "the pickle") -> dict[str, Any]:
    """Like `read_plain_pickle`, for bytes; `name` appears in error messages."""
    failures = (pickle.UnpicklingError, EOFError, ArithmeticError, AttributeError, LookupError, ImportError, TypeError)
    try:
        found = _Unpickler(io.BytesIO(data)).load()
        if not isinstance(found, dict):
            raise _Refused("it does not hold a dictionary")
        return {str(key): _resolve(value) for key, value in found.items()}
    except _Refused as error:
        raise CorruptAssetError(
            f"{name} was refused, and nothing in it was executed: {error}. Use the file as distributed by its authors."
        ) from error
    except (*failures, ValueError, MemoryError, RecursionError) as error:
        raise CorruptAssetError(
            f"{name} is not a readable pickle ({error}); it may be truncated. Fetch it again."
        ) from error
