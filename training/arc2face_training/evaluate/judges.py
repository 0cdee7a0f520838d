"""What measures the pictures, and how far each judge can be trusted.

Identity: the bundle's own detector and recogniser, as the product uses them. Pose: ridge regression from the 68
landmarks that the bundle's landmark network finds, fitted on renders of other people. Expression: the bundle's
expression encoder, which the generator never learned from (it saw the true numbers). Each judge's own error on renders
of unseen people is reported beside every figure, because no judge is better than that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.engine import Engine
from arc2face.errors import NoFaceError
from arc2face_training.common.world import EXPRESSION_COLUMNS
from arc2face_training.evaluate.subjects import Cast

Float64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
TRAITS = ("yaw", "pitch", "roll", "jaw", "left_lid", "right_lid", "smile", "brow_raise", "frown", "pucker")
SHOWN = {"smile": ("mouthSmile",), "brow_raise": ("browInnerUp", "browOuterUp"), "frown": ("mouthFrown",),
         "pucker": ("mouthPucker",)}  # fmt: skip
"""Traits that are means of expression columns, by how the columns' names begin."""
RIDGE = 1e-3
ANGLES = 3


def traits_of(pose: NDArray[Any], expression55: NDArray[Any]) -> Float64:
    """(10,) in the order of TRAITS: angles in degrees, jaw in radians, the others as coefficients."""
    means = [
        expression55[[k for k, name in enumerate(EXPRESSION_COLUMNS) if name.startswith(begin)]].mean()
        for begin in SHOWN.values()
    ]
    return np.array([*np.degrees(pose), expression55[52], expression55[50], expression55[51], *means], np.float64)


def embedding(engine: Engine, picture: U8) -> NDArray[np.float32] | None:
    """(512,) of length 1, or None when no face is found."""
    try:
        return engine.perception.embed(picture).normalized
    except NoFaceError:
        return None


@dataclass(frozen=True)
class Judge:
    """A fitted landmark regression, and the expression encoder.

    `error`: mean absolute error per trait; `correlation` with the truth, both on renders of unseen people.
    """

    engine: Engine
    weights: Float64
    error: dict[str, float]
    correlation: dict[str, float]

    def traits(self, picture: U8) -> Float64 | None:
        """(10,) in the order of TRAITS, or None when no face is found."""
        row = _features(self.engine, picture)
        return None if row is None else _with_expression(self.engine, picture, row @ self.weights)

    @classmethod
    def fit(cls, engine: Engine, cast: Cast, count: int) -> Judge:
        """Fit on `count` renders of people from another range of odd seeds, test on a third as many."""
        rows: list[Float64] = []
        targets: list[Float64] = []
        pictures: list[U8] = []
        for k in range(count + count // 3):
            person = cast.world.identity(cast.first + 200_000 + 2 * (k // 2))
            drawn = cast.render(person, cast.moment(5_000_000 + k))
            row = None if drawn.rgb_u8 is None else _features(engine, drawn.rgb_u8)
            if row is not None:
                rows.append(row)
                targets.append(traits_of(drawn.pose, drawn.expression55))
                pictures.append(drawn.rgb_u8)
        x, y = np.array(rows), np.array(targets)
        cut = len(x) * 3 // 4
        gram = x[:cut].T @ x[:cut] + RIDGE * cut * np.eye(x.shape[1])
        weights = np.linalg.solve(gram, x[:cut].T @ y[:cut, :ANGLES])
        guess = np.stack(
            [_with_expression(engine, p, r @ weights) for p, r in zip(pictures[cut:], x[cut:], strict=True)]
        )
        truth = y[cut:]
        error = np.abs(guess - truth).mean(0)
        correlation = [pearson(guess[:, k], truth[:, k]) for k in range(len(TRAITS))]
        return cls(
            engine,
            weights,
            dict(zip(TRAITS, map(float, error), strict=True)),
            dict(zip(TRAITS, correlation, strict=True)),
        )


def _with_expression(engine: Engine, picture: U8, angles: Float64) -> Float64:
    """The angles, then the other traits as the expression encoder reads them."""
    numbers = engine.read_expression(picture).values.astype(np.float64)
    return traits_of(np.radians(angles), numbers)


def pearson(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Correlation, 0 when one side is constant."""
    if len(a) < 2 or np.std(a) < 1e-12 or np.std(b) < 1e-12:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _features(engine: Engine, picture: U8) -> Float64 | None:
    """Landmarks about their centre, divided by their spread, with squares of the coarse ones."""
    try:
        points = engine.perception.landmarks(picture).astype(np.float64)
    except NoFaceError:
        return None
    points = (points - points.mean(0)) / max(float(points.std()), 1e-6)
    coarse = points[[0, 8, 16, 27, 30, 33, 36, 39, 42, 45, 48, 51, 54, 57]].ravel()
    return np.concatenate([points.ravel(), np.outer(coarse, coarse)[np.triu_indices(len(coarse))] / 3, [1.0]])
