"""The people of `arc2face_training.people` under the names that every trainer uses."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from arc2face_training.people import PeopleWorld as AvatarWorld
from arc2face_training.people import Person as AvatarIdentity
from arc2face_training.people import Rendering, State, backgrounds, n_attributes
from arc2face_training.people.columns import EXPRESSION_COLUMNS, N_CODES
from arc2face_training.people.dataset import (
    CROP_POINTS,
    CROP_SIZE,
    DatasetConfig,
    align_crop,
    open_dataset,
    write_dataset,
)
from arc2face_training.people.dataset import PeopleDataset as AvatarDataset
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
    "AvatarDataset",
    "AvatarIdentity",
    "AvatarWorld",
    "DatasetConfig",
    "HeadModel",
    "Rendering",
    "State",
    "align_crop",
    "expression",
    "head_model",
    "landmark_corners",
    "n_attributes",
    "open_dataset",
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
