"""Procedural 3D avatars: unlimited, licence-free faces with exact ground truth.

Start with `AvatarWorld`: `world.identity(seed)`, `world.sample_state(rng)`, `world.render(identity, state)`.
Even identity seeds are for training, odd ones for evaluation, seeds of 2**31 and above are for nobody here.
"""

from arc2face_training.avatars.columns import EXPRESSION_COLUMNS, IDENTITY_COLUMNS
from arc2face_training.avatars.state import State, sample_state
from arc2face_training.avatars.world import AvatarIdentity, AvatarWorld, Rendering

__all__ = [
    "EXPRESSION_COLUMNS",
    "IDENTITY_COLUMNS",
    "AvatarIdentity",
    "AvatarWorld",
    "Rendering",
    "State",
    "sample_state",
]
