"""A freshly drawn person who does not exist, for those without a photo at hand."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from arc2face.errors import InputError

FRESH_SIZE = 512
FRESH_SEEDS = range(100_001, 2**31, 2)
"""Odd, as for evaluation: nobody the starter models were trained on."""


def render_avatar(seed: int, target: Path) -> None:
    """Render a person who does not exist into a PNG.

    Raises:
        InputError: this installation has no renderer (the `training` package is not there).
    """
    try:
        avatars: Any = importlib.import_module("arc2face_training.avatars")
    except ImportError as error:
        raise InputError("This installation cannot render new people; pick one of the examples instead.") from error
    import numpy as np

    from arc2face.pictures.saving import save_picture

    world = avatars.AvatarWorld()
    state = world.sample_state(np.random.default_rng(seed))
    save_picture(world.render(world.identity(seed), state, FRESH_SIZE, want=("rgb",)).rgb_u8, target)
