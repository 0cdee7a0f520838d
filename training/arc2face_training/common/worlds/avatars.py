"""The avatars under the names that every trainer uses."""

from __future__ import annotations

import numpy as np

from arc2face_training.avatars import AvatarIdentity, AvatarWorld, Rendering, State
from arc2face_training.avatars.columns import EXPRESSION_COLUMNS, IDENTITY_COLUMNS
from arc2face_training.avatars.dataset import (
    CROP_POINTS,
    CROP_SIZE,
    AvatarDataset,
    DatasetConfig,
    align_crop,
    open_dataset,
    write_dataset,
)
from arc2face_training.avatars.head import HeadModel, head_model
from arc2face_training.avatars.looks import N_ATTRIBUTES
from arc2face_training.avatars.presets import expression
from arc2face_training.avatars.state import rotation, same_moment, sample_background

WRITE_COMMAND = "python -m arc2face_training.avatars.dataset"
N_CODES = len(IDENTITY_COLUMNS)
SMILE = "smile"
SPRITE_VIEW = 3.3

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


def n_attributes() -> int:
    """Length of a person's `attributes()`."""
    return N_ATTRIBUTES


def landmark_corners(head: HeadModel) -> list[tuple[int, int]]:
    """A triangle of the head and one of its corners (0, 1, 2) for each of the 68 landmarks."""
    found = (np.argwhere(head.faces == vertex)[0] for vertex in head.landmarks)
    return [(int(face), int(corner)) for face, corner in found]
