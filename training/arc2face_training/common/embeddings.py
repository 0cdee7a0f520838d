"""Identity embeddings of a rendered dataset, computed once per recogniser and kept beside it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from arc2face.weights.store import hash_file
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.session import Session
from arc2face_training.common.shares import filled
from arc2face_training.common.world import PeopleDataset

log = logging.getLogger(__name__)
SURROGATE_NOISE = 0.5


def dataset_embeddings(
    data: PeopleDataset, folder: Path, recogniser: Path | None, session: Session | None = None
) -> NDArray[np.float16]:
    """(n, 512) float16 rows of length 1, in the order of the dataset's pictures. Raises as `filled`."""
    if recogniser is None:
        return surrogate_embeddings(data)
    if not recogniser.exists():
        raise TrainingError(f"The recogniser {recogniser} does not exist. Train it first: arc2face train recogniser")
    network = _Network(recogniser)

    def write(store: NDArray[np.float16], people: NDArray[np.int64]) -> None:
        rows = np.concatenate([np.arange(s.start, s.stop) for s in map(data.rows, people)])
        store[rows] = network.embed(data.crops[rows])
        log.info("embeddings up to person %d of %d", people[-1] + 1, len(data.done))

    path = folder / f"embeddings-{hash_file(recogniser)[:12]}.npy"
    return filled(path, (len(data.crops), 512), np.asarray(data.done), write, session)


def surrogate_embeddings(data: PeopleDataset) -> NDArray[np.float16]:
    """Ground-truth attributes through a fixed random projection, with noise, of length 1."""
    generator = np.random.default_rng(7)
    attributes = np.array(data.attributes[:], np.float32)
    known = attributes[data.done]
    scaled = (attributes - known.mean(0)) / (known.std(0) + 0.1)
    person = _unit(scaled @ generator.standard_normal((scaled.shape[1], 512)))
    rows = np.repeat(person, data.config.per_person, axis=0)
    noise = generator.standard_normal(rows.shape, np.float32) * SURROGATE_NOISE / 512**0.5
    return _unit(rows + noise).astype(np.float16)


class _Network:
    def __init__(self, recogniser: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        providers = onnxruntime.get_available_providers()
        self.session = onnxruntime.InferenceSession(str(recogniser), options, providers=providers)
        self.name = self.session.get_inputs()[0].name

    def embed(self, crops: NDArray[np.uint8]) -> NDArray[np.float16]:
        part = crops.astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1
        return _unit(np.asarray(self.session.run(None, {self.name: part})[0])).astype(np.float16)


def _unit(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
