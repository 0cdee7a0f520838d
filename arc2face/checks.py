"""One validator per kind of value, used by the library, the page, the endpoints and the command line alike.

NumPy scalars count as the numbers they are; text, None, booleans, NaN and infinities never count as numbers. A message
shows at most 40 characters of what was given.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from numbers import Real

from arc2face.errors import SettingsError
from arc2face.settings import one_of, span

_SHOWN = 40


def whole(name: str, value: object, limits: tuple[int, int]) -> int:
    """`value` as an int within `limits`; 4.0 is whole, too. Raises SettingsError."""
    found = _number(value)
    if found is None or not math.isfinite(found) or found % 1 or not limits[0] <= found <= limits[1]:
        raise SettingsError(f"{name} must be a whole number between {limits[0]} and {limits[1]}, not {shown(value)}.")
    return int(value)  # type: ignore[call-overload]  # an int of any size, or a float without a fraction


def number(name: str, value: object, limits: tuple[float, float]) -> float:
    """`value` as a float within `limits`. Raises SettingsError."""
    found = _number(value)
    if found is None or not limits[0] <= found <= limits[1]:  # NaN fails too
        raise SettingsError(f"{name} must lie between {limits[0]:g} and {limits[1]:g}, not {shown(value)}.")
    return found


def flag(name: str, value: object) -> bool:
    """`value` as a bool; numbers and text are refused. Raises SettingsError."""
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):  # NumPy's, too
        raise SettingsError(f"{name} must be true or false, not {shown(value)}.")
    return bool(value)


def switched_on(variable: str, *, usual: bool) -> bool:
    """An environment variable that is on or off (1, 0); `usual` when it is empty or not set. Raises SettingsError."""
    switch = os.environ.get(variable, "").strip().lower()
    if switch not in ("on", "off", "1", "0", ""):
        raise SettingsError(f"{variable} is on or off, not {switch!r}.")
    return switch in ("on", "1") if switch else usual


def choice(name: str, value: object, options: Iterable[str]) -> str:
    """`value` if it is one of `options`. Raises SettingsError that lists them."""
    known = list(options)
    if not isinstance(value, str) or value not in known:
        raise SettingsError(f"{name} must be {one_of(known)}, not {shown(value)}.")
    return value


def one_number(name: str, value: object, options: Iterable[int]) -> int:
    """`value` as an int if it is one of `options`. Raises SettingsError that lists them."""
    known = list(options)
    found = _number(value)
    if found not in known:
        raise SettingsError(f"{name} must be {one_of(map(str, known))}, not {shown(value)}.")
    return int(found)


def size(name: str, value: object) -> int:
    """A side in pixels: a multiple of 8 between 64 and 1024. Raises SettingsError."""
    try:
        found = whole(name, value, (64, 1024))
    except SettingsError:
        found = 1
    if found % 8:
        raise SettingsError(f"{name} must be a multiple of 8 between 64 and 1024, not {shown(value)}.")
    return found


def rgb_picture(name: str, value: object) -> None:
    """Refuse what is not (H, W, 3) uint8 RGB of at least 8 pixels a side. Raises SettingsError."""
    import numpy as np  # not above: the command line's --help must not wait for it

    if not isinstance(value, np.ndarray) or value.ndim != 3 or value.shape[2] != 3 or value.dtype != np.uint8:
        raise SettingsError(f"{name} must be an RGB array of shape (height, width, 3) with 8 bits per channel.")
    if min(value.shape[:2]) < 8:
        raise SettingsError(f"{name} must be at least 8 pixels wide and high.")


def shown(value: object) -> str:
    """What was given, short enough for a message and without characters that no text file can hold."""
    text = repr(value) if isinstance(value, str) else str(value)
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _number(value: object) -> float | None:
    # NumPy registers its scalars with `numbers`, its booleans not.
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


__all__ = ["choice", "flag", "number", "one_number", "rgb_picture", "shown", "size", "span", "switched_on", "whole"]
