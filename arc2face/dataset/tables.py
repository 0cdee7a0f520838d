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
BATCH = 8
"""Rows of a Parquet file that are decoded at once; their pictures lie in memory together."""


def read_table(
    path: Path, person_column: str | None = None, picture_column: str | None = None
) -> tuple[int, Iterator[PhotoOf]]:
    """How many rows a table has, and their photos in order. The people's names are read before this returns.

    Raises:
        InputError: no such file or columns, nothing in it, a row without a person, a damaged table, or two names that
            differ in capitals only; later a row without a picture. A picture's own faults are not raised here.
    """
    if not path.is_file():
        raise InputError(f"The table {path} does not exist, or is not a file.")
    rows = _parquet if path.suffix.lower() == ".parquet" else _csv
    columns = _parquet_columns(path) if rows is _parquet else _csv_columns(path)
    person = _column(path, "person", columns, person_column, PERSON_COLUMNS)
    picture = _column(path, "picture", columns, picture_column, PICTURE_COLUMNS)
    return _check(path, rows(path, person, None)), _photos(path, rows(path, person, picture))


def _check(path: Path, rows: Iterator[tuple[Any, Any]]) -> int:
    """How many rows there are; all of them name a person, and no two people have one name."""
    people: dict[str, None] = {}
    number = 0
    for number, (person, _) in enumerate(rows, start=1):
        if not _key(person):
            raise InputError(f"Row {number} of {path.name} names no person.")
        people[_key(person)] = None
    if not number:
        raise InputError(f"The table {path.name} has no rows.")
    check_names(list(people))
    return number


def _photos(path: Path, rows: Iterator[tuple[Any, Any]]) -> Iterator[PhotoOf]:
    for number, (person, picture) in enumerate(rows, start=1):
        name, content = _picture(path, number, picture)
        yield PhotoOf(_key(person), name, content)


def _key(person: Any) -> str:
    if isinstance(person, bytes):
        return person.decode("utf-8", "replace").strip()
    return "" if person is None else str(person).strip()


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


def _csv(path: Path, person: str, picture: str | None) -> Iterator[tuple[Any, Any]]:
    """Person and picture of each row that is not empty; None for the picture where no column is named."""
    with _opened(path) as stream:
        rows = _csv_rows(path, stream)
        header = next(rows, [])
        first, second = header.index(person), len(header) if picture is None else header.index(picture)
        for row in rows:
            if row:
                yield row[first] if first < len(row) else None, row[second] if second < len(row) else None


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


def _parquet(path: Path, person: str, picture: str | None) -> Iterator[tuple[Any, Any]]:
    """As `_csv`."""
    parquet = need("pyarrow.parquet")
    try:
        # page by page: a row group of pictures may be larger than the memory
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
            columns, size = ([person], 1 << 16) if picture is None else ([person, picture], BATCH)
            for batch in file.iter_batches(batch_size=size, columns=columns):
                people = batch.column(person)
                pictures = None if picture is None else batch.column(picture)
                for row in range(batch.num_rows):
                    yield people[row].as_py(), None if pictures is None else pictures[row].as_py()
    except InputError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, NotImplementedError) as error:  # ArrowInvalid is a ValueError
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"The table {path.name} cannot be read as Parquet ({' '.join(str(error).split())[:120]}).")
