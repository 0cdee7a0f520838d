"""The expression being edited, as a value: where it came from, what it is now, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face import checks
from arc2face.errors import ExpressionError
from arc2face.expression.values import with_components
from arc2face.sources import Mixed, edit_expression
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
    """What is being edited: `now` is always `base`, blended with `other`, times the amount.

    `base` and `other`: what photos or presets gave. `now`: what a run uses. `past`: earlier values of `now`.
    `touched`: the control that made `now`, so that dragging one slider is one step back. `source`: what gave the base,
    such as a file or a name. A number that is set by hand, by a recipe or by a file becomes the new base, at amount 1,
    with nothing blended in and no source.
    """

    base: Numbers = ZERO
    other: Numbers | None = None
    now: Numbers = ZERO
    past: tuple[Numbers, ...] = ()
    touched: str = ""
    source: str = ""

    def to(self, now: Expression, touched: str) -> Edit:
        """The edit after a direct change; the base follows."""
        return replace(self._changed(numbers(now), touched), base=numbers(now), source="")

    def shaped(self, edits: Mixed, touched: str) -> Edit:
        """Eyelids or jaw from a slider; every other number stays exactly as it was."""
        return self.to(edit_expression(expression_of(self.now), None, edits), touched)

    def from_source(self, base: Expression, amount: float, share: float, source: str = "") -> Edit:
        """A new photo or preset, at the slider's amount and blend."""
        return replace(self, base=numbers(base), source=source).mixed(amount, share, "source")

    def with_other(self, other: Expression | None, amount: float, share: float) -> Edit:
        """A second photo to blend with, or none."""
        return replace(self, other=None if other is None else numbers(other)).mixed(amount, share, "other")

    def mixed(self, amount: float, share: float, touched: str) -> Edit:
        """`now` made again from base and other."""
        other = None if self.other is None else expression_of(self.other)
        now = edit_expression(expression_of(self.base), other, Mixed(share=share, amount=amount))
        return self._changed(numbers(now), touched)

    def with_table(self, rows: Sequence[Sequence[Any]]) -> Edit:
        """The 50 components from their table; cells that still show what they showed keep every decimal."""
        shown = [value for row in self.table for value in row]
        given = [_cell(value) for row in rows for value in row]
        if len(given) != len(shown):
            raise ExpressionError(f"The table holds {len(shown)} components, not {len(given)}.")
        kept = [old if new == seen else new for old, new, seen in zip(self.now, given, shown, strict=False)]
        return self.to(with_components(expression_of(self.now), np.asarray(kept, np.float32)), "components")

    def back(self) -> Edit:
        """One step back; at the beginning nothing happens."""
        if not self.past:
            return self
        return replace(self, base=self.past[-1], now=self.past[-1], past=self.past[:-1], touched="", source="")

    def _changed(self, now: Numbers, touched: str) -> Edit:
        if now == self.now:
            return self
        past = self.past if touched == self.touched else (*self.past, self.now)[-MAX_PAST:]
        return replace(self, now=now, past=past, touched=touched)

    @property
    def table(self) -> list[list[float]]:
        """The components as five rows of ten."""
        return [[round(value, 3) for value in self.now[row : row + 10]] for row in range(0, 50, 10)]


def _cell(value: Any) -> float:
    """A cell as people leave it: empty is 0. Raises ExpressionError."""
    if value in (None, ""):
        return 0.0
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ExpressionError(f"A component is a number, not {checks.shown(value)}.") from error


def clay(normal_map: RgbU8) -> NDArray[np.uint8]:
    """A normal map as a lit face without texture, (H, W, 4) uint8 RGBA with a transparent ground."""
    normals = normal_map.astype(np.float32) / 127.5 - 1.0
    length = np.linalg.norm(normals, axis=2)
    light = np.clip(normals @ _LIGHT, 0.0, 1.0)[:, :, None]
    lit = _CLAY * (0.38 + 0.62 * light)
    cover = np.clip((length[:, :, None] - 0.3) / 0.4, 0.0, 1.0) * 255.0
    return np.clip(np.rint(np.concatenate([lit, cover], axis=2)), 0, 255).astype(np.uint8)
