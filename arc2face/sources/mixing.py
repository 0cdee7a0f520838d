"""Which expression, part by part: the eyes of one source, the mouth of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from arc2face.errors import MissingWeightsError
from arc2face.expression.regions import HeadBasis, Mixture, mix_regions
from arc2face.expression.shapes import load_shapes
from arc2face.expression.values import clamped
from arc2face.sources.expression import ExpressionSource, find_expression

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.types import Expression


def mix_expressions(
    engine: Engine, base: ExpressionSource | Expression, parts: Mapping[str, ExpressionSource | Expression]
) -> Mixture:
    """An expression whose regions come from several sources.

    Args:
        engine: reads photos; its head model tells the regions apart.
        base: gives whatever `parts` does not name.
        parts: source by region: brows, eyes (with the lids), mouth (with cheeks and jaw).

    Raises:
        SettingsError: an unknown region, or neither names nor a head model at hand.
        InputError, WeightsError: as `find_expression`.
    """
    found = {region: _found(engine, source) for region, source in parts.items()}
    shapes = load_shapes(engine.models.root)
    mixed = mix_regions(_found(engine, base), found, shapes, None if shapes is not None else _basis(engine))
    return replace(mixed, expression=clamped(mixed.expression))  # edited numbers lie in their ranges


def _found(engine: Engine, source: ExpressionSource | Expression) -> Expression:
    return find_expression(engine, source) if isinstance(source, ExpressionSource) else source


def _basis(engine: Engine) -> HeadBasis | None:
    try:
        return engine.perception.head_basis()
    except MissingWeightsError:
        return None
