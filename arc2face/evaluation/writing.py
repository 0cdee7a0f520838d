"""The report's files: report.json, report.md, plots, and one row per picture as Parquet (or CSV without pyarrow)."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from arc2face.evaluation.features import Features
from arc2face.evaluation.figure import Figures
from arc2face.evaluation.likeness import cosine_columns
from arc2face.evaluation.markdown import report_text
from arc2face.weights.store import replace_with

JSON = "report.json"
TEXT = "report.md"
ROWS = "pictures"


def write(folder: Path, figures: Figures, features: Features, *, plots: bool = True) -> None:
    """Everything into `folder`; each file appears whole or not at all."""
    columns = picture_columns(features)
    write_rows(folder / ROWS, columns)
    drawn: list[tuple[str, str]] = []
    if plots:
        from arc2face.evaluation.plots import draw_all

        drawn = draw_all(folder, figures, columns)
    write_text(folder / TEXT, report_text(figures, drawn))
    write_json(folder / JSON, figures)


def write_json(path: Path, figures: Figures) -> None:
    """JSON in UTF-8, without NaN."""
    write_text(path, json.dumps(figures, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")


def write_text(path: Path, text: str) -> None:
    """UTF-8 text, whole or not at all."""
    with replace_with(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def picture_columns(features: Features) -> dict[str, list[Any]]:
    """One value per picture in each column, None where there is none. Embeddings are not among them."""
    cosines = cosine_columns(features)
    columns: dict[str, list[Any]] = {
        "key": list(features.keys),
        "person": [features.people[number] if number >= 0 else None for number in features.person],
        "role": ["drawn" if drawn else "real" for drawn in features.drawn],
        "error": [str(text) or None for text in features.error],
        "faces": [int(count) for count in features.raw["faces"]],
        "detector_score": _numbers(features.raw["score"]),
        "width": [int(size[0]) for size in features.raw["size"]],
        "height": [int(size[1]) for size in features.raw["size"]],
        "pixels": [f"{int(print_):016x}" for print_ in features.raw["pixels"]],
        **{name: _numbers(values) for name, values in cosines.items()},
    }
    if features.judge is not None:
        columns |= {f"judge_{k}": _numbers(v) for k, v in cosine_columns(features, "judge").items() if k != "to_asked"}
    for prefix, poses in (("", features.pose), ("asked_", features.asked_pose)):
        columns |= {f"{prefix}{name}": _numbers(poses[:, k]) for k, name in enumerate(("yaw", "pitch", "roll"))}
    difference = np.abs(features.expression.astype(np.float64) - features.asked_expression).mean(1)
    columns["expression_error"] = _numbers(difference)
    columns["jaw_open"] = _numbers(features.expression[:, 52])
    for name in sorted({name for labels in features.labels for name in labels}):
        columns[f"label_{name}"] = [labels.get(name) for labels in features.labels]
    return columns


def write_rows(stem: Path, columns: dict[str, list[Any]]) -> Path:
    """`stem`.parquet, or `stem`.csv where pyarrow is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
    except ImportError:
        path = stem.with_suffix(".csv")
        with replace_with(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        return path
    path = stem.with_suffix(".parquet")
    with replace_with(path) as temporary:
        parquet.write_table(pa.table(columns), temporary)
    return path


def read_rows(folder: Path) -> dict[str, list[Any]]:
    """What `write_rows` wrote into a report's folder. Raises InputError when it is not there."""
    from arc2face.errors import InputError

    path = folder / f"{ROWS}.parquet"
    try:
        if path.is_file():
            import pyarrow.parquet as parquet

            return dict(parquet.read_table(path).to_pydict())
        with (folder / f"{ROWS}.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return {name: [row[name] or None for row in rows] for name in (rows[0] if rows else {})}
    except ImportError as error:
        raise InputError(f'{path} needs pyarrow: pip install "arc2face-studio[dataset]"') from error
    except OSError as error:
        raise InputError(f"{folder} holds no finished report ({ROWS}.parquet is missing).") from error


def _numbers(values: Any) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _plain(value: object) -> object:
    item = getattr(value, "tolist", None)
    return item() if callable(item) else str(value)
