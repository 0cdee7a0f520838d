"""Photos whose look is kept, aligned, in one file beside the plan: `references.npz`, read photo by photo."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arc2face import checks
from arc2face.dataset.leftovers import owned
from arc2face.errors import InputError
from arc2face.types import RgbU8

__all__ = ["ReferencePhotos"]

MAX_SIDE = 1024


@dataclass(frozen=True, slots=True, eq=False)
class ReferencePhotos:
    """`names`: one each, a person's key where each person has a photo of their own.

    `pictures`: (S, S, 3) uint8 RGB, FFHQ-aligned (`Engine.align`), all of one size.
    """

    names: tuple[str, ...]
    pictures: tuple[RgbU8, ...]

    def __post_init__(self) -> None:
        if not self.names or len(self.names) != len(self.pictures) or len(set(self.names)) != len(self.names):
            raise InputError("Reference photos need one name each, no two alike, and at least one photo.")
        for name, picture in zip(self.names, self.pictures, strict=True):
            checks.rgb_picture(f"The reference photo {name}", picture)
            if picture.shape != self.pictures[0].shape or picture.shape[0] != picture.shape[1]:
                raise InputError("Reference photos are squares of one size; align them with `Engine.align`.")

    @property
    def sha256(self) -> str:
        """Hash of names and pixels."""
        digest = hashlib.sha256(json.dumps([list(self.names), list(self.pictures[0].shape)]).encode())
        for picture in self.pictures:
            digest.update(np.ascontiguousarray(picture).tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> Path:
        """Write the file, whole or not at all. Raises StorageError."""
        with owned(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, names=np.array(self.names), pictures=np.stack(self.pictures))
        return path

    @classmethod
    def load(cls, path: Path, count: int) -> ReferencePhotos:
        """Read `count` photos without pickle. Raises InputError for another file."""
        try:
            with zipfile.ZipFile(path) as archive:
                promised = sum(item.file_size for item in archive.infolist())
            if promised > count * (MAX_SIDE * MAX_SIDE * 3 + 4096) + 4096:
                raise InputError(f"{path} is far too large inside.")
            with np.load(path, allow_pickle=False) as held:
                names, pictures = held["names"], held["pictures"]
            if pictures.dtype != np.uint8 or pictures.ndim != 4 or names.dtype.kind != "U" or len(names) != count:
                raise InputError(f"{path} does not hold {count} reference photos.")
        except InputError:
            raise
        except Exception as error:  # zipfile and numpy raise a dozen kinds on damaged archives
            raise InputError(f"{path} cannot be read as reference photos. Make the plan again.") from error
        return cls(tuple(str(name) for name in names), tuple(pictures))

    def of(self, keys: Sequence[str]) -> dict[str, RgbU8]:
        """The photos of these people. Raises InputError that names who has none."""
        by_name = dict(zip(self.names, self.pictures, strict=True))
        for key in keys:
            if key not in by_name:
                raise InputError(f"There is no reference photo of {checks.shown(key)}.")
        return {key: by_name[key] for key in keys}
