"""The manifest of a shard: one row per picture that the plan asks for, in a Parquet file that is the commit mark.

A picture that could not be had is a row, too: `error` says why, and `file` is None. The file's own metadata says how
many pictures and failures it holds, so that `status` reads footers and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from arc2face.dataset.leftovers import owned
from arc2face.dataset.packages import need
from arc2face.errors import InputError
from arc2face.weights.jsonfile import parse_json

__all__ = ["COLUMNS", "METADATA", "Facts", "Row", "read", "read_facts", "read_table", "schema", "write"]

METADATA = b"arc2face-dataset"
"""Key of a manifest's own metadata: JSON of `Facts`."""
MAX_BYTES = 1 << 30
"""Largest manifest that is read."""

COLUMNS: dict[str, tuple[str, bool]] = {
    "key": ("string", False),
    "identity": ("string", False),
    "identity_number": ("int32", False),
    "picture": ("int32", False),
    "seed": ("int64", False),
    "tries": ("int32", False),
    "pose_name": ("string", True),
    "yaw": ("float32", True),
    "pitch": ("float32", True),
    "roll": ("float32", True),
    "expression_name": ("string", True),
    "expression": ("expression", True),
    "similarity": ("float32", True),
    "second_similarity": ("float32", True),
    "detector_score": ("float32", True),
    "width": ("int32", False),
    "height": ("int32", False),
    "file": ("string", True),
    "bytes": ("int64", False),
    "pixels_sha256": ("string", False),
    "error": ("string", True),
    "plan": ("string", False),
    "settings": ("string", False),
    "models": ("string", False),
    "shard": ("int32", False),
}
"""Column -> Arrow type and whether it may be null. `expression` is a list of float32 (55 numbers)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One picture that the plan asks for.

    `key`: `{identity_number:07d}_{picture:04d}`, the name in the tar. `seed`: of the try that was kept (of the best one
    where none was). `tries`: how many were drawn, 0 when none could be. `yaw`, `pitch`, `roll`: degrees that were asked
    for. `similarity`: cosine to the ASKED embedding, None without a face; `second_similarity`: to the
    person's other pictures, by an independent recogniser (`arc2face.dataset.second`), None without one.
    `detector_score`: 0 to 1. `file`: the member of the tar, None when there is no picture; then `error` says why,
    width, height and bytes are 0 and `pixels_sha256` is empty. `pixels_sha256`: of the (H, W, 3) uint8 RGB that
    decoding the file gives. `plan`: hash of the plan. `settings`: JSON of the request's settings. `models`: JSON,
    model file -> sha256.
    """

    key: str
    identity: str
    identity_number: int
    picture: int
    seed: int
    tries: int
    pose_name: str | None = None
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    expression_name: str | None = None
    expression: Sequence[float] | None = None
    similarity: float | None = None
    second_similarity: float | None = None
    detector_score: float | None = None
    width: int = 0
    height: int = 0
    file: str | None = None
    bytes: int = 0
    pixels_sha256: str = ""
    error: str | None = None
    plan: str
    settings: str
    models: str
    shard: int


@dataclass(frozen=True, slots=True)
class Facts:
    """What a manifest says of itself: the plan's hash, the shard, its rows, and its tar.

    `pictures`, `left_out`, `failed`: rows with a picture, rows whose person had better ones, rows that failed.
    """

    plan: str
    shard: int
    rows: int
    pictures: int
    left_out: int
    failed: int
    tar_bytes: int
    tar_sha256: str


def schema() -> Any:
    """The Arrow schema of a manifest. Raises SettingsError when pyarrow is not installed."""
    pa = need("pyarrow")
    types = {name: getattr(pa, name)() for name in ("string", "int32", "int64", "float32")}
    types["expression"] = pa.list_(pa.float32())
    return pa.schema([pa.field(name, types[kind], nullable) for name, (kind, nullable) in COLUMNS.items()])


def write(path: Path, rows: Sequence[Row], facts: Facts) -> Path:
    """Write a manifest, whole or not at all. Raises StorageError when the disk refuses."""
    pa, parquet = need("pyarrow"), need("pyarrow.parquet")
    words = json.dumps({name: getattr(facts, name) for name in Facts.__slots__}, sort_keys=True)
    plain = {name: [_plain(getattr(row, name)) for row in rows] for name in COLUMNS}
    table = pa.Table.from_pydict(plain, schema=schema().with_metadata({METADATA: words.encode()}))
    with owned(path) as temporary:
        parquet.write_table(table, temporary, compression="zstd")
    return path


def read_table(path: Path, columns: Sequence[str] | None = None) -> Any:
    """A manifest as a `pyarrow.Table`, with all columns or some. Raises InputError for a file that is none."""
    parquet = need("pyarrow.parquet")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is far too large for a manifest.")
        file = parquet.ParquetFile(path)
        if not file.schema_arrow.remove_metadata().equals(schema()):
            raise InputError(f"{path} does not have the columns of a manifest.")
        return file.read(columns=list(columns) if columns is not None else None)
    except InputError:
        raise
    except Exception as error:  # Arrow raises many kinds for damaged files
        raise _unreadable(path, error) from error


def read(path: Path) -> list[Row]:
    """The rows of a manifest. Raises InputError for a file that is none."""
    return [Row(**cast("dict[str, Any]", row)) for row in read_table(path).to_pylist()]


def read_facts(path: Path) -> Facts:
    """What a manifest says of itself, from its footer alone. Raises InputError for a file that is none."""
    parquet = need("pyarrow.parquet")
    try:
        held: Mapping[bytes, bytes] = parquet.read_metadata(path).metadata or {}
        content: Any = parse_json(held[METADATA], max_bytes=1 << 16)
        return Facts(**{each.name: _kind(content[each.name], str(each.type)) for each in fields(Facts)})
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return InputError(
        f"{path} is not a readable manifest ({reason}). `arc2face dataset verify --repair` removes its shard, and the "
        "next run draws it again."
    )


def _kind(value: Any, kind: str) -> Any:
    if type(value).__name__ != kind:
        raise ValueError(f"{value!r} is no {kind}")
    return value


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
