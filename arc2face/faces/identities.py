"""Several photos into one identity, and identities in files.

A file holds the embedding and which recogniser made it, never a picture.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from arc2face import checks
from arc2face.errors import EmbeddingError
from arc2face.faces.face import Face
from arc2face.pictures.loading import Readable
from arc2face.pictures.recipes import app_version
from arc2face.settings import COMBINE_METHODS, CombineMethod
from arc2face.types import EMBEDDING_SIZE, Float32Array, IdentityEmbedding
from arc2face.weights.store import replace_with

IdentitySource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | Readable"

OUTLIER_COSINE = 0.3
"""A photo whose cosine to the others falls below this is flagged. Pictures of one person usually reach 0.5 to 0.8."""
USUAL_NORM = (5.0, 60.0)
"""Length range of embeddings as ArcFace networks give them."""
MAX_IDENTITY_BYTES = 1 << 20
"""Most bytes of a file, and of everything in it once unpacked."""
MAX_ENTRIES = 16
MAX_NORM = 1e4
"""Longest embedding that is believed; squares of much longer ones overflow."""
MAX_PHOTOS = 10_000
FORMAT = "arc2face-identity"


@dataclass(frozen=True, slots=True, eq=False)
class IdentityReport:
    """One identity and how well its photos agree.

    `cosines`: per photo, cosine to the combination of the other kept photos (leave one out), -1 to 1; 1 for a single
    photo. `outliers`: places (from 0) of photos that seem to show somebody else. `used`: places of the photos that
    went into `identity`. `faces`: the face taken from each photo, where photos were analysed.
    """

    identity: IdentityEmbedding
    cosines: tuple[float, ...]
    outliers: tuple[int, ...]
    used: tuple[int, ...]
    warnings: tuple[str, ...] = ()
    faces: tuple[Face, ...] = field(default=())


def combine(
    embeddings: Sequence[IdentityEmbedding],
    method: CombineMethod = "mean",
    drop_outliers: bool = False,
    faces: Sequence[Face] = (),
) -> IdentityReport:
    """Combine the embeddings of several photos of one person.

    Embeddings are brought to length 1, averaged (or their median taken per number), and given the photos' mean length
    again, so that a single photo comes back unchanged. Outliers are found one at a time, the worst first, among at
    least three photos: of two that disagree nobody can say which is wrong, so that is only a warning.

    Raises:
        EmbeddingError: no embedding, different recognisers, or photos that cancel out.
        SettingsError: unknown method.
    """
    _check(embeddings, method)
    units = np.stack([embedding.normalized for embedding in embeddings])
    outliers = _outliers(units, method)
    kept = [index for index in range(len(units)) if index not in outliers]
    cosines = tuple(_leave_one_out(units, index, kept, method) for index in range(len(units)))
    used = kept if drop_outliers else list(range(len(units)))
    report_warnings: list[str] = []
    if outliers:
        names = ", ".join(str(index + 1) for index in outliers)
        action = "left out" if drop_outliers else "still used; leave it out if it shows somebody else"
        report_warnings.append(f"Photo {names} does not look like the same person as the others ({action}).")
    if len(kept) == 2 and cosines[kept[0]] < OUTLIER_COSINE:
        report_warnings.append(
            f"Photos {kept[0] + 1} and {kept[1] + 1} may show different people (cosine {cosines[kept[0]]:.2f})."
        )
    identity = _combined([embeddings[index] for index in used], method)
    return IdentityReport(identity, cosines, tuple(outliers), tuple(used), tuple(report_warnings), tuple(faces))


def save_identity(path: str | os.PathLike[str], identity: IdentityEmbedding) -> Path:
    """Write an identity as `.npz` (the suffix is added when missing); appears whole or not at all.

    Entries: format, embedding (512,) float32, recogniser_sha256 (may be empty), photos, app_version.

    Raises:
        StorageError: the file cannot be written.
    """
    target = Path(path).expanduser()
    if target.suffix.lower() != ".npz":
        target = target.with_name(target.name + ".npz")
    with replace_with(target) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            format=np.array(FORMAT),
            embedding=identity.vector,
            recogniser_sha256=np.array(identity.recogniser_sha256 or ""),
            photos=np.array(identity.photos, np.int64),
            app_version=np.array(app_version()),
        )
    return target


def load_identity(
    path: IdentitySource, recogniser_sha256: str | None = None
) -> tuple[IdentityEmbedding, tuple[str, ...]]:
    """Read an identity saved by `save_identity`, or a bare `.npy` of 512 numbers.

    Args:
        path: the file (`~` counts), its contents, or an open binary file; pickled content is refused.
        recogniser_sha256: hash of the recogniser in use, to compare with the file's.

    Returns:
        The identity, and warnings (one sentence each) about its length or recogniser.

    Raises:
        EmbeddingError: not such a file, wrong shape, NaN, all zeros, longer than MAX_NORM, or larger than
            MAX_IDENTITY_BYTES, as a file or unpacked.
    """
    contents = _read(path)
    bare = not contents.startswith(b"PK")
    entries = {"embedding": _array(contents)} if bare else _entries(contents)
    if "embedding" not in entries:
        raise EmbeddingError("The identity file holds no embedding. Save the identity again.")
    vector = _vector(entries["embedding"])
    made_by = _digest(entries.get("recogniser_sha256"))
    identity = IdentityEmbedding(vector, made_by, _photos(entries.get("photos")))
    return identity, tuple(_warnings(identity, recogniser_sha256))


def _check(embeddings: Sequence[IdentityEmbedding], method: str) -> None:
    if not embeddings:
        raise EmbeddingError("No photo with a face was given; an identity needs at least one.")
    checks.choice("The way to combine photos", method, COMBINE_METHODS)
    hashes = {embedding.recogniser_sha256 for embedding in embeddings} - {None}
    if len(hashes) > 1:
        raise EmbeddingError("These identities come from different recognisers and cannot be combined.")


def _outliers(units: Float32Array, method: CombineMethod) -> list[int]:
    kept = list(range(len(units)))
    while len(kept) > 2:
        cosines = [_leave_one_out(units, index, kept, method) for index in kept]
        worst = int(np.argmin(cosines))
        if cosines[worst] >= OUTLIER_COSINE:
            break
        kept.pop(worst)
    return [index for index in range(len(units)) if index not in kept]


def _leave_one_out(units: Float32Array, index: int, kept: Sequence[int], method: CombineMethod) -> float:
    others = [other for other in kept if other != index]
    if not others:
        return 1.0
    centre = _centre(units[others], method)
    length = float(np.linalg.norm(centre))
    return float(np.dot(units[index], centre)) / length if length > 1e-9 else 0.0


def _centre(units: Float32Array, method: CombineMethod) -> NDArray[np.float64]:
    values = units.astype(np.float64)
    return values.mean(axis=0) if method == "mean" else np.median(values, axis=0)


def _combined(embeddings: Sequence[IdentityEmbedding], method: CombineMethod) -> IdentityEmbedding:
    photos = sum(embedding.photos for embedding in embeddings)
    known = [e.recogniser_sha256 for e in embeddings if e.recogniser_sha256 is not None]
    digest = known[0] if len(known) == len(embeddings) else None
    if len(embeddings) == 1:
        return IdentityEmbedding(embeddings[0].vector, digest, photos)
    centre = _centre(np.stack([embedding.normalized for embedding in embeddings]), method)
    length = float(np.linalg.norm(centre))
    if length < 1e-6:
        raise EmbeddingError("The photos cancel each other out; they do not show one person. Use other photos.")
    norm = float(np.mean([embedding.norm for embedding in embeddings]))
    return IdentityEmbedding((centre / length * norm).astype(np.float32), digest, photos)


def _read(source: IdentitySource) -> bytes:
    name = "The identity file"
    try:
        if isinstance(source, bytes | bytearray | memoryview):
            contents = bytes(source)
        elif isinstance(source, str | os.PathLike):
            path = Path(source).expanduser()
            name = f"The identity file {path.name!r}"
            if not path.is_file():
                raise EmbeddingError(f"{name} does not exist, or is not a file. Choose a saved identity.")
            with path.open("rb") as stream:
                contents = stream.read(MAX_IDENTITY_BYTES + 1)
        else:
            contents = bytes(source.read(MAX_IDENTITY_BYTES + 1))
    except (OSError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise EmbeddingError(f"{name} cannot be read. Choose a saved identity (.npz) or a .npy file.") from error
    if not 0 < len(contents) <= MAX_IDENTITY_BYTES:
        much = "is empty" if not contents else f"has more than {MAX_IDENTITY_BYTES >> 20} MB"
        raise EmbeddingError(f"{name} {much}; an identity has a few thousand bytes. Choose another file.")
    return contents


def _entries(contents: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an archive. What it claims about sizes is not believed: reading stops at the limit."""
    found: dict[str, NDArray[Any]] = {}
    left = MAX_IDENTITY_BYTES
    try:
        with zipfile.ZipFile(io.BytesIO(contents)) as archive:
            items = archive.infolist()
            if len(items) > MAX_ENTRIES or sum(item.file_size for item in items) > left:
                raise _too_large()
            for item in items:
                if item.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise EmbeddingError("The identity file is packed in an unusual way. Choose a saved identity.")
                with archive.open(item) as member:
                    data = member.read(left + 1)
                left -= len(data)
                if left < 0:
                    raise _too_large()
                if item.filename.endswith(".npy"):
                    found[item.filename.removesuffix(".npy")] = _array(data)
    except EmbeddingError:
        raise
    except Exception as error:  # zipfile raises a dozen types on damaged archives
        raise EmbeddingError("The identity file is damaged or not an .npz file. Choose another one.") from error
    return found


def _too_large() -> EmbeddingError:
    return EmbeddingError("The identity file is far too large inside. Choose a saved identity.")


def _array(contents: bytes) -> NDArray[Any]:
    try:
        _check_header(contents)
        return np.lib.format.read_array(io.BytesIO(contents), allow_pickle=False)
    except Exception as error:  # numpy raises many types on damaged headers
        if isinstance(error, EmbeddingError):
            raise
        raise EmbeddingError(
            "The identity file is damaged, or not a NumPy file of plain numbers. Choose a saved identity (.npz) or a "
            f".npy file with {EMBEDDING_SIZE} numbers."
        ) from error


def _check_header(contents: bytes) -> None:
    """Refuse a header that promises more data than there is, before memory is set aside for it."""
    stream = io.BytesIO(contents)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    if int(np.prod(shape, dtype=np.float64)) * dtype.itemsize > len(contents):
        raise ValueError("truncated")


def _vector(array: NDArray[Any]) -> Float32Array:
    if array.dtype.kind not in "fiu" or array.shape not in ((EMBEDDING_SIZE,), (1, EMBEDDING_SIZE)):
        raise EmbeddingError(
            f"An identity embedding has {EMBEDDING_SIZE} numbers; this file holds {array.dtype} of shape {array.shape}."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        vector = array.astype(np.float32).reshape(-1)
        norm = float(np.linalg.norm(vector.astype(np.float64)))
    if np.isfinite(norm) and norm > MAX_NORM:
        raise EmbeddingError(
            f"The embedding in this file has length {norm:.3g}; no recogniser gives such. Make it again from photos."
        )
    return vector


def _digest(value: NDArray[Any] | None) -> str | None:
    """The recogniser's hash, None when the file does not say; text that is no hash is refused."""
    text = "" if value is None else str(value)
    if text and not re.fullmatch("[0-9a-f]{64}", text):
        raise EmbeddingError("The identity file is damaged: what names its recogniser is no hash. Save it again.")
    return text or None


def _photos(value: NDArray[Any] | None) -> int:
    if value is None or value.dtype.kind not in "iu" or value.size != 1:
        return 1
    return min(MAX_PHOTOS, max(1, int(value.reshape(-1)[0])))


def _warnings(identity: IdentityEmbedding, recogniser_sha256: str | None) -> list[str]:
    found: list[str] = []
    low, high = USUAL_NORM
    if not low <= identity.norm <= high and abs(identity.norm - 1.0) > 0.01:
        found.append(
            f"The embedding has length {identity.norm:.3g}; ArcFace gives about {low:g} to {high:g}, or 1 once "
            "normalised. It may come from another kind of network."
        )
    if identity.recogniser_sha256 is None:
        found.append("The file does not say which recogniser made it; only Arc2Face's arcface.onnx fits.")
    elif recogniser_sha256 is not None and identity.recogniser_sha256 != recogniser_sha256:
        found.append(
            f"This identity was made by another recogniser ({identity.recogniser_sha256[:12]}) than the one in use "
            f"({recogniser_sha256[:12]}); the pictures will show somebody else. Make it again from the photos."
        )
    return found
