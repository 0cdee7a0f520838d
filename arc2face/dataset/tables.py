"""Tables of photos: CSV with paths, Parquet with paths or with the pictures themselves. Read row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from arc2face import checks
from arc2face.dataset.packages import need
from arc2face.dataset.people import check_names
from arc2face.dataset.photos import PhotoOf
from arc2face.errors import InputError
from arc2face.settings import one_of

__all__ = ["PERSON_COLUMNS", "PICTURE_COLUMNS", "TABLES", "read_table"]

TABLES = frozenset((".csv", ".tsv", ".parquet"))
PERSON_COLUMNS = ("person", "identity", "id", "name", "label")
PICTURE_COLUMNS = ("file", "path", "picture", "image", "photo", "file_name")
SNIFFED = 8192
BATCH = 32
"""Rows of a Parquet file that are decoded at once; their pictures lie in memory together."""


def read_table(path: Path, person_column: str | None = None, picture_column: str | None = None) -> Iterator[PhotoOf]:
    """The photos of a table, in the order of rows. The header is read before this returns.

    Raises:
        InputError: no such file or columns, nothing in it, a row without a person or a picture, a damaged table, or
            two names that differ in capitals only; a picture's own faults come later.
    """
    if not path.is_file():
        raise InputError(f"The table {path} does not exist, or is not a file.")
    rows = _parquet if path.suffix.lower() == ".parquet" else _csv
    columns = _parquet_columns(path) if rows is _parquet else _csv_columns(path)
    person = _column(path, "person", columns, person_column, PERSON_COLUMNS)
    picture = _column(path, "picture", columns, picture_column, PICTURE_COLUMNS)
    return _photos(path, rows(path, person, picture))


def _photos(path: Path, rows: Iterator[tuple[Any, Any]]) -> Iterator[PhotoOf]:
    people: dict[str, None] = {}
    number = 0
    for number, (person, picture) in enumerate(rows, start=1):
        key = "" if person is None else str(person).strip()
        if not key:
            raise InputError(f"Row {number} of {path.name} names no person.")
        people[key] = None
        name, content = _picture(path, number, picture)
        yield PhotoOf(key, name, content)
    if not number:
        raise InputError(f"The table {path.name} has no rows.")
    check_names(list(people))


def _picture(path: Path, number: int, value: Any) -> tuple[str, Path | bytes]:
    if isinstance(value, dict):  # the Hub's struct of bytes and path
        data, file = value.get("bytes"), value.get("path")
        name = str(file) if file else f"row {number}"
        value = data if data else file
        if isinstance(value, bytes):
            return name, value
    if isinstance(value, bytes) and value:
        return f"row {number}", value
    if isinstance(value, str) and value.strip():
        return value.strip(), path.parent / Path(value.strip()).expanduser()
    raise InputError(f"Row {number} of {path.name} has no picture: a file path is needed, or a picture's bytes.")


def _column(path: Path, what: str, columns: Sequence[str], asked: str | None, usual: Sequence[str]) -> str:
    if asked is not None:
        if asked not in columns:
            raise InputError(f"{path.name} has no column {checks.shown(asked)}; it has {_listed(columns)}.")
        return asked
    lower = {column.strip().lower(): column for column in reversed(columns)}
    for name in usual:
        if name in lower:
            return lower[name]
    raise InputError(
        f"{path.name} has no column for the {what}: {one_of(usual)} is expected, or name one. "
        f"It has {_listed(columns)}."
    )


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(checks.shown(column) for column in columns[:12]) + (", ..." if len(columns) > 12 else "")


def _csv_columns(path: Path) -> list[str]:
    with _opened(path) as stream:
        return next(_csv_rows(path, stream), [])


def _csv(path: Path, person: str, picture: str) -> Iterator[tuple[Any, Any]]:
    with _opened(path) as stream:
        rows = _csv_rows(path, stream)
        header = next(rows, [])
        places = header.index(person), header.index(picture)
        for row in rows:
            if row:
                yield tuple(row[place] if place < len(row) else None for place in places)  # type: ignore[misc]


def _csv_rows(path: Path, stream: Any) -> Iterator[list[str]]:
    try:
        start = stream.read(SNIFFED)
        stream.seek(0)
        yield from csv.reader(stream, delimiter=_delimiter(start), strict=True)
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise InputError(f"The table {path.name} cannot be read ({error}). Save it as CSV in UTF-8.") from error


def _delimiter(start: str) -> str:
    header = start.partition("\n")[0]
    return max((",", ";", "\t"), key=header.count)


def _opened(path: Path) -> Any:
    try:
        return path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise InputError(f"The table {path} cannot be read ({error.strerror or error}).") from error


def _parquet_columns(path: Path) -> list[str]:
    parquet = need("pyarrow.parquet")
    try:
        return list(parquet.read_schema(path).names)
    except Exception as error:  # Arrow raises many kinds for damaged files
        raise _damaged(path, error) from error


def _parquet(path: Path, person: str, picture: str) -> Iterator[tuple[Any, Any]]:
    parquet = need("pyarrow.parquet")
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH, columns=[person, picture]):
                people, pictures = batch.column(person), batch.column(picture)
                for row in range(batch.num_rows):
                    yield people[row].as_py(), pictures[row].as_py()
    except InputError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:  # ArrowInvalid is a ValueError
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"The table {path.name} cannot be read as Parquet ({' '.join(str(error).split())[:120]}).")
