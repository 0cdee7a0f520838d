"""What changes in the labels of a picture that is mirrored left to right."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

SIGNED = ("mouth_shift",)
EYELIDS, JAW_TURNS = (50, 51), (53, 54)


def mirrored_expressions(rows: Tensor, columns: Sequence[str]) -> Tensor:
    """(n, 55) expressions of the mirror images. `columns`: names of the first columns.

    Names that end in Left and Right (or _left, _right) change places, sideways shifts and turns their sign.
    """
    order, sign = list(range(rows.shape[1])), torch.ones(rows.shape[1])
    place = {name: k for k, name in enumerate(columns)}
    for name, k in place.items():
        for one, other in (("left", "right"), ("right", "left"), ("Left", "Right"), ("Right", "Left")):
            if name.endswith(one):
                order[k] = place.get(name.removesuffix(one) + other, k)
        if name in SIGNED:
            sign[k] = -1
    order[EYELIDS[0]], order[EYELIDS[1]] = EYELIDS[1], EYELIDS[0]
    sign[list(JAW_TURNS)] = -1
    return rows[:, order] * sign


def mirrored_normals(maps: Tensor) -> Tensor:
    """(n, 3, H, W) normal maps in 0..1 of the mirror images: flipped, x to the other side, black background kept."""
    flipped = maps.flip(-1)
    covered = flipped.amax(1) > 0
    x = torch.where(covered, 1 - flipped[:, 0], flipped[:, 0])
    return torch.cat([x[:, None], flipped[:, 1:]], 1)


def mirrored_points(points: Tensor, side: int) -> Tensor:
    """(n, 5, 2) eyes, nose and mouth corners of the mirror images; left and right change places."""
    swapped = points[:, [1, 0, 2, 4, 3]]
    return torch.stack([side - 1 - swapped[..., 0], swapped[..., 1]], -1)
