"""Pictures and manifest rows out of a data set's shards, in any order, with little memory."""

from __future__ import annotations

import io
import tarfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from arc2face.dataset import manifest
from arc2face.errors import InputError

__all__ = ["Shards"]

T = TypeVar("T")
OPEN_FILES = 64
"""Tars that are open at once."""
KEPT_TABLES = 64
"""Manifests that are held at once; a shuffled export that wants rows reads others again."""


class Shards:
    """Random access to the committed shards of a data set. 16 bytes a picture are held; use as a context manager.

    Not thread-safe; the export reads in one thread and encodes in several.
    """

    def __init__(self, shards: dict[int, tuple[Path, Path]]) -> None:
        """`shards`: number -> tar file and manifest."""
        self._shards = shards
        self._places: dict[int, NDArray[np.int64]] = {}
        self._files: OrderedDict[int, io.BufferedReader] = OrderedDict()
        self._tables: OrderedDict[int, Any] = OrderedDict()

    def __enter__(self) -> Shards:
        return self

    def __exit__(self, *_: object) -> None:
        while self._files:
            self._files.popitem()[1].close()

    def data(self, shard: int, place: int) -> bytes:
        """The picture file of row `place` of a shard's manifest. Raises InputError when the tar does not hold it."""
        if shard not in self._places:
            self._places[shard] = self._index(shard)
        offset, size = self._places[shard][place].tolist()
        if offset < 0:
            raise self._damaged(shard, f"it lacks the picture of row {place + 1} of its manifest")
        stream = self._kept(self._files, shard, OPEN_FILES, self._open)
        try:
            stream.seek(offset)
            found = stream.read(size)
        except OSError as error:
            raise self._damaged(shard, f"it cannot be read ({error.strerror or error})") from error
        if len(found) != size:
            raise self._damaged(shard, "it is cut off")
        return found

    def row(self, shard: int, place: int) -> dict[str, Any]:
        """Row `place` of a shard's manifest, column -> value."""
        read: Callable[[int], Any] = lambda number: manifest.read_table(self._shards[number][1])  # noqa: E731
        table = self._kept(self._tables, shard, KEPT_TABLES, read)
        return table.slice(place, 1).to_pylist()[0]

    def _kept(self, kept: OrderedDict[int, T], shard: int, most: int, make: Callable[[int], T]) -> T:
        if shard not in kept:
            while len(kept) >= most:
                old = kept.popitem(last=False)[1]
                if isinstance(old, io.BufferedReader):
                    old.close()
            kept[shard] = make(shard)
        kept.move_to_end(shard)
        return kept[shard]

    def _open(self, shard: int) -> io.BufferedReader:
        path = self._shards[shard][0]
        try:
            return path.open("rb")
        except OSError as error:
            raise self._damaged(shard, f"it cannot be opened ({error.strerror or error})") from error

    def _index(self, shard: int) -> NDArray[np.int64]:
        """(rows, 2) offset and size of each row's picture, -1 where the manifest names none or the tar lacks it."""
        path, rows = self._shards[shard]
        table = manifest.read_table(rows, ["file", "bytes"])
        wanted = {name: place for place, name in enumerate(table["file"].to_pylist()) if name is not None}
        sizes = table["bytes"].to_pylist()
        found = np.full((table.num_rows, 2), -1, np.int64)
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    place = wanted.get(member.name)
                    if place is not None and member.isreg() and member.size == sizes[place]:
                        found[place] = member.offset_data, member.size
        except (OSError, tarfile.TarError) as error:
            raise self._damaged(shard, f"it cannot be read ({error})") from error
        return found

    def _damaged(self, shard: int, why: str) -> InputError:
        path = self._shards[shard][0]
        return InputError(
            f"{path} is damaged: {why}. Run `arc2face dataset verify` on the data set, then draw it again."
        )
