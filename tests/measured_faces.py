"""Small photos of four "people" for the tests that measure sets, and readers on tiny face networks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from arc2face.jobs import DeviceWorker
from arc2face.readers import Perception
from arc2face.types import Runtime
from arc2face.weights.folder import ModelsFolder
from tests.tiny_faces import blank, draw_face, write_antelopev2, write_recogniser

PEOPLE = {"anna": (40, 190, 60), "ben": (200, 200, 0), "cleo": (0, 90, 90), "dora": (90, 60, 20)}


def paint(path: Path, person: str | None, seed: int) -> Path:
    """One small photo; person None shows nobody."""
    rng = np.random.default_rng(seed)
    picture = blank(160, 160)
    if person is not None:
        draw_face(picture, 80 + rng.integers(-6, 7), 80 + rng.integers(-6, 7), 13 + rng.integers(0, 3), PEOPLE[person])
    noisy = np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noisy).save(path)
    return path


def write_models(root: Path) -> Path:
    """Detector, recogniser, landmarks, and a second recogniser `judge.onnx`."""
    write_antelopev2(root / "antelopev2")
    write_recogniser(root / "judge.onnx", seed=9)
    return root


def readers(root: Path) -> Iterator[Perception]:
    """For a fixture: the readers of a folder of models, closed afterwards."""
    perception = Perception(ModelsFolder(root), Runtime("cpu", "fp32"), DeviceWorker(inline=True), inline=True)
    yield perception
    perception.close()
