"""The rendered world that training draws its people from: the one module that names it.

Every trainer takes datasets, renders and columns from here, so that another world is a change of this file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.avatars import AvatarIdentity, AvatarWorld, Rendering, State
from training.avatars.columns import EXPRESSION_COLUMNS, IDENTITY_COLUMNS
from training.avatars.dataset import (
    CROP_POINTS,
    CROP_SIZE,
    AvatarDataset,
    DatasetConfig,
    align_crop,
    open_dataset,
    write_dataset,
)
from training.avatars.head import HeadModel, head_model
from training.avatars.looks import N_ATTRIBUTES
from training.avatars.state import rotation, same_moment, sample_background

WRITE_COMMAND = "python -m training.avatars.dataset"

__all__ = [
    "CROP_POINTS",
    "CROP_SIZE",
    "EXPRESSION_COLUMNS",
    "IDENTITY_COLUMNS",
    "N_ATTRIBUTES",
    "WRITE_COMMAND",
    "AvatarDataset",
    "AvatarIdentity",
    "AvatarWorld",
    "DatasetConfig",
    "HeadModel",
    "Rendering",
    "State",
    "align_crop",
    "head_model",
    "open_dataset",
    "random_rows",
    "rotation",
    "same_moment",
    "sample_background",
    "write_dataset",
]


def random_rows(data: AvatarDataset, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """n pictures of random people among those already written, one of each drawn person."""
    people = rng.choice(np.flatnonzero(np.asarray(data.done)), n)
    return people * data.config.per_person + rng.integers(0, data.config.per_person, n)
