"""Moments of a face: half of them calm, the others as faces move them, by ARKit's names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arc2face_training.people.columns import EXPRESSION_COLUMNS

Float32 = NDArray[np.float32]
CALM = 0.5
FACES: dict[str, tuple[tuple[dict[str, float], float, float], ...]] = {
    "mouth": (
        ({"mouthSmile": 1.0, "cheekSquint": 0.6, "eyeSquint": 0.3}, 4.0, 0.25),
        ({"mouthSmile": 0.8, "mouthUpperUp": 0.35, "mouthDimple": 0.3}, 1.5, 0.5),
        ({"mouthFrown": 1.0, "mouthShrugLower": 0.4}, 1.6, 0.1),
        ({"mouthPucker": 1.0}, 1.4, 0.05),
        ({"mouthFunnel": 0.9}, 0.9, 0.5),
        ({"mouthPress": 0.9, "mouthRollLower": 0.2}, 0.8, 0.0),
        ({"mouthSmileLeft": 0.9, "mouthDimpleLeft": 0.4}, 0.7, 0.1),
        ({"mouthSmileRight": 0.9, "mouthDimpleRight": 0.4}, 0.7, 0.1),
        ({"mouthLeft": 0.8}, 0.4, 0.1),
        ({"mouthRight": 0.8}, 0.4, 0.1),
        ({"noseSneer": 0.9, "mouthUpperUp": 0.6}, 0.7, 0.2),
        ({"mouthStretch": 0.9, "mouthLowerDown": 0.5}, 0.6, 0.4),
        ({"cheekPuff": 0.9, "mouthPucker": 0.2}, 0.5, 0.0),
        ({"mouthRollLower": 0.8, "mouthRollUpper": 0.6}, 0.4, 0.0),
        ({"mouthUpperUp": 0.7, "mouthLowerDown": 0.7}, 0.6, 0.3),
        ({"mouthShrugUpper": 0.6, "mouthShrugLower": 0.8}, 0.5, 0.0),
        ({"tongueOut": 1.0, "mouthFunnel": 0.2}, 0.15, 1.0),
    ),
    "brow": (
        ({"browInnerUp": 0.8, "browOuterUp": 0.9}, 1.6, 0.0),
        ({"browDown": 1.0}, 1.6, 0.0),
        ({"browInnerUp": 1.0}, 0.8, 0.0),
        ({"browOuterUpLeft": 1.0, "browDownRight": 0.3}, 0.35, 0.0),
        ({"browOuterUpRight": 1.0, "browDownLeft": 0.3}, 0.35, 0.0),
    ),
    "eyes": (
        ({"eyeWide": 1.0}, 1.0, 0.0),
        ({"eyeSquint": 1.0}, 1.2, 0.0),
        ({"eyeSquintLeft": 1.0, "cheekSquintLeft": 0.6}, 0.15, 0.0),
        ({"eyeSquintRight": 1.0, "cheekSquintRight": 0.6}, 0.15, 0.0),
    ),
}
"""By region: components, odds, and how likely the jaw opens with it."""
_ODDS = {"mouth": 0.72, "brow": 0.5, "eyes": 0.34}


def sample_expression(rng: np.random.Generator, calm: float = CALM) -> tuple[Float32, Float32, Float32]:
    """Expression (50,), lids (2,) and jaw (3,) of a moment; `calm`: share of moments without an expression."""
    expression, lids, jaw = np.zeros(50, np.float32), np.zeros(2, np.float32), np.zeros(3, np.float32)
    if rng.random() < calm:
        _micro(rng, expression)
        return expression, lids, jaw
    open_jaw = 0.15
    for region, faces in FACES.items():
        if rng.random() < _ODDS[region]:
            odds = np.array([face[1] for face in faces])
            parts, _, opening = faces[int(rng.choice(len(faces), p=odds / odds.sum()))]
            open_jaw = max(open_jaw, opening)
            _add(expression, parts, float(np.sqrt(rng.uniform(0.08, 1.0))), rng)
    if rng.random() < 0.25:
        column = int(rng.integers(len(EXPRESSION_COLUMNS) - 2))
        expression[column] = max(expression[column], rng.uniform(0.1, 0.7))
    _lids(rng, lids)
    if rng.random() < open_jaw:
        jaw[0] = rng.uniform(0.02, 0.36) * rng.uniform(0.4, 1)
        jaw[1] = float(np.clip(rng.normal(0, 0.025), -0.07, 0.07))
    elif rng.random() < 0.12:
        jaw[1] = float(np.clip(rng.normal(0, 0.04), -0.07, 0.07))
    if jaw[0] > 0.1 and rng.random() < 0.08:
        expression[EXPRESSION_COLUMNS.index("mouthClose")] = rng.uniform(0.2, 0.8) * jaw[0] / 0.36
    return np.clip(expression, 0, 1), lids, jaw


def _micro(rng: np.random.Generator, expression: Float32) -> None:
    """A trace of one expression in a third of the calm moments: faces are never plaster."""
    if rng.random() < 0.35:
        parts = FACES["mouth"][int(rng.integers(3))][0]
        _add(expression, parts, float(rng.uniform(0.03, 0.16)), rng)


def _lids(rng: np.random.Generator, lids: Float32) -> None:
    kind = rng.random()
    if kind < 0.13:
        lids[:] = rng.uniform(0.85, 1) if rng.random() < 0.5 else rng.uniform(0.1, 0.85)
    elif kind < 0.25:
        lids[int(kind < 0.19)] = rng.uniform(0.8, 1) if rng.random() < 0.6 else rng.uniform(0.2, 0.8)


def _add(expression: Float32, parts: dict[str, float], strength: float, rng: np.random.Generator) -> None:
    for name, weight in parts.items():
        names = (name,) if name in EXPRESSION_COLUMNS else (f"{name}Left", f"{name}Right")
        skew = float(rng.normal(0, 0.08)) if len(names) == 2 else 0.0
        for sign, column in zip((1, -1), names, strict=False):
            expression[EXPRESSION_COLUMNS.index(column)] += weight * strength * (1 + sign * skew)
