"""Who a data set shows: keys, embeddings and where each came from.

An `identities.npz` holds `format`, `keys` (n,) text, `vectors` (n, 512) float32, `sources` (n,) text and
`recogniser_sha256`. It is read without pickle and with limits on what its headers may promise.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from arc2face import checks
from arc2face.errors import EmbeddingError
from arc2face.types import EMBEDDING_SIZE, MAX_NORM, Float32Array, IdentityEmbedding
from arc2face.weights.writing import replace_with

__all__ = ["MAX_IDENTITIES", "Identities"]

FORMAT = "arc2face-identities"
MAX_IDENTITIES = 5_000_000
MAX_KEY = 200
"""Longest key, characters."""
MAX_SOURCE = 2000
_ENTRIES = ("format", "keys", "vectors", "sources", "recogniser_sha256")


@dataclass(frozen=True, slots=True, eq=False)
class Identities:
    """The people of a data set, in their order.

    `keys`: one name each, no two alike; they decide the seeds, so a person keeps their pictures wherever they stand in
    the list. `vectors`: (n, 512) float32, as the recogniser gave them. `sources`: what each was made of (photos, a
    file, "sampled"), free text. `recogniser_sha256`: hash of the recogniser that made them, None when unknown.

    Raises EmbeddingError for nobody at all, NaN, zeros, keys that are empty, too long, unprintable or there twice.
    """

    keys: tuple[str, ...]
    vectors: Float32Array
    sources: tuple[str, ...]
    recogniser_sha256: str | None = None

    def __post_init__(self) -> None:
        keys, sources = tuple(self.keys), tuple(self.sources)
        if not keys:
            raise EmbeddingError("There is nobody to draw: the list of identities is empty.")
        if len(keys) > MAX_IDENTITIES:
            raise EmbeddingError(f"{len(keys)} identities are too many; a data set has at most {MAX_IDENTITIES}.")
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "sources", sources)
        object.__setattr__(self, "vectors", _vectors(self.vectors, keys))
        if len(sources) != len(keys):
            raise EmbeddingError(f"{len(keys)} identities need a source each, not {len(sources)}.")
        _check_keys(keys)
        for source in sources:
            _check_text("A source", source, MAX_SOURCE, empty=True)
        digest: Any = self.recogniser_sha256
        if digest is not None and (not isinstance(digest, str) or len(digest) != 64 or set(digest) - set(_HEX)):
            raise EmbeddingError("What names the recogniser is no SHA-256 (64 hex digits).")

    def __len__(self) -> int:
        return len(self.keys)

    def person(self, number: int) -> IdentityEmbedding:
        """The identity at place `number`, from 0."""
        return IdentityEmbedding(self.vectors[number], self.recogniser_sha256)

    @property
    def sha256(self) -> str:
        """Hash of everything: keys, vectors, sources, recogniser. The plan's hash covers it."""
        words = [list(self.keys), list(self.sources), self.recogniser_sha256]
        digest = hashlib.sha256(json.dumps(words, ensure_ascii=True, separators=(",", ":")).encode())
        digest.update(np.ascontiguousarray(self.vectors, "<f4").tobytes())
        return digest.hexdigest()

    def take(self, places: Sequence[int]) -> Identities:
        """Some of them, in that order."""
        return Identities(
            tuple(self.keys[place] for place in places),
            self.vectors[list(places)],
            tuple(self.sources[place] for place in places),
            self.recogniser_sha256,
        )

    @classmethod
    def of(cls, people: Sequence[tuple[str, IdentityEmbedding, str]]) -> Identities:
        """From (key, embedding, source) each. Raises EmbeddingError, also where recognisers differ."""
        digests = {embedding.recogniser_sha256 for _, embedding, _ in people}
        if len(digests - {None}) > 1:
            raise EmbeddingError("These identities come from different recognisers; one data set needs one.")
        return cls(
            tuple(key for key, _, _ in people),
            np.array([embedding.vector for _, embedding, _ in people], np.float32),
            tuple(source for _, _, source in people),
            digests.pop() if len(digests) == 1 else None,
        )

    def save(self, path: Path | str) -> Path:
        """Write an `.npz`, whole or not at all. Raises StorageError."""
        target = Path(path).expanduser()
        with replace_with(target) as temporary, temporary.open("wb") as stream:
            np.savez(
                stream,
                format=np.array(FORMAT),
                keys=np.array(self.keys),
                vectors=self.vectors,
                sources=np.array(self.sources),
                recogniser_sha256=np.array(self.recogniser_sha256 or ""),
            )
        return target

    @classmethod
    def load(cls, path: Path | str) -> Identities:
        """Read what `save` wrote; nothing is unpickled.

        Raises EmbeddingError: not such a file, damaged, larger than it says, or unusable inside.
        """
        source = Path(path).expanduser()
        if not source.is_file():
            raise EmbeddingError(f"{source} does not exist, or is not a file.")
        try:
            found = _read(source)
        except EmbeddingError:
            raise
        except Exception as error:  # zipfile and numpy raise a dozen kinds on damaged archives
            raise EmbeddingError(f"{source} is damaged, or no file of identities (.npz).") from error
        if set(_ENTRIES) - found.keys() or str(found["format"]) != FORMAT:
            raise EmbeddingError(f"{source} is no file of identities; make one with `arc2face dataset plan`.")
        digest = str(found["recogniser_sha256"])
        return cls(_text(found["keys"]), found["vectors"], _text(found["sources"]), digest or None)


_HEX = "0123456789abcdef"


def _vectors(given: object, keys: Sequence[str]) -> Float32Array:
    try:
        with np.errstate(over="ignore"):
            vectors = np.array(given, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EmbeddingError("Identity embeddings are numbers.") from error
    if vectors.shape != (len(keys), EMBEDDING_SIZE):
        raise EmbeddingError(
            f"{len(keys)} identities need an array of shape ({len(keys)}, {EMBEDDING_SIZE}), not {vectors.shape}."
        )
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if wrong.size:
        who = checks.shown(keys[int(wrong[0])])
        raise EmbeddingError(f"The embedding of {who} holds NaN or infinite numbers; compute it again.")
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    for place in np.flatnonzero((lengths < 1e-6) | (lengths > MAX_NORM))[:1]:
        who = checks.shown(keys[int(place)])
        raise EmbeddingError(f"The embedding of {who} has length {lengths[place]:.3g}; a recogniser gives 15 to 30.")
    vectors.setflags(write=False)
    return vectors


def _check_keys(keys: Sequence[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        _check_text("The name of an identity", key, MAX_KEY)
        if key in seen:
            raise EmbeddingError(f"The name {checks.shown(key)} is there twice; each person needs one of their own.")
        seen.add(key)


def _check_text(what: str, text: object, longest: int, empty: bool = False) -> None:
    if not isinstance(text, str) or len(text) > longest or not (text or empty):
        raise EmbeddingError(f"{what} must be text of 1 to {longest} characters, not {checks.shown(text)}.")
    if not text.isprintable() or (not empty and text != text.strip()):
        raise EmbeddingError(f"{what} must be printable and not begin or end with a space: {checks.shown(text)}.")


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of the archive. A header that promises more than its member holds is refused before it is believed."""
    found: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(path) as archive:
        items = {item.filename.removesuffix(".npy"): item for item in archive.infolist()}
        for name in _ENTRIES:
            item = items.get(name)
            if item is None:
                continue
            if item.file_size > _most_bytes(name) or item.compress_type not in (
                zipfile.ZIP_STORED,
                zipfile.ZIP_DEFLATED,
            ):
                raise EmbeddingError(f"{path} is far too large inside, or packed in an unusual way.")
            with archive.open(item) as member:
                found[name] = _array(member, item.file_size)
    return found


def _most_bytes(name: str) -> int:
    each = {"vectors": EMBEDDING_SIZE * 8, "keys": 4 * MAX_KEY, "sources": 4 * MAX_SOURCE}
    return 4096 + each.get(name, 0) * MAX_IDENTITIES


def _array(stream: IO[bytes], size: int) -> NDArray[Any]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    count = math.prod(shape)
    if dtype.kind not in "fiuU" or count * dtype.itemsize > size:
        raise ValueError("not plain numbers or text, or cut off")
    data = stream.read(count * dtype.itemsize)
    return np.frombuffer(data, dtype, count).reshape(shape, order="F" if fortran else "C")


def _text(array: NDArray[Any]) -> tuple[str, ...]:
    if array.dtype.kind != "U" or array.ndim != 1:
        raise EmbeddingError("Names and sources of identities are lists of text.")
    return tuple(str(text) for text in array.tolist())
