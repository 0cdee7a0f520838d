"""One shard of annotations, or of aligned faces, to the disk: whole or not at all."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arc2face.weights.store import replace_with
from arc2face_training.photos.annotations import DONE, LENGTHS, NO_FACE
from arc2face_training.photos.reading import Reading, jpeg_or_png
from arc2face_training.photos.store import PhotoStore

Readings: TypeAlias = Iterator[tuple[int, Reading]]
"""Photo numbers and what was read, in order."""
REASONS = 10


@dataclass
class Counts:
    """What one call did. `shards`: made now; `already`: were there; `reasons`: of the first photos left out."""

    photos: int = 0
    no_face: int = 0
    unreadable: int = 0
    shards: int = 0
    already: int = 0
    reasons: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, name: str, reading: Reading) -> None:
        """Count one photo."""
        self.photos += 1
        if reading.state != DONE:
            self.no_face += reading.state == NO_FACE
            self.unreadable += reading.state != NO_FACE
            if len(self.reasons) < REASONS:
                self.reasons[name] = reading.reason

    def include(self, other: Counts) -> None:
        """Add what another shard did."""
        self.photos += other.photos
        self.no_face += other.no_face
        self.unreadable += other.unreadable
        self.shards += 1
        self.reasons = dict([*self.reasons.items(), *other.reasons.items()][:REASONS])


def write_annotations(path: Path, store: PhotoStore, readings: Readings, count: int, kinds: tuple[str, ...]) -> Counts:
    """The files of one shard of `count` photos, `path` with their endings; see `arc2face_training.photos.annotations`.

    Raises StorageError when the disk is full.
    """
    counts = Counts()
    states = np.zeros(count, np.uint8)
    arrays: dict[str, NDArray[Any]] = {
        kind: np.zeros((count, LENGTHS[kind]), np.float16) for kind in LENGTHS if kind in kinds
    }
    places, maps = np.zeros((count, 2), np.int64), io.BytesIO()
    for row, (number, reading) in enumerate(readings):
        states[row] = reading.state
        counts.add(store.name(number), reading)
        for kind in arrays:
            values = getattr(reading, kind)
            if values is not None and reading.state == DONE:
                arrays[kind][row] = values
        if reading.normals is not None:
            places[row] = maps.tell(), len(reading.normals)
            maps.write(reading.normals)
    if "normals" in kinds:
        arrays["normals"] = places
        with replace_with(_file(path, "normals.bin")) as part:
            part.write_bytes(maps.getvalue())
    for kind, values in (*arrays.items(), ("state", states)):  # the state last: it marks the shard as whole
        with replace_with(_file(path, f"{kind}.npy")) as part, part.open("wb") as file:
            np.save(file, values)
    return counts


def write_aligned(path: Path, store: PhotoStore, readings: Readings, kinds: tuple[str, ...], picture: str) -> Counts:
    """A tar file of aligned faces in `picture` (png, jpg) with their annotations, named by person, at `path`.tar.

    Raises StorageError when the disk is full.
    """
    counts = Counts()
    person, left_out = store.index.columns["person"], dict[str, str]()
    with replace_with(_file(path, "tar")) as part:
        with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as archive:
            for number, reading in readings:
                counts.add(store.name(number), reading)
                if reading.state != DONE or reading.picture is None:
                    left_out[store.name(number)] = reading.reason
                    continue
                stem = f"{int(person[number]):07d}/{number:09d}"
                about = {"identity": f"{int(person[number]):07d}", "source": store.name(number)}
                members = {f".{picture}": jpeg_or_png(reading.picture, picture)}
                members[".json"] = json.dumps(about).encode()
                if kinds:
                    members[".npz"] = _npz({kind: getattr(reading, kind) for kind in LENGTHS if kind in kinds})
                if reading.normals is not None:
                    members[".normals.png"] = reading.normals
                for suffix, content in members.items():
                    info = tarfile.TarInfo(stem + suffix)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
        with replace_with(_file(path, "left_out.json")) as note:
            note.write_text(json.dumps(left_out, indent=2) + "\n", encoding="utf-8")
    return counts


def _file(path: Path, ending: str) -> Path:
    return path.with_name(f"{path.name}.{ending}")


def _npz(values: dict[str, NDArray[np.float32]]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **values)  # type: ignore[arg-type]
    return stream.getvalue()
