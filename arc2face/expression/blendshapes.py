"""Recordings of ARKit's or MediaPipe's blendshapes (CSV) as expressions, on heads that know the same shapes.

Taken are the exports of Live Link Face (iPhone), of MediaPipe's face landmarker, and any table with one column per
shape. Where the head names its numbers as ARKit does (`arc2face.expression.shapes`), a number of the table becomes a
number of the expression: nothing is fitted. Other heads are refused, because a guess would look like an answer.

Not carried over, since no number stands for it: gaze (eyeLook...), jawForward, jawLeft, jawRight, head rotation.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from arc2face import checks
from arc2face.errors import ExpressionError
from arc2face.expression.shapes import Shapes
from arc2face.expression.values import JAW_OPEN_RANGE
from arc2face.types import Expression, Float32Array

__all__ = ["ARKIT", "Recording", "expressions_of", "missing_shapes", "read_recording"]

_SIDES = ("Left", "Right")
ARKIT: tuple[str, ...] = (
    *(f"{name}{side}" for side in _SIDES for name in (
        "eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide")),
    "jawForward", "jawLeft", "jawRight", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft",
    "mouthRight",
    *(f"{name}{side}" for name in ("mouthSmile", "mouthFrown", "mouthDimple", "mouthStretch") for side in _SIDES),
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    *(f"{name}{side}" for name in ("mouthPress", "mouthLowerDown", "mouthUpperUp", "browDown") for side in _SIDES),
    "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""The 52 shapes of ARKit (ARFaceAnchor.BlendShapeLocation). MediaPipe has all but the tongue."""
_OPTIONAL = ("tongueOut",)
_TIMES = ("timecode", "time", "timestamp", "timestampms", "seconds", "t", "frame")
MAX_BYTES = 64 << 20
MAX_ROWS = 100_000
WEIGHT_LIMIT = 2.0
"""Largest accepted magnitude; recordings stay within 0 and about 1."""
LOUD = 0.1
"""A shape that is left out is worth a word where it reaches this."""
TIMECODE_RATE, USUAL_RATE = 60.0, 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """`times` (n,) seconds from the first row, rising. `weights` (n, 52) float32 in the order of `ARKIT`."""

    times: tuple[float, ...]
    weights: Float32Array


def read_recording(path: Path, rate: float | None = None) -> Recording:
    """Read a CSV file with ARKit's names in its first row, in any order and capitals; other columns are skipped.

    Args:
        path: comma, semicolon or tab separated, UTF-8.
        rate: rows per second where the file does not say; 30 when None, 60 for Live Link Face's timecodes.

    Raises:
        ExpressionError: no table, missing columns (named), NaN, numbers out of range, or times that do not rise.
    """
    header, rows = _table(path)
    places = {_plain(name): column for column, name in enumerate(header)}
    missing = [name for name in ARKIT if _plain(name) not in places and name not in _OPTIONAL]
    if missing:
        raise ExpressionError(
            f"{path.name} is no blendshape recording: its first row lacks {len(missing)} of ARKit's 52 names "
            f"(first: {missing[0]}). Export it with one column per blendshape."
        )
    columns = [places.get(_plain(name)) for name in ARKIT]
    weights = np.array([[_weight(row, at, path, k) for at in columns] for k, row in enumerate(rows, 2)], np.float32)
    return Recording(_times(header, rows, rate, path), weights)


def missing_shapes(shapes: Shapes | None) -> str:
    """Why a recording cannot be carried over to this head exactly; empty when it can."""
    if shapes is None:
        why = "this head model's 50 expression components have no names (FLAME's are directions found by analysis)"
    else:
        own = {*shapes.columns, *shapes.eyelids, *shapes.jaw}
        needed = [name for name in ARKIT if not _wordless(name) and name not in _OPTIONAL]
        absent = [name for name in needed if name not in own]
        if not absent:
            return ""
        why = f"this head model names its shapes otherwise ({', '.join(shapes.columns[:3])} ...)"
    return (
        f"Blendshape recordings are carried over only where it is exact, and {why}. Use a video of the face instead: "
        "its expression is read frame by frame."
    )


def expressions_of(recording: Recording, shapes: Shapes | None) -> tuple[list[Expression], tuple[str, ...]]:
    """One expression per row, and the names of moving shapes that no number of this head stands for.

    Raises:
        ExpressionError: the head does not know ARKit's shapes; says why.
    """
    if why := missing_shapes(shapes):
        raise ExpressionError(why)
    assert shapes is not None
    values = np.zeros((len(recording.times), 55), np.float32)
    left_out: list[str] = []
    for k, name in enumerate(ARKIT):
        moved = recording.weights[:, k]
        if name in shapes.columns:
            values[:, shapes.columns.index(name)] = moved
        elif name in shapes.eyelids:
            values[:, 50 + shapes.eyelids.index(name)] = np.clip(moved, 0.0, 1.0)
        elif name in shapes.jaw:
            values[:, 52] = np.clip(moved * np.float32(shapes.jaw[name]), *JAW_OPEN_RANGE)
        elif float(np.abs(moved).max(initial=0.0)) >= LOUD:
            left_out.append(name)
    return [Expression(row) for row in values], tuple(left_out)


def _wordless(name: str) -> bool:
    """Whether no number of an expression could stand for this shape."""
    return name.startswith("eyeLook") or name in ("jawForward", "jawLeft", "jawRight")


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "").replace(" ", "")


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ExpressionError(f"{path.name} is larger than {MAX_BYTES >> 20} MB. Export a shorter piece.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ExpressionError(f"{path.name} cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise ExpressionError(f"{path.name} is not a text file. Export the recording as CSV.") from error
    first = text.partition("\n")[0]
    mark = max(",;\t", key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=mark) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise ExpressionError(f"{path.name} is not a CSV table ({error}).") from error
    if len(rows) < 2:
        raise ExpressionError(f"{path.name} has no row of numbers under its names.")
    if len(rows) > MAX_ROWS:
        raise ExpressionError(f"{path.name} has more than {MAX_ROWS} rows. Export a shorter piece.")
    return rows[0], rows[1:]


def _weight(row: Sequence[str], at: int | None, path: Path, line: int) -> float:
    if at is None:
        return 0.0
    text = row[at].strip() if at < len(row) else ""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= WEIGHT_LIMIT:  # NaN fails too
        raise ExpressionError(
            f"{path.name}, line {line}: a blendshape must lie between -{WEIGHT_LIMIT:g} and {WEIGHT_LIMIT:g}, "
            f"not {checks.shown(text)}."
        )
    return value


def _times(header: Sequence[str], rows: Sequence[Sequence[str]], rate: float | None, path: Path) -> tuple[float, ...]:
    """Seconds from the first row."""
    places: Mapping[str, int] = {_plain(name): column for column, name in enumerate(header)}
    named = next((name for name in _TIMES if name in places), None)
    if named is None:
        return tuple(number / (rate or USUAL_RATE) for number in range(len(rows)))
    texts = [row[places[named]].strip() if places[named] < len(row) else "" for row in rows]
    try:
        found = [_seconds(text, named, rate) for text in texts]
    except ValueError as error:
        raise ExpressionError(f"{path.name} holds a time that cannot be read: {error}.") from error
    if any(not later > before for before, later in itertools.pairwise(found)):
        raise ExpressionError(f"{path.name} is out of order: its times do not rise from row to row.")
    # Milliseconds, as MediaPipe counts: nobody records a face once in five seconds.
    unit = 1000.0 if named not in ("timecode", "frame") and found[-1] - found[0] >= 5.0 * (len(found) - 1) else 1.0
    return tuple((moment - found[0]) / unit for moment in found)


def _seconds(text: str, column: str, rate: float | None) -> float:
    """A plain number, or Live Link Face's hours:minutes:seconds:frames (with a fraction of a frame)."""
    parts = text.split(":")
    try:
        numbers = [float(part) for part in parts]
    except ValueError as error:
        raise ValueError(checks.shown(text)) from error
    if not all(math.isfinite(number) for number in numbers) or len(parts) not in (1, 4):
        raise ValueError(checks.shown(text))
    if len(parts) == 4:
        hours, minutes, seconds, frames = numbers
        return hours * 3600 + minutes * 60 + seconds + frames / (rate or TIMECODE_RATE)
    return numbers[0] / (rate or USUAL_RATE) if column == "frame" else numbers[0]
