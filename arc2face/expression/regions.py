"""One face from several: the eyes of one expression, the mouth of another.

Where the head names its numbers, a region is a set of numbers and is copied. FLAME's unnamed components move the whole
face, each a little everywhere; there the components are found whose vertices come nearest, region by region, to those
of the sources (weighted least squares with a ridge). Lids go with the eyes and the jaw with the mouth, exactly, always.

Gaze cannot be mixed: where the eyes look is not among the 55 numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arc2face.errors import SettingsError
from arc2face.expression.shapes import REGIONS, Region, Shapes
from arc2face.settings import one_of
from arc2face.types import Expression

__all__ = ["HeadBasis", "Mixture", "mix_regions"]

Float64Array = NDArray[np.float64]
RIDGE = 1e-3
"""Pull towards the base expression, as a share of the mean squared motion of a component: small, it only decides what
the vertices leave open."""
_SOFT = 0.35
"""Width of the border between two regions, as a share of the distance from the eye line to the mouth line."""
_BROW_LINE, _CHEEK_LINE, _FRONT = 0.35, -0.45, 0.5
"""Heights, from the eye line, in units of the distance to the mouth line; and how far back the face reaches."""


@dataclass(frozen=True, eq=False)
class HeadBasis:
    """A head's motions. `points` (V, 3): rest, metres, x to the subject's left, y up, z towards the viewer.

    `directions` (V, 3, 50): what each component moves. `eyes`, `mouth`: (3,) middle of the eyes and of the mouth.
    """

    points: Float64Array
    directions: Float64Array
    eyes: Float64Array
    mouth: Float64Array

    def weights(self) -> dict[Region, Float64Array]:
        """(V,) per region, 0 to 1, together at most 1: soft borders across the front of the face."""
        span = max(float(self.eyes[1] - self.mouth[1]), 1e-6)
        height = (self.points[:, 1] - self.eyes[1]) / span
        behind = (self.eyes[2] - self.points[:, 2]) / span
        front = 1.0 - _step((behind - _FRONT) / _SOFT)
        brows = _step((height - _BROW_LINE) / _SOFT + 0.5)
        mouth = 1.0 - _step((height - _CHEEK_LINE) / _SOFT + 0.5)
        return {"brows": front * brows, "eyes": front * (1.0 - brows - mouth).clip(0.0), "mouth": front * mouth}


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """`expression`: the mix. `exact`: whether numbers were copied rather than fitted.

    `fit`: per region, the share of its vertices' wanted motion that is met, at most 1; empty when exact.
    """

    expression: Expression
    exact: bool
    fit: Mapping[Region, float]


def mix_regions(
    base: Expression, parts: Mapping[Region, Expression], shapes: Shapes | None, basis: HeadBasis | None
) -> Mixture:
    """`base` with some regions taken from other expressions.

    Args:
        base: gives every region that `parts` does not name.
        parts: expression by region, of `REGIONS`.
        shapes: the head's names; None where it has none.
        basis: the head's motions, used where there are no names.

    Raises:
        SettingsError: an unknown region, or neither names nor a head at hand.
    """
    for region in parts:
        if region not in REGIONS:
            raise SettingsError(f"A face has no region {region!r} here; mix {one_of(REGIONS)}. Gaze is no number.")
    if shapes is not None:
        return Mixture(_copied(base, parts, shapes), True, {})
    if basis is None:
        raise SettingsError(
            "Mixing regions needs a head model: FLAME's components move the whole face, and only on a head can be seen "
            "what they move. Fetch one with: arc2face download pose"
        )
    values = base.values.copy()
    _copy_joints(values, parts)
    values[:50], fit = _fitted(base, parts, basis)
    return Mixture(Expression(values), False, fit)


def _copied(base: Expression, parts: Mapping[Region, Expression], shapes: Shapes) -> Expression:
    values = base.values.copy()
    for place, name in enumerate(shapes.columns):
        source = parts.get(shapes.region(name))
        if source is not None:
            values[place] = source.values[place]
    _copy_joints(values, parts)
    return Expression(values)


def _copy_joints(values: NDArray[np.float32], parts: Mapping[Region, Expression]) -> None:
    if "eyes" in parts:
        values[50:52] = parts["eyes"].eyelids
    if "mouth" in parts:
        values[52:55] = parts["mouth"].jaw


def _fitted(
    base: Expression, parts: Mapping[Region, Expression], basis: HeadBasis
) -> tuple[Float64Array, dict[Region, float]]:
    """Min over c of sum_r || W_r D (c - c_r) ||^2 + ridge || c - c_base ||^2, by its 50 normal equations."""
    weights = basis.weights()
    own = base.components.astype(np.float64)
    wanted = {region: parts[region].components.astype(np.float64) if region in parts else own for region in REGIONS}
    grams = {region: _gram(basis.directions, weights[region]) for region in REGIONS}
    total = sum(grams.values(), np.zeros((50, 50)))
    ridge = RIDGE * max(float(np.trace(total)) / 50, 1e-12) * np.eye(50)
    right = sum((grams[region] @ wanted[region] for region in REGIONS), np.zeros(50)) + ridge @ own
    found = np.asarray(np.linalg.solve(total + ridge, right), np.float64)
    fit: dict[Region, float] = {}
    for region in parts:
        missed, asked = found - wanted[region], wanted[region] - own
        motion = float(asked @ grams[region] @ asked)
        fit[region] = 1.0 if motion <= 1e-18 else 1.0 - float(missed @ grams[region] @ missed) / motion
    return found, fit


def _gram(directions: Float64Array, weights: Float64Array) -> Float64Array:
    weighted = (directions * weights[:, None, None]).reshape(-1, directions.shape[2])
    return weighted.T @ weighted


def _step(t: Float64Array) -> Float64Array:
    t = t.clip(0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
