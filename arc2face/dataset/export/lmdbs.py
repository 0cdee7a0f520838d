"""LMDB as Vec2Face and the recognisers of its authors read it.

One file `train.lmdb`: ascii index -> msgpack of (picture file, embedding as the bytes of a .npy file, label), and
`__keys__`, `__len__`, `__classnum__` in msgpack. Without features the middle part is left out: (picture file, label),
which their recognition trainer reads.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import numpy as np

from arc2face.dataset.export.job import Job, Picture
from arc2face.dataset.packages import need
from arc2face.errors import StorageError

__all__ = ["FILE", "write"]

FILE = "train.lmdb"
FIRST_MAP = 64 << 20
TOGETHER = 1000
"""Pictures in one transaction."""


def write(job: Job, pictures: Iterable[Picture]) -> dict[str, Any]:
    """Write the database. The embedding is the one that was asked for, not one measured on the picture."""
    lmdb, msgpack = need("lmdb"), need("msgpack")
    path = job.folder / FILE
    try:
        database = lmdb.open(str(path), subdir=False, map_size=FIRST_MAP, meminit=False, lock=False, sync=False)
    except lmdb.Error as error:
        raise StorageError(f"The LMDB database could not be made ({error}). Choose another disk.") from error
    place = {key: number for number, key in enumerate(job.identities.keys)} if job.options.features else {}
    try:
        total = 0
        waiting: list[tuple[bytes, bytes]] = []
        feature: tuple[str, bytes] = ("", b"")
        for picture in pictures:
            entry: tuple[Any, ...] = (picture.data, picture.label)
            if job.options.features:
                if feature[0] != picture.identity:
                    feature = (picture.identity, _npy(job.identities.vectors[place[picture.identity]]))
                entry = (picture.data, feature[1], picture.label)
            waiting.append((str(total).encode("ascii"), msgpack.packb(entry)))
            total += 1
            if len(waiting) == TOGETHER:
                _put(lmdb, database, waiting)
                waiting = []
        keys = [str(number).encode("ascii") for number in range(total)]
        facts = (("__keys__", keys), ("__len__", total), ("__classnum__", len(job.selection.names)))
        waiting += [(name.encode("ascii"), msgpack.packb(value)) for name, value in facts]
        _put(lmdb, database, waiting)
        database.sync(True)
    except lmdb.Error as error:  # it raises the disk's refusals as its own
        raise StorageError(f"The LMDB database could not be written ({error}). Free some disk space.") from error
    finally:
        database.close()
    return {"file": FILE, "features": job.options.features}


def _put(lmdb: Any, database: Any, entries: list[tuple[bytes, bytes]]) -> None:
    """Write in one transaction; the map grows until it fits."""
    size = sum(len(key) + len(value) + 8192 for key, value in entries)
    while True:
        try:
            with database.begin(write=True) as transaction:
                for key, value in entries:
                    transaction.put(key, value)
            return
        except lmdb.MapFullError:
            database.set_mapsize(database.info()["map_size"] * 2 + size)


def _npy(vector: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, vector, allow_pickle=False)
    return buffer.getvalue()
