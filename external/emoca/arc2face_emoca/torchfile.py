"""Checkpoints that `torch.save` wrote, as named tensors, without unpickling them.

The file's pickle is read as an inert tree (`arc2face_emoca.inert`); then each tensor in it is cut out of the bytes it
refers to. Sizes, shapes and strides are compared with what is really in the file, so a file can neither run anything
nor ask for more memory than a few times its bytes. Read are zip files (torch since 1.6) and the row of pickles before
that.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from arc2face_emoca.inert import Made, Name, Outside, RefusedError, read_inert

__all__ = ["ZIP_FAULTS", "NoTensorsError", "RefusedError", "read_torch_file"]

ZIP_FAULTS = (zipfile.BadZipFile, OSError, ValueError, LookupError, RuntimeError, EOFError, OverflowError, struct.error)
"""What the standard zip reader raises for damaged files (NotImplementedError is a RuntimeError)."""

_MAX_PICKLE = 64 << 20
_MAX_MEMBERS = 50_000
_MAX_ENTRIES = 100_000
_MAX_NESTING = 8
_MAX_KEY = 500
_SHARED_SPARE = 1 << 20
_MAX_RATIO = 20
"""Weights hardly shrink; a file of zeros shrinks to a thousandth."""

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_DTYPES = {
    "Float": torch.float32,
    "Double": torch.float64,
    "Half": torch.float16,
    "BFloat16": torch.bfloat16,
    "Long": torch.int64,
    "Int": torch.int32,
    "Short": torch.int16,
    "Char": torch.int8,
    "Byte": torch.uint8,
    "Bool": torch.bool,
    "ComplexFloat": torch.complex64,
    "ComplexDouble": torch.complex128,
    "Untyped": torch.uint8,
}
_OTHER_TENSORS = {
    "_rebuild_sparse_tensor": "sparse tensors",
    "_rebuild_sparse_csr_tensor": "sparse tensors",
    "_rebuild_qtensor": "quantised tensors",
    "_rebuild_meta_tensor_no_storage": "tensors without values (device meta)",
    "_rebuild_nested_tensor": "nested tensors",
    "_rebuild_wrapper_subclass": "tensors of a special class",
    "_rebuild_from_type_v2": "tensors of a special class",
    "_rebuild_device_tensor_from_numpy": "tensors of a special device",
    "_rebuild_device_tensor_from_cpu_tensor": "tensors of a special device",
}
_HARMLESS = {
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((module, name) for module in ("builtins", "__builtin__") for name in ("set", "slice", "complex", "bytearray")),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
}
_NEVER = {
    *("os", "posix", "nt", "sys", "subprocess", "commands", "socket", "shutil", "runpy", "ctypes", "pty", "webbrowser"),
}
"""Modules that only an attack names: nothing of theirs would run, but whoever opens the file should hear of it."""

_NEVER_BUILTIN = {"eval", "exec", "compile", "open", "__import__", "input", "breakpoint"}


class NoTensorsError(RefusedError):
    """The file is in order, but it is not a checkpoint with named tensors."""


def read_torch_file(path: Path, *, foreign: bool = False) -> dict[str, Tensor]:
    """Named tensors of a checkpoint, on the CPU, in the file's own dtype.

    Nested dictionaries are flattened with dots, an entry `state_dict` stands for the whole, and what is no tensor is
    left out.

    Args:
        path: the file.
        foreign: whether it may mention classes of other packages, as training frameworks do. They stay names.

    Raises:
        RefusedError: damaged or refused; the text is the reason.
        OSError: the file cannot be opened.
    """
    allowed = _not_evil if foreign else _known
    size = path.stat().st_size
    with path.open("rb") as stream:
        if stream.read(2) == b"PK":
            try:
                with zipfile.ZipFile(stream) as archive:
                    return _Zip(archive, size).tensors(allowed)
            except RefusedError:
                raise
            except ZIP_FAULTS as error:
                raise RefusedError(f"its zip structure is damaged ({str(error)[:120]})") from error
        stream.seek(0)
        return _Row(stream, size).tensors(allowed)


def _known(name: Name) -> bool:
    return name.module.partition(".")[0] == "torch" or (name.module, name.name) in _HARMLESS


def _not_evil(name: Name) -> bool:
    top = name.module.partition(".")[0]
    return top not in _NEVER and not (top in ("builtins", "__builtin__") and name.name in _NEVER_BUILTIN)


class _Source:
    """Where a checkpoint's bytes are: gives each storage once, after comparing its size with the file's."""

    def __init__(self, size: int) -> None:
        self.budget = 4 * size + _SHARED_SPARE  # tied weights are named twice; more is a trick
        self.storages: dict[tuple[str, torch.dtype], Tensor] = {}

    def raw(self, key: str, size: int) -> bytearray:
        """The bytes of a storage, of which the file must hold exactly `size`."""
        raise NotImplementedError

    def storage(self, outside: Any, dtype: torch.dtype | None) -> Tensor:
        """A flat tensor over the storage that a persistent id names; `dtype` of an untyped one is told by its user."""
        kind, key, count = _persistent(outside)
        stored = _DTYPES[kind]
        dtype = dtype or stored
        found = self.storages.get((key, dtype))
        if found is None:
            size = count * stored.itemsize
            if size % dtype.itemsize:
                raise RefusedError("a tensor whose bytes do not fit its type")
            raw = self.raw(key, size)
            found = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
            self.storages[key, dtype] = found
        return found

    def tensor(self, made: Made) -> Tensor | None:
        """The tensor that an inert object stands for; None when it stands for something else."""
        if not isinstance(made.what, Name) or not made.what.module.startswith("torch"):
            return None
        name, args = made.what.name, made.args
        if name in _OTHER_TENSORS:
            raise RefusedError(f"it holds {_OTHER_TENSORS[name]}, which are no plain weights")
        if name in ("_rebuild_parameter", "_rebuild_parameter_with_state") and isinstance(args[0], Made):
            return self.tensor(args[0])
        if name not in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"):
            return None
        dtype = _named_dtype(args[6]) if name == "_rebuild_tensor_v3" else None
        return self._view(self.storage(args[0], dtype), *args[1:4])

    def _view(self, storage: Tensor, offset: Any, shape: Any, strides: Any) -> Tensor:
        sides, steps = _wholes(shape), _wholes(strides)
        if len(sides) != len(steps) or len(sides) > 8 or not _wholes((offset,)):
            raise RefusedError("a tensor with an impossible shape")
        count = math.prod(sides)
        last = offset + sum((side - 1) * step for side, step in zip(sides, steps, strict=True))
        if count and last >= len(storage):
            raise RefusedError("a tensor that claims more values than the file holds")
        self.budget -= count * storage.itemsize
        if self.budget < 0:
            raise RefusedError("its tensors claim many times more values than the file holds")
        return storage.as_strided(sides, steps, offset) if count else storage.new_empty(sides)

    def named(self, found: Any) -> dict[str, Tensor]:
        """The named tensors of a checkpoint's inert tree."""
        if not isinstance(found, dict):
            raise NoTensorsError("it holds no named tensors")
        entries = cast("dict[Any, Any]", found)
        inner = entries.get("state_dict")
        result: dict[str, Tensor] = {}
        for name, made in _leaves(inner if isinstance(inner, dict) else entries):
            tensor = self.tensor(made)
            if tensor is None:
                continue
            if name in result:
                raise RefusedError(f"it names {name} twice")
            result[name] = tensor
        if not result:
            raise NoTensorsError("it holds no named tensors")
        return result


class _Zip(_Source):
    """A zip file as torch writes it: one folder with data.pkl and data/KEY. Compressed ones are read within reason."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        super().__init__(size)
        infos = archive.infolist()
        if len(infos) > _MAX_MEMBERS or len({info.filename for info in infos}) != len(infos):
            raise RefusedError("its zip directory is damaged")
        if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in infos):
            raise RefusedError("it is compressed in a way that torch does not read")
        stored = sum(info.file_size for info in infos if info.compress_type == zipfile.ZIP_STORED)
        whole = sum(info.file_size for info in infos)
        if stored > size or whole > _MAX_RATIO * size:
            raise RefusedError("its parts claim to be many times larger than the file")
        self.budget = 4 * whole + _SHARED_SPARE
        self.archive = archive
        self.infos = {info.filename: info for info in infos}
        pickles = [name for name in self.infos if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise RefusedError("it is a zip file, but not one that torch.save wrote")
        self.folder = pickles[0].removesuffix("data.pkl")

    def tensors(self, allowed: Callable[[Name], bool]) -> dict[str, Tensor]:
        if f"{self.folder}constants.pkl" in self.infos:
            raise RefusedError("it is a TorchScript program, not a checkpoint")
        order = f"{self.folder}byteorder"
        if order in self.infos and self.archive.read(order)[:16] != b"little":
            raise RefusedError("it was written by a machine of another byte order")
        info = self.infos[f"{self.folder}data.pkl"]
        if info.file_size > _MAX_PICKLE:
            raise RefusedError("its list of tensors is larger than that of any model")
        return self.named(read_inert(io.BytesIO(self.archive.read(info)), info.file_size, allowed))

    def raw(self, key: str, size: int) -> bytearray:
        info = self.infos.get(f"{self.folder}data/{key}")
        if info is None or info.file_size != size:
            raise RefusedError("a tensor does not have the bytes that it claims")
        return bytearray(self.archive.read(info))  # the checksum of each part is compared on the way


class _Row(_Source):
    """The format before torch 1.6: five pickles, then every storage with its length before it."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__(size)
        self.stream = stream
        self.size = size
        self.places: dict[str, tuple[int, int]] = {}

    def tensors(self, allowed: Callable[[Name], bool]) -> dict[str, Tensor]:
        limit = min(self.size, _MAX_PICKLE)
        first = read_inert(self.stream, limit, allowed)
        if first != _MAGIC or read_inert(self.stream, limit, allowed) != _PROTOCOL:
            raise RefusedError("torch.save did not write it, or a version before 0.1.10 did")
        system = read_inert(self.stream, limit, allowed)
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise RefusedError("it was written by a machine of another byte order")
        found = read_inert(self.stream, limit, allowed)
        keys = read_inert(self.stream, limit, allowed)
        if not isinstance(keys, list) or len(cast("list[Any]", keys)) > _MAX_MEMBERS:
            raise RefusedError("its list of storages is damaged")
        self._find(cast("list[Any]", keys), found)
        return self.named(found)

    def _find(self, keys: Sequence[Any], found: Any) -> None:
        """Where each storage lies. How wide its values are stands only in the tree, with the tensors that use it."""
        widths = {key: _DTYPES[kind].itemsize for kind, key, _ in _storages(found)}
        at = self.stream.tell()
        for key in keys:
            self.stream.seek(at)
            head = self.stream.read(8)
            if len(head) < 8 or key not in widths:
                raise RefusedError("its storages are cut off or are used by nothing")
            size = int(struct.unpack("<q", head)[0]) * widths[key]
            at += 8 + size
            if size < 0 or at > self.size:
                raise RefusedError("it is cut off")
            self.places[key] = (at - size, size)

    def raw(self, key: str, size: int) -> bytearray:
        start, have = self.places.get(key, (0, -1))
        if have != size:
            raise RefusedError("a tensor does not have the bytes that it claims")
        self.stream.seek(start)
        return bytearray(self.stream.read(size))


def _persistent(outside: Any) -> tuple[str, str, int]:
    """(kind of storage, key, number of values) of a persistent id, which may be anything in a strange file."""
    pid = outside.pid if isinstance(outside, Outside) else None
    fields = list(cast("tuple[Any, ...]", pid)) if isinstance(pid, tuple) else []
    if not (5 <= len(fields) <= 6 and fields[0] == "storage" and fields[5:] in ([], [None])):
        raise RefusedError("a tensor refers to something that is no storage")
    kind, key, count = fields[1], fields[2], fields[4]
    name = kind.name.removesuffix("Storage") if isinstance(kind, Name) else ""
    if name not in _DTYPES or not isinstance(key, str) or not _wholes((count,)):
        raise RefusedError("a tensor refers to a storage of an unknown kind")
    return name, key, count


def _named_dtype(name: Any) -> torch.dtype:
    dtype = getattr(torch, name.name, None) if isinstance(name, Name) and name.module == "torch" else None
    if not isinstance(dtype, torch.dtype):
        raise RefusedError("a tensor of an unknown type")
    return dtype


def _wholes(values: Any) -> tuple[int, ...]:
    """The values, when each is a whole number from zero up and below 2 to the 60th."""
    if not isinstance(values, tuple):
        raise RefusedError("a tensor with an impossible shape")
    many = cast("tuple[Any, ...]", values)
    if not all(isinstance(value, int) and 0 <= value < 1 << 60 for value in many):
        raise RefusedError("a tensor with an impossible shape")
    return many


def _leaves(entries: dict[Any, Any]) -> Iterator[tuple[str, Made]]:
    """Every inert object in nested dictionaries, under its dotted name. Cycles end at the nesting limit."""
    waiting: list[tuple[str, Any, int]] = [("", entries, 0)]
    seen = 0
    while waiting:
        name, value, depth = waiting.pop()
        seen += 1
        if depth > _MAX_NESTING or seen + len(waiting) > _MAX_ENTRIES:
            raise RefusedError("its dictionaries are nested too deeply, or hold themselves")
        if isinstance(value, Made):
            yield name, value
        elif isinstance(value, dict):
            inner = cast("dict[Any, Any]", value)
            waiting += [(_dotted(name, key), item, depth + 1) for key, item in reversed(inner.items())]


def _dotted(prefix: str, key: Any) -> str:
    name = f"{prefix}.{key}" if prefix else str(key)
    if len(name) > _MAX_KEY:
        raise RefusedError("it has a name of absurd length")
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise RefusedError("it has a name that is no Unicode text") from error
    return name


def _storages(found: Any) -> Iterator[tuple[str, str, int]]:
    """Every storage that anything in an inert tree refers to; each object is looked at once."""
    waiting: list[Any] = [found]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        if isinstance(value, Outside):
            yield _persistent(value)
        elif isinstance(value, Made):
            seen.add(id(value))
            waiting += [value.what, value.args, value.state]
        elif isinstance(value, dict):
            seen.add(id(value))
            waiting += cast("dict[Any, Any]", value).values()
        elif isinstance(value, list | tuple):
            seen.add(id(cast("Any", value)))
            waiting += cast("list[Any]", value)
