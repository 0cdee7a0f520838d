"""The rendered world that training draws its people from: the one module through which trainers know it.

`N_CODES` is how many of a person's first attributes are coefficients of the head's shape, `SMILE` how the names of the
expression columns of a smile begin, `SPRITE_VIEW` the framing of cut-outs for the detector.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from arc2face_training.people import PeopleWorld, Person, Rendering, State, backgrounds, n_attributes
from arc2face_training.people.columns import EXPRESSION_COLUMNS, N_CODES
from arc2face_training.people.dataset import (
    CROP_POINTS,
    CROP_SIZE,
    DatasetConfig,
    PeopleDataset,
    align_crop,
    open_dataset,
    write_dataset,
)
from arc2face_training.people.head import HeadModel, head_model
from arc2face_training.people.landmarks import landmark_vertices
from arc2face_training.people.presets import expression
from arc2face_training.people.state import rotation, same_moment

WRITE_COMMAND = "python -m arc2face_training.people.dataset"
SMILE = "mouthSmile"
SPRITE_VIEW = 1.35

__all__ = [
    "CROP_POINTS",
    "CROP_SIZE",
    "EXPRESSION_COLUMNS",
    "N_CODES",
    "SMILE",
    "SPRITE_VIEW",
    "WRITE_COMMAND",
    "DatasetConfig",
    "HeadModel",
    "PeopleDataset",
    "PeopleWorld",
    "Person",
    "Rendering",
    "State",
    "align_crop",
    "expression",
    "head_model",
    "landmark_corners",
    "n_attributes",
    "open_dataset",
    "random_rows",
    "rotation",
    "same_moment",
    "sample_background",
    "write_dataset",
]


def sample_background(rng: np.random.Generator, size: int = 128) -> NDArray[np.float32]:
    """(size, size, 3) float32 of what may be behind a person."""
    return np.asarray(cv2.resize(backgrounds.sample_background(rng), (size, size)), np.float32)


def landmark_corners(head: HeadModel) -> list[tuple[int, int]]:
    """A triangle of the FLAME head and one of its corners (0, 1, 2) for each of the 68 landmarks."""
    vertices = np.searchsorted(head.flame_vertices, landmark_vertices(head))
    found = (np.argwhere(head.flame_faces == vertex)[0] for vertex in vertices)
    return [(int(face), int(corner)) for face, corner in found]


def random_rows(data: PeopleDataset, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """n pictures of random people among those already written, one of each drawn person."""
    people = rng.choice(np.flatnonzero(np.asarray(data.done)), n)
    return people * data.config.per_person + rng.integers(0, data.config.per_person, n)
