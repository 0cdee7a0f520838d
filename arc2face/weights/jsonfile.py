"""JSON that strangers wrote: read with limits on size, depth and kinds, refused with one clear sentence.

`read_json` is for the files of a models folder; `parse_json` is the same door for bytes from anywhere.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, NoReturn, cast

from arc2face.errors import CorruptWeightsError

__all__ = ["parse_json", "read_json"]

_MAX_BYTES = 32 << 20
_MAX_DEPTH = 32


def parse_json(data: bytes, *, max_bytes: int = _MAX_BYTES, max_depth: int = _MAX_DEPTH) -> Any:
    """The value in `data` (UTF-8, a byte-order mark is allowed).

    Raises ValueError, with the reason as its text, for anything larger or deeper than asked, for NaN and infinity,
    and for text that no file may hold (lone surrogates).
    """
    if len(data) > max_bytes:
        raise ValueError(f"it has {len(data)} bytes; at most {max_bytes} are read")
    if not data.strip():
        raise ValueError("it is empty")
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_constant=_no_number, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise ValueError("it is not UTF-8 text") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not valid JSON ({error.msg}, line {error.lineno})") from error
    _check(value, max_depth)
    return value


def read_json(path: Path, *, max_bytes: int = _MAX_BYTES) -> dict[str, Any]:
    """The JSON object in a model file. Raises CorruptWeightsError when it is none, or too large, or too deep."""
    try:
        with path.open("rb") as stream:
            size = min(os.fstat(stream.fileno()).st_size, max_bytes) + 1
            value = parse_json(stream.read(size), max_bytes=max_bytes)
    except OSError as error:
        raise CorruptWeightsError(f"{path} cannot be read ({error.strerror or error}).") from error
    except ValueError as error:
        raise CorruptWeightsError(f"{path} cannot be used: {error}. Delete it and download it again.") from error
    if not isinstance(value, dict):
        raise CorruptWeightsError(
            f"{path} holds no settings: a JSON object was expected. Delete it and download it again."
        )
    return cast("dict[str, Any]", value)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"it holds {text}, which is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it holds a number that is too large ({text[:20]})")
    return value


def _check(value: Any, max_depth: int) -> None:
    """Depth and text, level by level: no recursion, so that depth costs nothing."""
    level: list[Any] = [value]
    for _ in range(max_depth):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _encodable(item)
            elif isinstance(item, list):
                inner += cast("list[Any]", item)
            elif isinstance(item, dict):
                entries = cast("dict[str, Any]", item)
                inner += entries.keys()
                inner += entries.values()
        if not inner:
            return
        level = inner
    raise ValueError(f"it is nested more than {max_depth} levels deep")


def _encodable(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("it holds text that is no Unicode (a lone surrogate)") from error
