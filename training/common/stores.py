"""Photos on disk, as a folder tree or as WebDataset tar files, behind one small interface.

A sample is one photo and what belongs to it, with a common stem: `x.jpg` (or png, webp), `x.npz` (`embedding` (512,)
float32; optionally `expression` (55,) float32) and `x.normals.png`. `python -m training.common.annotate` writes the
last two. In a folder tree the photo's parent folder names the person; in tar files the stem up to the last "/" does.
"""

from __future__ import annotations

import tarfile
from abc import ABC, abstractmethod
from collections import defaultdict
from pathlib import Path

from training.common.errors import TrainingError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
NORMALS = ".normals.png"
LABELS = ".npz"


class PhotoStore(ABC):
    """Random access to samples. `stems` lists them; `people` maps a person's name to positions in `stems`."""

    def __init__(self, stems: list[str], where: str) -> None:
        if not stems:
            raise TrainingError(f"{where} holds no photos (jpg, png or webp). Check `data.path` in the config.")
        self.stems = stems
        self.people: dict[str, list[int]] = defaultdict(list)
        for position, stem in enumerate(stems):
            self.people[stem.rpartition("/")[0] or stem].append(position)

    @abstractmethod
    def read(self, position: int, suffix: str) -> bytes | None:
        """Bytes of `stem + suffix`, or None when the sample has no such file."""

    def photo(self, position: int) -> bytes:
        """Bytes of the photo itself."""
        for suffix in PHOTO_SUFFIXES:
            content = self.read(position, suffix)
            if content is not None:
                return content
        raise TrainingError(f"The photo {self.stems[position]} disappeared while training.")


class FolderStore(PhotoStore):
    """A folder tree of photos."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise TrainingError(f"The data folder {root} does not exist. Set `data.path` in the config.")
        self.root = root
        found = (p for p in root.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES and not p.name.endswith(NORMALS))
        super().__init__(sorted({p.relative_to(root).with_suffix("").as_posix() for p in found}), str(root))

    def read(self, position: int, suffix: str) -> bytes | None:
        """See PhotoStore."""
        path = self.root / (self.stems[position] + suffix)
        return path.read_bytes() if path.exists() else None


class TarStore(PhotoStore):
    """Uncompressed tar files in WebDataset's naming. Members are indexed once and read by offset."""

    def __init__(self, paths: list[Path]) -> None:
        self.index: dict[str, tuple[Path, int, int]] = {}
        stems: list[str] = []
        for path in paths:
            try:
                with tarfile.open(path, "r:") as archive:
                    for member in archive:
                        stems += self._add(path, member)
            except (OSError, tarfile.TarError) as error:
                raise TrainingError(f"{path} is not a readable, uncompressed tar file: {error}.") from error
        super().__init__(sorted(stems), ", ".join(map(str, paths)) or "The list of tar files")

    def _add(self, path: Path, member: tarfile.TarInfo) -> list[str]:
        if not member.isfile():
            return []
        name = member.name.removeprefix("./")
        self.index[name] = (path, member.offset_data, member.size)
        stem, dot, suffix = name.rpartition(".")
        return [stem] if dot + suffix.lower() in PHOTO_SUFFIXES and not name.endswith(NORMALS) else []

    def read(self, position: int, suffix: str) -> bytes | None:
        """See PhotoStore."""
        place = self.index.get(self.stems[position] + suffix)
        if place is None:
            return None
        path, offset, size = place
        with path.open("rb") as stream:
            stream.seek(offset)
            return stream.read(size)


def open_store(path: Path) -> PhotoStore:
    """A folder of photos, a tar file, or a folder of tar files."""
    if path.is_file():
        return TarStore([path])
    tars = sorted(path.glob("*.tar")) if path.is_dir() else []
    return TarStore(tars) if tars else FolderStore(path)
