"""Named expressions.

The built-in ones use eyelids and jaw only, whose meaning FLAME defines. FLAME's components are unnamed, so presets
that need them (a smile, say) come with the models, in `expression_presets.json` beside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from arc2face.errors import ExpressionError
from arc2face.expression.values import from_dict, from_parts, read_json
from arc2face.types import Expression

PRESETS_FILE = "expression_presets.json"

BUILT_IN: dict[str, Expression] = {
    "Neutral": Expression.neutral(),
    "Mouth slightly open": from_parts(jaw=(0.12, 0.0, 0.0)),
    "Mouth open": from_parts(jaw=(0.3, 0.0, 0.0)),
    "Mouth wide open": from_parts(jaw=(0.55, 0.0, 0.0)),
    "Eyes closed": from_parts(eyelids=(1.0, 1.0)),
    "Sleepy": from_parts(eyelids=(0.55, 0.55)),
    "Wink, left eye": from_parts(eyelids=(1.0, 0.0)),
    "Wink, right eye": from_parts(eyelids=(0.0, 1.0)),
    "Yawn": from_parts(eyelids=(0.85, 0.85), jaw=(0.6, 0.0, 0.0)),
    "Jaw to the left": from_parts(jaw=(0.05, 0.15, 0.0)),
    "Jaw to the right": from_parts(jaw=(0.05, -0.15, 0.0)),
}


def load_presets(models_root: Path | None = None) -> dict[str, Expression]:
    """Built-in presets, then those of `models_root`/expression_presets.json, which may replace them by name.

    The file is one JSON object: name -> fields as in a saved expression (missing ones are neutral).

    Raises:
        ExpressionError: the file cannot be read, or an entry is unusable; the message names it.
    """
    presets = dict(BUILT_IN)
    path = models_root / PRESETS_FILE if models_root is not None else None
    if path is None or not path.is_file():
        return presets
    content = read_json(path)
    if not isinstance(content, dict):
        raise ExpressionError(f"{PRESETS_FILE} must hold one JSON object: name -> expression.")
    for name, fields in cast("dict[str, Any]", content).items():
        try:
            presets[name] = from_dict(fields)
        except ExpressionError as error:
            raise ExpressionError(f"The preset {name!r} in {PRESETS_FILE} is unusable: {error}") from error
    return presets
