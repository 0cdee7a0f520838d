"""Poses and expressions as people write them: axes in words, presets by name, catalogues in JSON.

A catalogue is one JSON object: name -> expression. An expression is a list of 55 numbers, or an object with any of
`preset` (a name), `components`, `eyelids`, `jaw` (as in a saved expression), `shapes` (name -> amount) and `ranges`
(name -> [low, high], drawn anew for every picture). Names: jaw_open, jaw_side, jaw_roll (radians), eyelid_left,
eyelid_right (0 open to 1 closed), component_1 to component_50, and those that the head model gives its shapes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from arc2face import checks
from arc2face.dataset.schedule import AXES, MAX_EXPRESSIONS, MAX_POSES, CatalogueEntry, Pose, Range
from arc2face.errors import Arc2FaceError, ExpressionError, SettingsError
from arc2face.expression.presets import load_presets
from arc2face.expression.shapes import load_shapes
from arc2face.expression.values import COMPONENTS, check_expression, from_dict, read_json
from arc2face.sources.expression import find_preset
from arc2face.types import Expression

__all__ = ["ALL", "Axes", "load_catalogue", "parse_axes"]

ALL = "all"
"""Stands for every preset."""
_OWN = ("preset", "shapes", "ranges")
_NUMBER = r"[+-]?\d+(?:\.\d+)?"
Axes = tuple[tuple[Pose, ...], dict[str, Range | None]]
"""Poses of a list, and the ranges of the other angles."""


def parse_axes(texts: Mapping[str, str | None]) -> Axes:
    """Poses from words for each angle (yaw, pitch, roll), None where nothing is said.

    `-40:40` is a range that every picture draws from, `-40:40:5` five angles from -40 to 40, `-30,0,30` a list. Several
    lists give every combination. Raises SettingsError.
    """
    lists: dict[str, list[float]] = {}
    ranges: dict[str, Range | None] = dict.fromkeys(AXES)
    for axis, text in texts.items():
        if text is None:
            continue
        found = _axis(axis, text)
        if isinstance(found, tuple):
            ranges[axis] = found
        else:
            lists[axis] = found
    if not lists:
        return (), ranges
    names = list(lists)
    total = 1
    for values in lists.values():
        total *= len(values)
    if total > MAX_POSES:
        raise SettingsError(f"These lists of angles make {total} poses; at most {MAX_POSES} are possible.")
    combinations = itertools.product(*lists.values())
    poses = [Pose(_pose_name(names, values), **dict(zip(names, values, strict=True))) for values in combinations]
    return tuple(poses), ranges


def load_catalogue(words: Iterable[str | Path], models_root: Path | None) -> tuple[CatalogueEntry, ...]:
    """Expressions from presets by name, `all` of them, and JSON files (a name that ends in .json).

    Raises SettingsError for a name that is not there, ExpressionError for a file that cannot be used.
    """
    found: list[CatalogueEntry] = []
    for word in map(str, words):
        if word == ALL:
            found += [CatalogueEntry(name, _plain(value)) for name, value in load_presets(models_root).items()]
        elif word.lower().endswith(".json"):
            found += _file(Path(word).expanduser(), models_root)
        else:
            found.append(CatalogueEntry(word, _plain(find_preset(word, models_root))))
    return tuple(found)


def _axis(axis: str, text: str) -> Range | list[float]:
    if re.fullmatch(rf"\s*{_NUMBER}(\s*,\s*{_NUMBER})*\s*", text):
        values = [float(part) for part in text.split(",")]
        if len(set(values)) < len(values):
            raise SettingsError(f"The list of angles for {axis} names one twice: {checks.shown(text)}.")
        return values
    parts = text.split(":")
    if len(parts) in (2, 3) and all(re.fullmatch(rf"\s*{_NUMBER}\s*", part) for part in parts[:2]):
        low, high = float(parts[0]), float(parts[1])
        if len(parts) == 2:
            return low, high
        if parts[2].strip().isdigit() and 2 <= int(parts[2]) <= MAX_POSES and low < high:
            count = int(parts[2])
            return [round(low + (high - low) * k / (count - 1), 4) for k in range(count)]
    raise SettingsError(
        f"Angles for {axis} are a range (-40:40), evenly spaced ones (-40:40:5) or a list (-30,0,30), not "
        f"{checks.shown(text)}."
    )


def _pose_name(names: Sequence[str], values: Sequence[float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in zip(names, values, strict=True))


def _file(path: Path, models_root: Path | None) -> list[CatalogueEntry]:
    content = read_json(path)
    if isinstance(content, dict) and content and set(cast("dict[str, Any]", content)) & {"format", "components"}:
        content = {path.stem: content}  # one saved expression
    if not isinstance(content, dict) or not content:
        raise ExpressionError(f"{path.name} must hold one JSON object: name -> expression.")
    entries = cast("dict[str, Any]", content)
    if len(entries) > MAX_EXPRESSIONS:
        raise ExpressionError(f"{path.name} holds {len(entries)} expressions; at most {MAX_EXPRESSIONS} are possible.")
    found: list[CatalogueEntry] = []
    for name, value in entries.items():
        try:
            found.append(_entry(name, value, models_root))
        except Arc2FaceError as error:
            raise ExpressionError(
                f"The expression {checks.shown(name)} in {path.name} cannot be used: {error}"
            ) from error
    return found


def _entry(name: str, value: Any, models_root: Path | None) -> CatalogueEntry:
    if not isinstance(value, dict):
        return CatalogueEntry(name, _plain(from_dict(value)))
    fields = cast("dict[str, Any]", value)
    own = {key: fields[key] for key in _OWN if key in fields}
    rest = {key: part for key, part in fields.items() if key not in _OWN}
    if "preset" in own and rest:
        raise ExpressionError("it has a preset and numbers of its own; give one of them.")
    base = find_preset(own["preset"], models_root) if "preset" in own else from_dict(rest)
    places = _places(models_root)
    values = [float(number) for number in base.values]
    for shape, amount in _object("shapes", own.get("shapes")).items():
        place, scale = _place(shape, places)
        values[place] = checks.number(f"The amount of {shape}", amount, (-100.0, 100.0)) * scale
    ranges: list[tuple[int, float, float]] = []
    for shape, limits in _object("ranges", own.get("ranges")).items():
        place, scale = _place(shape, places)
        if not isinstance(limits, list) or len(cast("list[Any]", limits)) != 2:
            raise ExpressionError(f"the range of {shape} is two numbers, [low, high].")
        low, high = (checks.number(f"The range of {shape}", end, (-100.0, 100.0)) for end in cast("list[Any]", limits))
        ranges.append((place, low * scale, high * scale))
    for end in (1, 2):  # both ends of every range must be usable
        tried = list(values)
        for one in ranges:
            tried[one[0]] = one[end]
        check_expression(Expression(cast("Any", tried)))
    return CatalogueEntry(name, tuple(values), tuple(ranges))


def _places(models_root: Path | None) -> dict[str, tuple[int, float]]:
    """Name -> place among the 55 numbers, and what an amount of 1 is there."""
    names = {f"component_{k + 1}": (k, 1.0) for k in range(COMPONENTS)}
    names |= {"eyelid_left": (50, 1.0), "eyelid_right": (51, 1.0)}
    names |= {"jaw_open": (52, 1.0), "jaw_side": (53, 1.0), "jaw_roll": (54, 1.0)}
    shapes = load_shapes(models_root)
    if shapes is not None:
        names |= {name: (place, 1.0) for place, name in enumerate(shapes.columns)}
        names |= {name: (50 + place, 1.0) for place, name in enumerate(shapes.eyelids)}
        names |= {name: (52, radians) for name, radians in shapes.jaw.items()}
    return names


def _place(name: str, places: Mapping[str, tuple[int, float]]) -> tuple[int, float]:
    if name not in places:
        known = [each for each in places if not each.startswith("component_")]
        raise ExpressionError(
            f"there is no shape {checks.shown(name)}; there are {', '.join(known)}, component_1 to component_50."
        )
    return places[name]


def _object(what: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ExpressionError(f"its {what} must be a JSON object: name -> number.")
    return cast("dict[str, Any]", value)


def _plain(expression: Expression) -> tuple[float, ...]:
    return tuple(float(value) for value in expression.values)
