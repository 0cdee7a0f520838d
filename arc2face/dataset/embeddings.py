"""Embeddings of many people in one NumPy file, read without pickle and without believing its headers."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from arc2face.dataset.identities import MAX_IDENTITIES, MAX_KEY, MAX_SOURCE
from arc2face.dataset.people import Found, Unread
from arc2face.errors import EmbeddingError, InputError
from arc2face.types import EMBEDDING_SIZE, IdentityEmbedding

__all__ = ["is_embeddings", "read_embeddings"]

VECTORS = ("vectors", "embeddings")
KEYS = ("keys", "names", "ids", "labels")
MOST_BYTES = {
    **dict.fromkeys(VECTORS, MAX_IDENTITIES * EMBEDDING_SIZE * 8),
    **dict.fromkeys(KEYS, MAX_IDENTITIES * MAX_KEY * 4),
    "sources": MAX_IDENTITIES * MAX_SOURCE * 4,
    "recogniser_sha256": 4096,
}


def is_embeddings(path: Path) -> bool:
    """Whether a NumPy file holds many people, not one (`arc2face.faces.identities`); read from its headers."""
    try:
        with path.open("rb") as stream:
            if stream.read(2) == b"PK":
                with zipfile.ZipFile(path) as archive:
                    names = {item.filename.removesuffix(".npy") for item in archive.infolist()[:64]}
                return not names.isdisjoint(VECTORS)
            stream.seek(0)
            shape, _, _ = _header(stream)
            return len(shape) == 2 and shape[0] != 1
    except (OSError, ValueError, zipfile.BadZipFile):
        return False  # the reader of one identity says what is wrong


def read_embeddings(path: Path) -> Iterator[Found | Unread]:
    """Everybody in the file, in order. The file is read before this returns.

    Raises:
        EmbeddingError: not such a file, damaged, pickled content, wrong shapes, or more people than a data set holds.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist, or is not a file.")
    try:
        arrays = _arrays(path)
    except EmbeddingError:
        raise
    except Exception as error:  # zipfile and numpy raise a dozen kinds on damaged files
        raise EmbeddingError(f"{path.name} is damaged, or not a NumPy file of plain numbers (.npz, .npy).") from error
    vectors = next((arrays[name] for name in VECTORS if name in arrays), None)
    if vectors is None:
        raise EmbeddingError(f"{path.name} holds neither `vectors` nor `embeddings` of shape (n, {EMBEDDING_SIZE}).")
    if vectors.ndim != 2 or vectors.shape[1] != EMBEDDING_SIZE or vectors.dtype.kind not in "fiu":
        raise EmbeddingError(
            f"Embeddings of people have the shape (n, {EMBEDDING_SIZE}); {path.name} holds {vectors.dtype} of shape "
            f"{vectors.shape}."
        )
    if not len(vectors):
        raise EmbeddingError(f"{path.name} holds nobody.")
    if len(vectors) > MAX_IDENTITIES:
        raise EmbeddingError(f"{path.name} holds {len(vectors):,} people; one data set has at most {MAX_IDENTITIES:,}.")
    keys = _texts(path, next((arrays[name] for name in KEYS if name in arrays), None), len(vectors), "keys")
    sources = _texts(path, arrays.get("sources"), len(vectors), "sources")
    digest = str(arrays["recogniser_sha256"]) if "recogniser_sha256" in arrays else ""
    return _people(path, vectors, keys, sources, digest or None)


def _people(
    path: Path, vectors: NDArray[Any], keys: list[str] | None, sources: list[str] | None, digest: str | None
) -> Iterator[Found | Unread]:
    for place in range(len(vectors)):
        key = keys[place] if keys else f"person-{place + 1:07d}"
        source = sources[place] if sources else f"embeddings: {path.name}, row {place + 1}"
        try:
            with np.errstate(over="ignore"):
                vector = np.array(vectors[place], np.float32)
            yield Found(key, IdentityEmbedding(vector, digest), source)
        except EmbeddingError as error:
            yield Unread(key, f"row {place + 1}: {error}")


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        packed = stream.read(2) == b"PK"
        stream.seek(0)
        if not packed:
            return {"vectors": _array(stream, size)}
    found: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(path) as archive:
        for item in archive.infolist()[:64]:
            name = item.filename.removesuffix(".npy")
            if name not in MOST_BYTES:
                continue
            if item.file_size > MOST_BYTES[name] + 4096:
                raise EmbeddingError(f"{path.name} is far too large inside.")
            if item.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise EmbeddingError(f"{path.name} is packed in an unusual way. Save it with numpy.savez.")
            with archive.open(item) as member:
                found[name] = _array(member, item.file_size)
    return found


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, Any]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(stream)


def _array(stream: IO[bytes], size: int) -> NDArray[Any]:
    """The array, whose header must not promise more than the file holds."""
    shape, fortran, dtype = _header(stream)
    count = math.prod(shape)
    if dtype.kind == "O":
        raise EmbeddingError(
            "The file holds pickled objects, which are not opened. Save plain arrays of numbers and text."
        )
    if dtype.kind not in "fiuUS" or count * dtype.itemsize > size:
        raise ValueError("not plain numbers or text, or cut off")
    data = stream.read(count * dtype.itemsize)
    return np.frombuffer(data, dtype, count).reshape(shape, order="F" if fortran else "C")


def _texts(path: Path, array: NDArray[Any] | None, count: int, what: str) -> list[str] | None:
    if array is None:
        return None
    if array.shape != (count,):
        raise EmbeddingError(f"{path.name} holds {count} people and {what} of shape {array.shape}; one each is needed.")
    if array.dtype.kind == "S":
        return [text.decode("utf-8", "replace") for text in array.tolist()]
    return [str(text) for text in array.tolist()]
