"""Which expression: numbers, a preset, a file or photos, and one order of edits for everybody.

The order: blend with a second expression, amplify, neutralise parts, set eyelids and jaw, bring into the ranges.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arc2face import checks
from arc2face.errors import SettingsError
from arc2face.expression.presets import load_presets
from arc2face.expression.values import (
    amplify,
    blend,
    clamped,
    from_dict,
    load_expression,
    with_eyelids,
    with_jaw,
)
from arc2face.faces.photo import Photo
from arc2face.pictures.loading import ImageSource
from arc2face.settings import one_of
from arc2face.types import EXPRESSION_SIZE, Expression

if TYPE_CHECKING:
    from arc2face.engine import Engine

PARTS = ("components", "eyelids", "jaw")
_ROWS = {"components": slice(0, 50), "eyelids": slice(50, 52), "jaw": slice(52, EXPRESSION_SIZE)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    """The edits of an expression, in the order in which they act; None leaves a number as it is.

    `share`: of the second expression, 0 to 1. `amount`: 0 neutral, 1 as found, up to 1.5 exaggerated.
    `neutralise`: parts that become neutral, of `PARTS`. `left_eyelid`, `right_eyelid`: of the person, 0 open to 1
    closed. `jaw_open`: radians, 0 to 0.9; `jaw_side`, `jaw_roll`: radians, within +-0.3.
    """

    share: float = 0.5
    amount: float = 1.0
    neutralise: tuple[str, ...] = ()
    left_eyelid: float | None = None
    right_eyelid: float | None = None
    jaw_open: float | None = None
    jaw_side: float | None = None
    jaw_roll: float | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ExpressionSource:
    """Where an expression comes from: at most one of photo, values, file and preset; none of them is neutral.

    `face`, `second_face`: which face of a photo, from 0, None for the best. `second`: a second photo to blend with.
    `values`: an Expression, or what `arc2face.expression.values.from_dict` reads.
    """

    photo: Photo | ImageSource | None = None
    face: int | None = None
    second: Photo | ImageSource | None = None
    second_face: int | None = None
    values: Expression | object | None = None
    file: Path | None = None
    preset: str | None = None
    edits: Mixed = Mixed()


def find_expression(engine: Engine, source: ExpressionSource) -> Expression:
    """The expression that a source describes, edited.

    Raises:
        SettingsError: two sources, an unknown preset or part, or a second photo without a first expression.
        ExpressionError: numbers outside their ranges, or an unreadable file.
        NoFaceError, MissingWeightsError: a photo could not be read.
    """
    kinds = [source.photo, source.values, source.file, source.preset]
    if sum(kind is not None for kind in kinds) > 1:
        raise SettingsError("Give one source of the expression: a photo, numbers, a file, or a preset.")
    if source.second is not None and not any(kind is not None for kind in kinds):
        raise SettingsError("A second photo is blended with a first expression; give that too.")
    other = None
    if source.second is not None:
        other = engine.read_expression(Photo.of(source.second, "the second expression photo"), source.second_face)
    return edit_expression(_first(engine, source), other, source.edits)


def edit_expression(first: Expression, second: Expression | None, edits: Mixed) -> Expression:
    """Blend, amplify, neutralise, eyelids and jaw, clamp: the one order of edits. Raises ExpressionError."""
    mixed = first if second is None else blend(first, second, edits.share)
    mixed = _without(amplify(mixed, edits.amount), edits.neutralise)
    mixed = with_eyelids(mixed, edits.left_eyelid, edits.right_eyelid)
    mixed = with_jaw(mixed, edits.jaw_open, edits.jaw_side, edits.jaw_roll)
    # Unedited numbers of a photo are used exactly as they were read.
    return mixed if second is None and edits == Mixed(share=edits.share) else clamped(mixed)


def find_preset(name: str, models_root: Path | None) -> Expression:
    """A preset by name, whatever its capitals. Raises SettingsError that lists the names."""
    presets = load_presets(models_root)
    by_lower = {known.lower(): value for known, value in presets.items()}
    if not isinstance(name, str) or name.lower() not in by_lower:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise SettingsError(f"There is no preset {checks.shown(name)}; there are {one_of(presets)}.")
    return by_lower[name.lower()]


def _first(engine: Engine, source: ExpressionSource) -> Expression:
    if source.photo is not None:
        return engine.read_expression(Photo.of(source.photo, "the expression photo"), source.face)
    if source.file is not None:
        return load_expression(Path(source.file).expanduser())
    if source.preset is not None:
        return find_preset(source.preset, engine.models.root)
    if isinstance(source.values, Expression):
        return source.values
    return Expression.neutral() if source.values is None else from_dict(_plain(source.values))


def _plain(values: Any) -> Any:
    return values.tolist() if hasattr(values, "tolist") else values


def _without(expression: Expression, parts: tuple[str, ...]) -> Expression:
    values = expression.values.copy()
    for part in parts:
        if part not in _ROWS:
            raise SettingsError(f"An expression has no part {checks.shown(part)}; neutralise {one_of(PARTS)}.")
        values[_ROWS[part]] = 0.0
    return Expression(values) if parts else expression
