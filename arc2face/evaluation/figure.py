"""How a figure is written down: a value with its interval and counts, or absent with the reason. Never a bare zero."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

Figure: TypeAlias = "dict[str, Any]"
"""`value` (None when absent), `low` and `high` (95 % interval, where there is one), counts; `absent`: why not."""
Figures: TypeAlias = "dict[str, Any]"
"""Figures by name, in sections."""


def measured(value: float, interval: tuple[float, float] | None = None, **more: Any) -> Figure:
    """A figure; `more`: counts and units. A value that is not finite is absent."""
    if not math.isfinite(value):
        return absent("the arithmetic gave no finite number", **more)
    figure: Figure = {"value": float(value)}
    if interval is not None:
        figure |= {"low": float(interval[0]), "high": float(interval[1])}
    return figure | more


def absent(reason: str, **more: Any) -> Figure:
    """A figure that could not be had; `reason` completes "absent, because"."""
    return {"value": None, "absent": reason, **more}
