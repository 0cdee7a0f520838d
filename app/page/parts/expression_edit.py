"""The expression being edited, as a value: where it came from, what it is now, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from arc2face.expression.values import amplify, blend, clamped, with_components, with_eyelids, with_jaw
from arc2face.types import Expression, RgbU8

Numbers = tuple[float, ...]
ZERO: Numbers = (0.0,) * 55
MAX_PAST = 50
_LIGHT = np.array([-0.35, 0.45, 0.82], np.float32)
_CLAY = np.array([214.0, 202.0, 188.0], np.float32)


def numbers(expression: Expression) -> Numbers:
    """The 55 numbers as a hashable value."""
    return tuple(float(value) for value in expression.values)


def expression_of(values: Sequence[float]) -> Expression:
    """The other way round."""
    return Expression(np.asarray(values, np.float32))


@dataclass(frozen=True, slots=True)
class Edit:
    """`base` and `other`: what photos or presets gave. `now`: what a run uses. `past`: earlier values of `now`.

    `touched`: the control that made `now`, so that dragging one slider is one step back.
    """

    base: Numbers = ZERO
    other: Numbers | None = None
    now: Numbers = ZERO
    past: tuple[Numbers, ...] = ()
    touched: str = ""

    def to(self, now: Expression, touched: str) -> Edit:
        """The edit after a change of `now`."""
        values = numbers(now)
        if values == self.now:
            return self
        past = self.past if touched == self.touched else (*self.past, self.now)[-MAX_PAST:]
        return replace(self, now=values, past=past, touched=touched)

    def from_source(self, base: Expression, amount: float, share: float) -> Edit:
        """A new photo or preset, at the slider's amount and blend."""
        return replace(self, base=numbers(base)).mixed(amount, share, "source")

    def with_other(self, other: Expression | None, amount: float, share: float) -> Edit:
        """A second photo to blend with, or none."""
        return replace(self, other=None if other is None else numbers(other)).mixed(amount, share, "other")

    def mixed(self, amount: float, share: float, touched: str) -> Edit:
        """`now` made again from the sources: the blend, then the amount."""
        base = expression_of(self.base)
        if self.other is not None:
            base = blend(base, expression_of(self.other), share)
        return self.to(clamped(amplify(base, amount)), touched)

    def with_lids_and_jaw(
        self, left: float, right: float, opening: float, side: float, roll: float, touched: str
    ) -> Edit:
        """Eyelids and jaw from their sliders."""
        now = with_jaw(with_eyelids(expression_of(self.now), left, right), opening, side, roll)
        return self.to(now, touched)

    def with_components(self, values: Sequence[float]) -> Edit:
        """The 50 components from their table."""
        return self.to(with_components(expression_of(self.now), np.asarray(values, np.float32)), "components")

    def back(self) -> Edit:
        """One step back; at the beginning nothing happens."""
        return replace(self, now=self.past[-1], past=self.past[:-1], touched="") if self.past else self

    @property
    def lids_and_jaw(self) -> tuple[float, ...]:
        """Left lid, right lid, jaw opening, side, roll."""
        return self.now[50:]

    @property
    def table(self) -> list[list[float]]:
        """The components as five rows of ten."""
        return [[round(value, 3) for value in self.now[row : row + 10]] for row in range(0, 50, 10)]


def clay(normal_map: RgbU8) -> NDArray[np.uint8]:
    """A normal map as a lit face without texture, (H, W, 4) uint8 RGBA with a transparent ground."""
    normals = normal_map.astype(np.float32) / 127.5 - 1.0
    length = np.linalg.norm(normals, axis=2)
    light = np.clip(normals @ _LIGHT, 0.0, 1.0)[:, :, None]
    lit = _CLAY * (0.38 + 0.62 * light)
    cover = np.clip((length[:, :, None] - 0.3) / 0.4, 0.0, 1.0) * 255.0
    return np.clip(np.rint(np.concatenate([lit, cover], axis=2)), 0, 255).astype(np.uint8)
