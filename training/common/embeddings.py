"""Identity embeddings of a rendered dataset, computed once per recogniser and kept beside it."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.common.checkpoint import write_atomically
from training.common.errors import TrainingError
from training.common.world import AvatarDataset

log = logging.getLogger(__name__)
SURROGATE_NOISE = 0.5


def dataset_embeddings(
    data: AvatarDataset, folder: Path, recogniser: Path | None, batch: int = 128
) -> NDArray[np.float16]:
    """(n, 512) float16 rows of length 1, in the order of the dataset's pictures."""
    if recogniser is None:
        return surrogate_embeddings(data)
    if not recogniser.exists():
        raise TrainingError(f"The recogniser {recogniser} does not exist. Train it first: arc2face train recogniser")
    digest = hashlib.sha256(recogniser.read_bytes()).hexdigest()[:12]
    cached = folder / f"embeddings-{digest}-{int(data.done.sum())}.npy"
    if not cached.exists():
        rows = _embed_all(recogniser, data.crops, batch)
        write_atomically(cached, lambda path: np.save(path, rows))
    return np.load(cached, mmap_mode="r")


def surrogate_embeddings(data: AvatarDataset) -> NDArray[np.float16]:
    """Ground-truth attributes through a fixed random projection, with noise, of length 1."""
    generator = np.random.default_rng(7)
    attributes = np.array(data.attributes[:], np.float32)
    known = attributes[data.done]
    scaled = (attributes - known.mean(0)) / (known.std(0) + 0.1)
    person = _unit(scaled @ generator.standard_normal((scaled.shape[1], 512)))
    rows = np.repeat(person, data.config.per_person, axis=0)
    noise = generator.standard_normal(rows.shape, np.float32) * SURROGATE_NOISE / 512**0.5
    return _unit(rows + noise).astype(np.float16)


def _embed_all(recogniser: Path, crops: NDArray[np.uint8], batch: int) -> NDArray[np.float16]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(recogniser), providers=onnxruntime.get_available_providers())
    name = session.get_inputs()[0].name
    rows = np.zeros((len(crops), 512), np.float16)
    for start in range(0, len(crops), batch):
        part = crops[start : start + batch].astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1
        rows[start : start + batch] = _unit(np.asarray(session.run(None, {name: part})[0]))
        if start // batch % 50 == 0:
            log.info("embedding picture %d of %d", start, len(crops))
    return rows


def _unit(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
