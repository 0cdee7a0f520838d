"""Two runs beside each other: the difference of every figure that can be had per person, with its interval.

Where the runs hold the same people, each draw of the bootstrap takes the same people in both (paired), which is what
makes small differences visible. Otherwise each side draws its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from arc2face.errors import InputError
from arc2face.evaluation import writing
from arc2face.evaluation.bootstrap import percentiles, resamples
from arc2face.evaluation.figure import Figure, Figures, absent, measured
from arc2face.evaluation.markdown import described, table
from arc2face.evaluation.scores import Float64
from arc2face.weights.jsonfile import parse_json

COLUMNS = {
    "no_face": "share of pictures without a face",
    "to_asked": "cosine to the asked embedding",
    "to_input": "cosine to the input photo",
    "to_others": "cosine to other photos of the person",
    "judge_to_input": "cosine to the input photo, independent recogniser",
    "judge_to_others": "cosine to other photos, independent recogniser",
    "yaw_error": "absolute error of the yaw, degrees",
    "expression_error": "absolute error of the 55 numbers",
    "detector_score": "detector score",
}
PeopleSums: TypeAlias = "dict[str, dict[str, tuple[float, int]]]"
MUST_AGREE = ("recogniser", "detector", "judge")


def compare(first: Path | str, second: Path | str, *, replicates: int = 1000, seed: int = 0) -> Figures:
    """The second run less the first, figure by figure.

    `first`, `second`: folders of two reports. `replicates`: draws of people for each interval.

    Returns:
        `first`, `second` (what they are), `warnings` (what makes them hard to compare), `paired` (whether the people
        are the same) and `differences`: per column of COLUMNS the two means and the difference with its interval.

    Raises:
        InputError: a folder without a finished report.
    """
    folders = [Path(path).expanduser() for path in (first, second)]
    reports = [_report(folder) for folder in folders]
    sides = [_people_means(writing.read_rows(folder)) for folder in folders]
    shared = sorted(set(sides[0]) & set(sides[1]))
    paired = bool(shared) and set(sides[0]) == set(sides[1])
    differences = {
        name: _difference(sides, name, shared if paired else None, replicates, seed) | {"what": what}
        for name, what in COLUMNS.items()
    }
    return {
        "first": {"folder": str(folders[0]), **reports[0]["about"]},
        "second": {"folder": str(folders[1]), **reports[1]["about"]},
        "warnings": _warnings(reports, paired, len(shared)),
        "paired": paired,
        "people": len(shared) if paired else [len(side) for side in sides],
        "differences": differences,
    }


def comparison_text(found: Figures) -> str:
    """The comparison as Markdown."""
    rows: list[tuple[str, str, str]] = []
    for entry in cast("dict[str, Figure]", found["differences"]).values():
        value, more = described(entry)
        rows.append((str(entry["what"]), value, more))
    lines = ["# Comparison", "", f"- first: {found['first']['folder']}", f"- second: {found['second']['folder']}"]
    lines += [f"- {text}" for text in found["warnings"]]
    lines += ["", *table(rows, ("Second less first", "Difference [95 %]", "Means"))]
    return "\n".join(lines) + "\n"


def _difference(sides: list[PeopleSums], name: str, shared: list[str] | None, replicates: int, seed: int) -> Figure:
    sums: list[Float64] = []
    counts: list[Float64] = []
    for side in sides:
        people = shared if shared is not None else sorted(side)
        rows = [side[person].get(name, (0.0, 0)) for person in people]
        sums.append(np.array([total for total, _ in rows], np.float64))
        counts.append(np.array([count for _, count in rows], np.float64))
    if not all(count.sum() for count in counts):
        return absent("one of the runs has no such figure")
    means = [float(total.sum() / count.sum()) for total, count in zip(sums, counts, strict=True)]
    draws = zip(*(resamples(len(sums[k]), replicates, seed + (0 if shared is not None else k)) for k in (0, 1)),
                strict=True)  # fmt: skip
    with np.errstate(invalid="ignore", divide="ignore"):
        found: list[float] = [
            float((w @ sums[1]) / (w @ counts[1]) - (v @ sums[0]) / (v @ counts[0])) for v, w in draws
        ]
    interval = percentiles(found) if min(len(total) for total in sums) > 1 else None
    return measured(means[1] - means[0], interval, first=means[0], second=means[1])


def _people_means(rows: dict[str, list[Any]]) -> PeopleSums:
    """Person -> column -> (sum, count). Drawn pictures where there are any, else all."""
    drawn = np.array([role == "drawn" for role in rows["role"]], bool)
    chosen = drawn if drawn.any() else np.ones(len(drawn), bool)
    numbers: dict[str, NDArray[Any]] = {name: _numbers(rows.get(name), len(drawn)) for name in COLUMNS}
    opened = _numbers(rows["width"], len(drawn)) > 0
    numbers["no_face"] = np.where(opened, [0.0 if text is None else 1.0 for text in rows["error"]], np.nan)
    turn = _numbers(rows.get("yaw"), len(drawn)) - _numbers(rows.get("asked_yaw"), len(drawn))
    numbers["yaw_error"] = np.abs((turn + 180.0) % 360.0 - 180.0)
    people: PeopleSums = {}
    for place in np.flatnonzero(chosen):
        person = people.setdefault(rows["person"][place] or "", {})
        for name, values in numbers.items():
            if np.isfinite(values[place]):
                total, count = person.get(name, (0.0, 0))
                person[name] = (total + float(values[place]), count + 1)
    return people


def _numbers(values: list[Any] | None, count: int) -> Float64:
    if values is None:
        return np.full(count, np.nan)
    return np.array([np.nan if value is None else float(value) for value in values], np.float64)


def _warnings(reports: list[Figures], paired: bool, shared: int) -> list[str]:
    found = [] if paired else [f"The runs do not hold the same people ({shared} are shared); intervals are wider."]
    models = [report["about"]["models"] for report in reports]
    for name in MUST_AGREE:
        if models[0].get(name) != models[1].get(name):
            found.append(f"The {name} is not the same file in both; their figures are not comparable.")
    return found


def _report(folder: Path) -> Figures:
    path = folder / writing.JSON
    try:
        content: Any = parse_json(path.read_bytes(), max_bytes=256 << 20)
        if not isinstance(content["about"]["models"], dict):
            raise ValueError("it is no report of an evaluation")
    except OSError as error:
        raise InputError(f"{folder} holds no finished report ({path.name} is missing).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no report of an evaluation ({error}).") from error
    return cast("Figures", content)
