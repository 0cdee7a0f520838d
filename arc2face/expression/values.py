"""Expressions as numbers: building, editing, checking, and files.

FLAME's 50 expression components have no names of their own (they are directions found by analysis of scans), so named
edits act on the two eyelids and the three jaw rotations, and on the components as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from arc2face import checks
from arc2face.errors import ExpressionError, SettingsError
from arc2face.types import EXPRESSION_SIZE, Expression
from arc2face.weights.store import replace_with

COMPONENTS = 50
COMPONENT_LIMIT = 10.0
"""Largest accepted magnitude of a component; photographs give about -3 to 3."""
EYELID_RANGE = (0.0, 1.0)
"""0 open, 1 closed."""
JAW_OPEN_RANGE = (0.0, 0.9)
"""Radians. The widest human opening is about 0.6; the rest is room for exaggeration."""
JAW_TURN_RANGE = (-0.3, 0.3)
"""Radians, for the two other jaw rotations: SMIRK's range of +-0.2 times the largest amplitude."""
AMOUNT_RANGE = (0.0, 1.5)
"""Amplitude: 0 neutral, 1 as in the photo."""

FORMAT = "arc2face-expression"
UNITS = {
    "components": "FLAME expression coefficients, dimensionless, within +-10",
    "eyelids": "0 open to 1 closed, left and right of the person",
    "jaw": "axis-angle in radians: open 0 to 0.9, side and roll within +-0.3",
}
MAX_JSON_BYTES = 1 << 18


def from_parts(
    components: ArrayLike | None = None,
    eyelids: Sequence[float] = (0.0, 0.0),
    jaw: Sequence[float] = (0.0, 0.0, 0.0),
) -> Expression:
    """An expression from its parts, checked against the ranges of this module.

    Args:
        components: up to 50 numbers, the rest is 0; None for all 0.
        eyelids: left, right of the person, 0 open to 1 closed.
        jaw: open, side, roll in radians.

    Raises:
        ExpressionError: too many numbers, NaN, or a value outside its range (which the message gives).
    """
    shape = np.zeros(COMPONENTS, np.float64)
    given = _numbers(components if components is not None else (), "components")
    if given.size > COMPONENTS:
        raise ExpressionError(f"An expression has at most {COMPONENTS} components, not {given.size}.")
    shape[: given.size] = given
    lids, rotations = _numbers(eyelids, "eyelids"), _numbers(jaw, "jaw")
    if lids.size != 2 or rotations.size != 3:
        raise ExpressionError(f"An expression has 2 eyelids and 3 jaw rotations, not {lids.size} and {rotations.size}.")
    return check_expression(Expression(np.concatenate([shape, lids, rotations]).astype(np.float32)))


def check_expression(expression: Expression) -> Expression:
    """The same expression, when every number lies in its range; otherwise ExpressionError with the range.

    For numbers that people or programs enter. What SMIRK reads from a photo is used as it is.
    """
    _within(expression.components, (-COMPONENT_LIMIT, COMPONENT_LIMIT), "Expression component", first=1)
    _within(expression.eyelids, EYELID_RANGE, "Eyelid (1 left, 2 right)", first=1)
    _within(expression.jaw[:1], JAW_OPEN_RANGE, "Jaw opening in radians")
    _within(expression.jaw[1:], JAW_TURN_RANGE, "Jaw rotation in radians (1 side, 2 roll)", first=1)
    return expression


def clamped(expression: Expression) -> Expression:
    """The nearest expression within the ranges of this module, e.g. to put a photo's numbers on sliders."""
    values = expression.values.copy()
    values[:50] = np.clip(values[:50], -COMPONENT_LIMIT, COMPONENT_LIMIT)
    values[50:52] = np.clip(values[50:52], *EYELID_RANGE)
    values[52] = np.clip(values[52], *JAW_OPEN_RANGE)
    values[53:] = np.clip(values[53:], *JAW_TURN_RANGE)
    return Expression(values)


def amplify(expression: Expression, amount: float) -> Expression:
    """Scale an expression: 0 neutral, 1 unchanged, up to 1.5 exaggerated.

    Beyond 1, values stop at the ends of their ranges (a closed eye cannot close further), unless the photo's own
    value already lay outside: amount 1 returns exactly the input.
    """
    factor = _ranged(amount, AMOUNT_RANGE, "The amplitude")
    if factor == 1.0:
        return expression
    scaled = Expression(expression.values * np.float32(factor))
    return scaled if factor < 1.0 else clamped(scaled)


def blend(a: Expression, b: Expression, t: float) -> Expression:
    """Straight line between two expressions: t = 0 gives `a`, 1 gives `b`."""
    share = np.float32(_ranged(t, (0.0, 1.0), "The blend"))
    return Expression(a.values * (np.float32(1.0) - share) + b.values * share)


def with_eyelids(expression: Expression, left: float | None = None, right: float | None = None) -> Expression:
    """Replace one or both eyelids (of the person), 0 open to 1 closed."""
    values = expression.values.copy()
    for index, value, name in ((50, left, "The left eyelid"), (51, right, "The right eyelid")):
        if value is not None:
            values[index] = _ranged(value, EYELID_RANGE, name)
    return Expression(values)


def with_jaw(
    expression: Expression, open: float | None = None, side: float | None = None, roll: float | None = None
) -> Expression:
    """Replace jaw rotations, radians: `open` 0 to 0.9, `side` and `roll` within +-0.3."""
    values = expression.values.copy()
    rows = (
        (52, open, JAW_OPEN_RANGE, "The jaw opening"),
        (53, side, JAW_TURN_RANGE, "The sideways jaw rotation"),
        (54, roll, JAW_TURN_RANGE, "The rolling jaw rotation"),
    )
    for index, value, limits, name in rows:
        if value is not None:
            values[index] = _ranged(value, limits, name)
    return Expression(values)


def with_components(expression: Expression, components: ArrayLike) -> Expression:
    """Replace the expression components (up to 50, the rest becomes 0); lids and jaw stay."""
    part = from_parts(components)
    return Expression(np.concatenate([part.components, expression.values[COMPONENTS:]]))


def neutralise(expression: Expression, *, keep_eyelids: bool = False, keep_jaw: bool = False) -> Expression:
    """All zeros, except the parts that are kept."""
    values = np.zeros(EXPRESSION_SIZE, np.float32)
    if keep_eyelids:
        values[50:52] = expression.eyelids
    if keep_jaw:
        values[52:55] = expression.jaw
    return Expression(values)


def to_dict(expression: Expression) -> dict[str, Any]:
    """JSON-ready form with named fields and units; `from_dict` reads it."""
    left, right = (float(value) for value in expression.eyelids)
    opening, side, roll = (float(value) for value in expression.jaw)
    return {
        "format": FORMAT,
        "version": 1,
        "units": dict(UNITS),
        "components": [float(value) for value in expression.components],
        "eyelids": {"left": left, "right": right},
        "jaw": {"open": opening, "side": side, "roll": roll},
    }


def from_dict(data: object) -> Expression:
    """Read `to_dict`'s form. Missing parts are neutral; a plain list of 55 numbers is accepted too.

    Raises:
        ExpressionError: another structure, wrong lengths, NaN, or values outside their ranges.
    """
    if isinstance(data, list):
        return check_expression(Expression(_numbers(cast("list[Any]", data), "values").astype(np.float32)))
    if not isinstance(data, dict):
        raise ExpressionError("An expression file holds one JSON object with components, eyelids and jaw.")
    fields = cast("dict[str, Any]", data)
    if fields.get("format", FORMAT) != FORMAT:
        raise ExpressionError(f"This file is of the format {checks.shown(fields['format'])}, not {FORMAT!r}.")
    lids = _named(fields.get("eyelids", {}), ("left", "right"), "eyelids")
    jaw = _named(fields.get("jaw", {}), ("open", "side", "roll"), "jaw")
    return from_parts(fields.get("components"), lids, jaw)


def save_expression(path: Path, expression: Expression) -> Path:
    """Write JSON; the file appears whole or not at all. Raises StorageError."""
    target = Path(path)
    with replace_with(target) as temporary:
        temporary.write_text(json.dumps(to_dict(expression), indent=2) + "\n", encoding="utf-8")
    return target


def load_expression(path: Path) -> Expression:
    """Read a JSON file written by `save_expression`.

    Raises:
        ExpressionError: unreadable, not JSON, or unusable numbers.
    """
    return from_dict(read_json(Path(path)))


def read_json(path: Path) -> object:
    """Parsed content of a small JSON file; ExpressionError when it is none."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ExpressionError(f"{path.name} is too large for an expression file. Choose another file.")
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExpressionError(
            f"{path.name} cannot be read as an expression file (JSON). Choose another one."
        ) from error


def _named(value: object, names: tuple[str, ...], field: str) -> list[float]:
    if isinstance(value, list) and len(cast("list[Any]", value)) == len(names):
        return [float(number) for number in _numbers(cast("list[Any]", value), field)]
    if not isinstance(value, dict):
        raise ExpressionError(f"The field {field} needs the numbers {', '.join(names)}.")
    entries = cast("dict[str, Any]", value)
    unknown = sorted(entries.keys() - set(names))
    if unknown:
        raise ExpressionError(f"The field {field} has no {checks.shown(unknown[0])}; it takes {', '.join(names)}.")
    return [float(number) for number in _numbers([entries.get(name, 0.0) for name in names], field)]


def _numbers(values: object, name: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiu" and array.size:
            raise ValueError("not numbers")
        flat = array.astype(np.float64).reshape(-1)
    except (TypeError, ValueError) as error:
        raise ExpressionError(f"The expression's {name} must be numbers.") from error
    if not np.isfinite(flat).all():
        raise ExpressionError(f"The expression's {name} hold NaN or infinite numbers.")
    return flat


def _ranged(value: object, limits: tuple[float, float], name: str) -> float:
    try:
        return checks.number(name, value, limits)
    except SettingsError as error:
        raise ExpressionError(str(error)) from error


def _within(values: ArrayLike, limits: tuple[float, float], name: str, first: int | None = None) -> None:
    array = np.asarray(values, np.float64).reshape(-1)
    outside = np.flatnonzero((array < limits[0] - 1e-6) | (array > limits[1] + 1e-6))
    if outside.size:
        place = "" if first is None else f" number {int(outside[0]) + first}"
        raise ExpressionError(
            f"{name}{place} must lie between {limits[0]:g} and {limits[1]:g}, not {array[outside[0]]:.4g}."
        )
