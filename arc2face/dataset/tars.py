"""One picture out of a shard's tar without reading the others."""

from __future__ import annotations

import tarfile
from functools import lru_cache
from pathlib import Path

from arc2face.errors import InputError

__all__ = ["member"]

REPAIR = "Run: arc2face dataset verify --repair, then run."
MAX_MEMBER = 256 << 20


def member(path: Path, name: str) -> bytes:
    """The content of one file in a tar. Raises InputError when it is not there or the tar is damaged."""
    try:
        place = _index(path, path.stat().st_mtime_ns).get(name)
        if place is None or place[1] > MAX_MEMBER:
            raise InputError(f"{path} lacks {name}. {REPAIR}")
        with path.open("rb") as stream:
            stream.seek(place[0])
            data = stream.read(place[1])
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}). {REPAIR}") from error
    if len(data) != place[1]:
        raise InputError(f"{path} is cut off in {name}. {REPAIR}")
    return data


@lru_cache(maxsize=8)
def _index(path: Path, changed: int) -> dict[str, tuple[int, int]]:
    """Where each file of a tar begins and how long it is. `changed`: so that a new tar is looked at anew."""
    with tarfile.open(path, "r:") as tar:
        return {entry.name: (entry.offset_data, entry.size) for entry in tar if entry.isreg()}
