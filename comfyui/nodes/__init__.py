"""The nodes by what they do: who, which pose, which expression, the pictures, what is done with them."""

from __future__ import annotations

from .expressions import BlendExpressions, ExpressionFromPhoto, ExpressionPreset, ExpressionValues
from .generating import Generate
from .models import Models
from .people import IdentityFromPhotos, LoadIdentity, NewIdentity, NotLike, SaveIdentity
from .poses import PoseFromAngles, PoseFromMap, PoseFromPhoto
from .results import KeepBest, Look, PasteBack, Score

NODES = (
    Models,
    IdentityFromPhotos,
    LoadIdentity,
    SaveIdentity,
    NewIdentity,
    NotLike,
    PoseFromPhoto,
    PoseFromAngles,
    PoseFromMap,
    ExpressionFromPhoto,
    ExpressionValues,
    ExpressionPreset,
    BlendExpressions,
    Look,
    Generate,
    Score,
    KeepBest,
    PasteBack,
)
"""In the order of the menu."""
