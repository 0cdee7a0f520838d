"""Random access to the photos of an index and to what lies beside them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from arc2face.pictures.loading import MAX_FILE_BYTES
from arc2face_training.common.session import Session
from arc2face_training.photos.containers import TableReader
from arc2face_training.photos.index import LABELS, NORMALS, Grouping, PhotoIndex, open_index
from arc2face_training.photos.zips import read_zip

TABLES_KEPT = 32


class PhotoStore:
    """Bytes by photo number. Safe to share between threads: each opens its own files."""

    def __init__(self, index: PhotoIndex) -> None:
        self.index = index
        self.tables: OrderedDict[int, TableReader] = OrderedDict()
        self.lock = threading.Lock()
        self.local = threading.local()

    def __len__(self) -> int:
        return len(self.index)

    def name(self, number: int) -> str:
        """How messages call a photo."""
        index = self.index
        if not index.containers:
            return index.names[number]
        container = index.containers[int(index.columns["container"][number])]
        return index.names[number] if container.suffix == ".parquet" else f"{index.names[number]} in {container.name}"

    def photo(self, number: int) -> bytes:
        """The encoded photo. Raises OSError or ValueError where it cannot be read."""
        index = self.index
        if not index.containers:
            return _whole(index.root / index.names[number])
        container = int(index.columns["container"][number])
        offset, size = int(index.columns["offset"][number]), int(index.columns["size"][number])
        kind = index.containers[container].suffix.lower()
        if kind == ".parquet":
            return self._table(container).read(offset)
        stream = self._stream(container)
        return read_zip(stream, offset, size, MAX_FILE_BYTES) if kind == ".zip" else _part(stream, offset, size)

    def ends(self, number: int, head: int, tail: int) -> tuple[bytes, bytes, int] | None:
        """First and last bytes of a photo and its size, without reading the rest; None where that is not possible."""
        index = self.index
        size = int(index.columns["size"][number])
        if not index.containers:
            with (index.root / index.names[number]).open("rb") as stream:
                return _both(stream, 0, size, head, tail)
        container = int(index.columns["container"][number])
        if index.containers[container].suffix.lower() != ".tar":
            return None
        return _both(self._stream(container), int(index.columns["offset"][number]), size, head, tail)

    def beside(self, number: int, what: str) -> bytes | None:
        """Bytes of the `labels` or `normals` that lie beside a photo, or None."""
        index = self.index
        column = index.columns.get(f"{what}_at")
        if column is None or column[number] < 0:
            return None
        if not index.containers:
            return _whole(index.root / (index.stem(number) + {"labels": LABELS, "normals": NORMALS}[what]))
        stream = self._stream(int(index.columns["container"][number]))
        return _part(stream, int(column[number]), int(index.columns[f"{what}_size"][number]))

    def _table(self, container: int) -> TableReader:
        with self.lock:
            table = self.tables.pop(container, None) or TableReader(self.index.containers[container])
            self.tables[container] = table
            while len(self.tables) > TABLES_KEPT:
                self.tables.popitem(last=False)
            return table

    def _stream(self, container: int) -> BinaryIO:
        streams: OpenFiles | None = getattr(self.local, "streams", None)
        if streams is None:
            streams = self.local.streams = OpenFiles(lambda number: self.index.containers[number])
        return streams.get(container)


class OpenFiles:
    """The files read last, at most `most`, open; anew after a fork."""

    def __init__(self, path_of: Callable[[int], Path], most: int = 64) -> None:
        self.path_of, self.most, self.process = path_of, most, os.getpid()
        self.files: dict[int, BinaryIO] = {}

    def get(self, number: int) -> BinaryIO:
        """File `number`, open for reading."""
        if self.process != os.getpid():  # a child shares the positions of what its parent opened
            self.files, self.process = {}, os.getpid()
        stream = self.files.pop(number, None) or self.path_of(number).open("rb")
        self.files[number] = stream
        while len(self.files) > self.most:
            self.files.pop(next(iter(self.files))).close()
        return stream


def open_store(
    path: Path, grouping: Grouping = "auto", person_key: str = "", session: Session | None = None
) -> PhotoStore:
    """The photos of a folder tree, zip, tar or Parquet file, or a folder of those. See `open_index`.

    Of a session's processes the main one builds the index, the others read it.
    """
    first = session is None or session.is_main
    index = open_index(path, grouping, person_key) if first else None
    if session is not None:
        session.wait()
    return PhotoStore(index or open_index(path, grouping, person_key, builds=False))


def _whole(path: Path) -> bytes:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(f"it takes more than {MAX_FILE_BYTES} bytes")
    return path.read_bytes()


def _part(stream: BinaryIO, offset: int, size: int) -> bytes:
    if size > MAX_FILE_BYTES:
        raise ValueError(f"it takes more than {MAX_FILE_BYTES} bytes")
    stream.seek(offset)
    return stream.read(size)


def _both(stream: BinaryIO, offset: int, size: int, head: int, tail: int) -> tuple[bytes, bytes, int]:
    first = _part(stream, offset, min(head, size))
    return first, _part(stream, offset + max(0, size - tail), min(tail, size)), size
