"""Settings in an address: tab, numbers and choices; never a photo, never an identity.

An address holds what a recipe holds, under short names, and is looked at with the same suspicion: opening one goes the
same way as dropping a saved picture (`arc2face_app.page.parts.recipe`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any
from urllib.parse import urlencode

from arc2face import checks
from arc2face.errors import SettingsError
from arc2face.types import EXPRESSION_SIZE

MAX_TEXT = 2000
"""Characters of one value. An expression is the longest."""
UNKNOWN = "`{}` in this address is not known and was left out; perhaps `{}` was meant."
ELSEWHERE = "`{}` in this address is no field of this tab and was left out."
POSES = {"sliders": "Sliders", "photo": "A photo", "map": "A normal map"}
"""Where a pose comes from: in an address, and in a recipe."""


@dataclass(frozen=True, slots=True)
class Name:
    """One value of an address: its place in a recipe, and how it is written."""

    name: str
    part: str
    field: str
    read: Callable[[str, str], Any]
    write: Callable[[Any], str] = str


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SettingsError(f"`{name}` in this address must be a number, not {checks.shown(text)}.") from error


def _whole(name: str, text: str) -> float:
    found = _number(name, text)
    return int(found) if found.is_integer() else found  # what is not whole is refused where its bounds are known


def _flag(name: str, text: str) -> bool:
    return checks.choice(f"`{name}` in this address", text, ("0", "1")) == "1"


def _text(name: str, text: str) -> str:
    del name
    return text


def _pose(name: str, text: str) -> str:
    return POSES[checks.choice(f"`{name}` in this address", text, POSES)]


def _expression(name: str, text: str) -> list[float]:
    """The numbers that are not 0: `52:0.3,50:1`."""
    values = [0.0] * EXPRESSION_SIZE
    for pair in filter(None, text.split(",")):
        place, _, value = pair.partition(":")
        if not place.isdecimal() or len(place) > 2 or int(place) >= EXPRESSION_SIZE:
            raise SettingsError(f"`{name}` in this address must look like 52:0.3,50:1, not {checks.shown(text)}.")
        values[int(place)] = _number(name, value)
    return values


def _said_number(value: Any) -> str:
    return f"{float(value):.4g}" if abs(float(value)) < 1e4 else str(int(value))


def _said_expression(values: Iterable[float]) -> str:
    return (
        ",".join(f"{place}:{_said_number(value)}" for place, value in enumerate(values) if abs(value) >= 5e-5) or "0:0"
    )


NAMES: tuple[Name, ...] = (
    Name("pictures", "settings", "num_images", _whole, _said_number),
    Name("seed", "settings", "seed", _whole, lambda value: str(int(value))),
    Name("fast", "settings", "fast", _flag, lambda value: "1" if value else "0"),
    Name("steps", "settings", "steps", _whole, _said_number),
    Name("guidance", "settings", "guidance_scale", _number, _said_number),
    Name("scheduler", "settings", "scheduler", _text),
    Name("keep", "settings", "keep_best", _whole, _said_number),
    Name("pose", "page", "pose_from", _pose, {words: short for short, words in POSES.items()}.__getitem__),
    Name("turn", "page", "yaw", _number, _said_number),
    Name("nod", "page", "pitch", _number, _said_number),
    Name("tilt", "page", "roll", _number, _said_number),
    Name("pose_strength", "pose", "strength", _number, _said_number),
    Name("pose_start", "pose", "start", _number, _said_number),
    Name("pose_end", "pose", "end", _number, _said_number),
    Name("expression", "expression", "values", _expression, _said_expression),
    Name("expression_name", "page", "expression_name", _text),
    Name("amount", "page", "amount", _number, _said_number),
    Name("expression_strength", "expression", "strength", _number, _said_number),
    Name("look", "reference", "strength", _number, _said_number),
    Name("paste", "page", "paste", _text),
)
"""Everything that an address may say besides `tab`."""


def query(tab: str, content: Mapping[str, Mapping[str, Any]]) -> str:
    """The query of an address, without a question mark. `tab`: its id. `content`: parts of a recipe."""
    pairs = {"tab": tab}
    for name in NAMES:
        value = content.get(name.part, {}).get(name.field)
        if value is not None:
            pairs[name.name] = name.write(value)
    return urlencode(pairs, safe=":,")


def content(asked: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Parts of a recipe from the query of an address; empty when it names no settings. Unknown names are left out.

    Raises:
        SettingsError: a value cannot be read. Its bounds are checked where recipes are.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in NAMES:
        text = asked.get(name.name)
        if text is None:
            continue
        if len(text) > MAX_TEXT:
            raise SettingsError(f"`{name.name}` in this address is too long.")
        found.setdefault(name.part, {})[name.field] = name.read(name.name, text)
    run = {key: value for key, value in found.get("settings", {}).items() if key in ("num_images", "seed", "keep_best")}
    if run:
        found["page"] = {**run, **found.get("page", {})}
    if {"pose_from", "yaw", "pitch", "roll"} & set(found.get("page", {})):
        found.setdefault("pose", {}).setdefault("strength", 1.0)
        if found["page"].setdefault("pose_from", POSES["sliders"]) == POSES["sliders"]:
            found["page"] |= {angle: found["page"].get(angle, 0.0) for angle in ("yaw", "pitch", "roll")}
    return found


def left_out(asked: Mapping[str, str], tab: str) -> list[str]:
    """A sentence for each name of an address that the tab has no field for, and for each that is one of ours, misspelt.

    Names that are like none of ours come from elsewhere, such as those that follow people around; nothing is said.
    """
    ours = [name.name for name in NAMES]
    found = {name: get_close_matches(name, ours, 1, 0.75) for name in asked if name not in (*ours, "tab")}
    misspelt = [UNKNOWN.format(name, close[0]) for name, close in found.items() if close]
    others = {"identity": ("pose", "expression"), "pose": ("expression",)}.get(tab, ())
    return misspelt + [ELSEWHERE.format(name) for name in ours if name in asked and tab_of({name: ""}) in others]


def tab_of(asked: Mapping[str, str]) -> str:
    """The tab that settings without a tab are for; empty where there are none."""
    if asks(asked, "expression") or asks(asked, "look") or asks(asked, "paste"):
        return "expression"
    turned = any(asks(asked, name) for name in ("pose", "turn", "nod", "tilt"))
    return "pose" if turned else "identity" if asks(asked) else ""


def asks(asked: Mapping[str, str], part: str = "") -> bool:
    """Whether an address names settings; `part`: those whose names begin like this."""
    return any(name.name in asked for name in NAMES if name.name.startswith(part))


def says_how(asked: Mapping[str, str]) -> bool:
    """Whether an address decides about fast mode: it says so, or names what only one of both modes takes."""
    try:
        settings = content(asked).get("settings", {})
    except SettingsError:
        return False  # a refused address changes nothing
    return not settings.keys().isdisjoint(("fast", "steps", "guidance_scale", "scheduler"))
