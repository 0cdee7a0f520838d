"""Captions for LoRA training: what is to stay changeable is named, who the person is is not.

A trainer learns into the trigger word whatever the captions do not say. So they name pose and expression, which were
asked for and are known, and neither age, sex, hair nor skin. Light and background are not asked for, and so not named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["caption"]

SLIGHT, CLEAR, PROFILE = 8.0, 20.0, 45.0
"""Degrees of yaw from which a head is turned slightly, clearly, nearly into profile."""
NOD = 8.0
TILT = 8.0
PLAIN = ("", "neutral")


def caption(row: Mapping[str, Any], trigger: str = "") -> str:
    """One line about a manifest row, such as "sks, portrait photo, head turned slightly to the left, mouth open".

    Left and right are the picture's, as somebody who looks at it says them (a positive yaw turns to the right, a
    positive pitch looks down).
    """
    parts = [trigger, "portrait photo", _yaw(row.get("yaw")), _pitch(row.get("pitch")), _roll(row.get("roll"))]
    parts.append(_expression(row.get("expression_name")))
    return ", ".join(part for part in parts if part)


def _yaw(degrees: float | None) -> str:
    if degrees is None:
        return ""
    if abs(degrees) < SLIGHT:
        return "facing the camera"
    side = "right" if degrees > 0 else "left"
    if abs(degrees) >= PROFILE:
        return f"near profile to the {side}"
    return f"head turned {'' if abs(degrees) >= CLEAR else 'slightly '}to the {side}"


def _pitch(degrees: float | None) -> str:
    if degrees is None or abs(degrees) < NOD:
        return ""
    return "looking down" if degrees > 0 else "looking up"


def _roll(degrees: float | None) -> str:
    return "" if degrees is None or abs(degrees) < TILT else "head tilted"


def _expression(name: str | None) -> str:
    words = (name or "").strip().lower().replace("_", " ")
    if words in PLAIN:
        return "neutral expression" if words else ""
    return words.replace(",", "")
