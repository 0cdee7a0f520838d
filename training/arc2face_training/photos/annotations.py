"""What is known about photos: identity embeddings, expressions, normal maps; beside them or in a folder of shards.

A folder of shards (written by `arc2face annotate`) holds, for every `per_shard` photos in the order of their index:

    00000.embedding.npy   (n, 512) float16 of length 1
    00000.expression.npy  (n, 55) float16
    00000.normals.bin     PNG files one after the other, and 00000.normals.npy (n, 2) int64: place and size of each
    00000.state.npy       (n,) uint8: DONE, NO_FACE or UNREADABLE; written last, so that its shard is whole

`annotations.json` says which photos they belong to, what there is, and which networks read it.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face_training.common.errors import TrainingError
from arc2face_training.photos.index import PhotoIndex
from arc2face_training.photos.names import Flags, Int64
from arc2face_training.photos.store import OpenFiles, PhotoStore

ABOUT = "annotations.json"
PENDING, DONE, NO_FACE, UNREADABLE = 0, 1, 2, 3
MAPS_KEPT, MOST_LABELS = 128, 1 << 20
LENGTHS = {"embedding": 512, "expression": 55}
KINDS = (*LENGTHS, "normals")


class Annotations(ABC):
    """Labels by photo number."""

    @abstractmethod
    def has(self, kind: str) -> Flags:
        """(photos,) which photos have an `embedding`, an `expression` or `normals`."""

    @abstractmethod
    def rows(self, kind: str, numbers: Int64) -> NDArray[np.float32]:
        """(n, length) of embeddings or expressions."""

    @abstractmethod
    def normals(self, number: int) -> bytes:
        """The encoded normal map of a photo that has one."""

    def unreadable(self) -> Flags | None:
        """(photos,) which ones are known to be broken; None where nobody looked."""
        return None

    def why_not(self) -> str:
        """In words, why photos have nothing; may be empty."""
        return ""


class Sidecars(Annotations):
    """`x.npz` and `x.normals.png` beside each photo, in a folder tree or in tar files."""

    def __init__(self, store: PhotoStore) -> None:
        self.store = store

    def has(self, kind: str) -> Flags:
        """See Annotations; what an npz holds is seen when it is read."""
        return self.store.index.has("normals" if kind == "normals" else "labels")

    def rows(self, kind: str, numbers: Int64) -> NDArray[np.float32]:
        """See Annotations. Raises TrainingError for files that lack it."""
        return np.stack([self._row(int(number), kind) for number in numbers])

    def normals(self, number: int) -> bytes:
        """See Annotations."""
        content = self.store.beside(number, "normals")
        if content is None:
            raise TrainingError(f"{self.store.name(number)} has no normal map beside it.")
        return content

    def _row(self, number: int, kind: str) -> NDArray[np.float32]:
        row = None
        try:
            content = self.store.beside(number, "labels") or b""
            with zipfile.ZipFile(io.BytesIO(content)) as packed:
                if sum(member.file_size for member in packed.infolist()) > MOST_LABELS:
                    raise ValueError("it holds too much")
            with np.load(io.BytesIO(content), allow_pickle=False) as labels:
                row = np.asarray(labels[kind], np.float32) if kind in labels else None
        except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise TrainingError(
                f"The labels of {self.store.name(number)} are damaged ({error}); annotate again."
            ) from error
        if row is None or row.shape != (LENGTHS[kind],) or not np.isfinite(row).all():
            raise TrainingError(
                f"The labels of {self.store.name(number)} have no {kind} of {LENGTHS[kind]} numbers; annotate again."
            )
        return row


class AnnotationFolder(Annotations):
    """A folder of shards. Rows are read from mapped files; nothing is copied into memory but one byte per photo."""

    def __init__(self, folder: Path, index: PhotoIndex) -> None:
        """Raises TrainingError where the folder belongs to other photos or is damaged."""
        self.folder, self.about = folder, read_about(folder)
        if self.about["photos"] != content_digest(index):
            raise TrainingError(
                f"{folder} belongs to other photos than {index.root}, or they changed since. Annotate again, into "
                "another folder (arc2face annotate)."
            )
        self.per_shard, self.kinds = int(self.about["per_shard"]), tuple(self.about["kinds"])
        self.state = np.zeros(len(index), np.uint8)
        for shard in range(-(-len(index) // self.per_shard)):
            file = folder / f"{shard:05d}.state.npy"
            if file.exists():
                start = shard * self.per_shard
                shown = self.state[start : start + self.per_shard]
                shown[:] = _array(file, (len(shown),))
        self.maps: OrderedDict[tuple[int, str], NDArray[Any]] = OrderedDict()
        self.lock, self.local = threading.Lock(), threading.local()

    def has(self, kind: str) -> Flags:
        """See Annotations."""
        return (self.state == DONE) & (kind in self.kinds)

    def rows(self, kind: str, numbers: Int64) -> NDArray[np.float32]:
        """See Annotations."""
        return np.stack([self._map(int(k) // self.per_shard, kind)[int(k) % self.per_shard] for k in numbers]).astype(
            np.float32
        )

    def normals(self, number: int) -> bytes:
        """See Annotations."""
        shard, row = divmod(number, self.per_shard)
        at, size = (int(value) for value in self._map(shard, "normals")[row])
        files: OpenFiles | None = getattr(self.local, "files", None)
        if files is None:
            files = self.local.files = OpenFiles(lambda shard: self.folder / f"{shard:05d}.normals.bin")
        stream = files.get(shard)
        stream.seek(at)
        return stream.read(size)

    def unreadable(self) -> Flags | None:
        """See Annotations."""
        return self.state == UNREADABLE

    def why_not(self) -> str:
        """See Annotations."""
        counts = {
            "not annotated yet": int((self.state == PENDING).sum()),
            "without a face": int((self.state == NO_FACE).sum()),
            "unreadable": int((self.state == UNREADABLE).sum()),
        }
        return ", ".join(f"{count} {name}" for name, count in counts.items() if count)

    def _map(self, shard: int, kind: str) -> NDArray[Any]:
        """A shard's rows; of all shards only the last few are mapped, for each map takes a file descriptor."""
        with self.lock:
            found = self.maps.pop((shard, kind), None)
            if found is None:
                rows = min(self.per_shard, len(self.state) - shard * self.per_shard)
                found = _array(self.folder / f"{shard:05d}.{kind}.npy", (rows, LENGTHS.get(kind, 2)))
            self.maps[shard, kind] = found
            while len(self.maps) > MAPS_KEPT:
                self.maps.popitem(last=False)
            return found


def _array(file: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    """A mapped array. Raises TrainingError for one that is missing, damaged or of another shape."""
    try:
        found = np.load(file, mmap_mode="r", allow_pickle=False)
        if found.shape == shape:
            return found
    except (OSError, ValueError, EOFError) as error:
        raise TrainingError(f"{file} is damaged or missing; delete its shard and annotate again.") from error
    raise TrainingError(f"{file} is damaged (it holds {found.shape}); delete its shard and annotate again.")


def read_about(folder: Path) -> dict[str, Any]:
    """`annotations.json`. Raises TrainingError where it is damaged."""
    try:
        about: Any = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about["version"] == 1 and int(about["per_shard"]) > 0 and isinstance(about["kinds"], list):
            return about
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{folder / ABOUT} is damaged ({error}). Annotate into another folder.") from error
    raise TrainingError(f"{folder / ABOUT} was written by another version. Annotate into another folder.")


def content_digest(index: PhotoIndex) -> str:
    """A hash of the photos' names, order and sizes, whatever folder they lie in."""
    digest = hashlib.sha256()
    for array in (index.names.ends, index.names.blob, index.columns["size"]):
        digest.update(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).data)
    return digest.hexdigest()


def default_folder(path: Path) -> Path:
    """Where the annotations of a data path lie when nothing else is said."""
    whole = path.resolve()
    return whole.with_name(f"{whole.name}.annotations")


def open_annotations(store: PhotoStore, path: Path, named: Path | None) -> Annotations:
    """The folder `named` or the usual one, else what lies beside the photos.

    Raises TrainingError where a named folder holds no annotations.
    """
    folder = named or default_folder(path)
    if (folder / ABOUT).exists():
        return AnnotationFolder(folder, store.index)
    if named is not None:
        raise TrainingError(f"{named} holds no annotations. Write them: arc2face annotate {path} --output {named}")
    return Sidecars(store)
