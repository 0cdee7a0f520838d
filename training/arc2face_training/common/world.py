"""The rendered world that training draws its people from: the one module that chooses it.

Every trainer takes datasets, renders and columns from here. The environment variable TRAINING_WORLD names the world,
for a whole process: `avatars` (where nothing is said) or `people`. What a world must offer:
`arc2face_training.common.worlds`. `N_CODES` is how many of a person's first attributes are coefficients of the head's
shape, `SMILE` how the names of the expression columns of a smile begin, `SPRITE_VIEW` the framing of cut-outs for the
detector.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from arc2face_training.common.errors import TrainingError

WORLDS = ("avatars", "people")
WORLD = os.environ.get("TRAINING_WORLD") or WORLDS[0]

if TYPE_CHECKING or WORLD == "avatars":
    from arc2face_training.common.worlds import avatars as _world
elif WORLD == "people":
    from arc2face_training.common.worlds import people as _world
else:
    raise TrainingError(f"There is no world {WORLD!r}; set TRAINING_WORLD to one of {', '.join(WORLDS)}.")

CROP_POINTS, CROP_SIZE, EXPRESSION_COLUMNS = _world.CROP_POINTS, _world.CROP_SIZE, _world.EXPRESSION_COLUMNS
N_CODES, SMILE, SPRITE_VIEW = _world.N_CODES, _world.SMILE, _world.SPRITE_VIEW
WRITE_COMMAND = _world.WRITE_COMMAND
AvatarDataset = _world.AvatarDataset
AvatarIdentity = _world.AvatarIdentity
AvatarWorld = _world.AvatarWorld
DatasetConfig = _world.DatasetConfig
HeadModel = _world.HeadModel
Rendering = _world.Rendering
State = _world.State
align_crop = _world.align_crop
expression = _world.expression
head_model = _world.head_model
landmark_corners = _world.landmark_corners
n_attributes = _world.n_attributes
open_dataset = _world.open_dataset
rotation = _world.rotation
same_moment = _world.same_moment
sample_background = _world.sample_background
write_dataset = _world.write_dataset


def random_rows(data: AvatarDataset, rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """n pictures of random people among those already written, one of each drawn person."""
    people = rng.choice(np.flatnonzero(np.asarray(data.done)), n)
    return people * data.config.per_person + rng.integers(0, data.config.per_person, n)
